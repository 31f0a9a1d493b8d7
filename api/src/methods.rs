//! The table of methods: the one place that says which verbs there are.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a caller needs to be allowed to call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Reads only.
    Read,
    /// Works with containers that exist.
    Operate,
    /// Changes what there is and what it may use.
    Admin,
}

/// How a method replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One reply.
    Once,
    /// [`Step`]s: when called with `more`, replies with progress may come before the last one.
    Progress,
    /// Any number of replies until the client goes away; must be called with `more`.
    Events,
}

/// A method: its parameters are the type that implements this.
pub trait Method: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// Name without the interface.
    const NAME: &'static str;
    /// What a caller needs.
    const CLASS: Class;
    /// How it replies.
    const KIND: Kind;
    /// What it replies.
    type Reply: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
}

/// How far a long operation has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// What is being done.
    pub message: String,
    /// How much of it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// How much there is to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// A reply of a method of kind [`Kind::Progress`]: either of the two is there.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Step<T> {
    /// How far it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What came of it; in the last reply only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<T>,
}

/// Calls a macro with the whole table: rows of `Name, parameters, reply, class, kind;`.
#[macro_export]
macro_rules! for_each_method {
    ($callback:ident) => {
        $callback! {
            Ping, $crate::daemon::Ping, $crate::daemon::Pong, Read, Once;
            Subscribe, $crate::daemon::Subscribe, $crate::daemon::Event, Read, Events;
            History, $crate::daemon::History, $crate::daemon::HistoryEntries, Read, Once;
            SelfAssets, $crate::daemon::SelfAssets, $crate::daemon::Assets, Read, Once;
            Healthcheck, $crate::daemon::Healthcheck, $crate::daemon::Health, Read, Once;
            Shutdown, $crate::daemon::Shutdown, $crate::daemon::Done, Admin, Progress;

            PoolInstall, $crate::pool::Install, $crate::pool::Pool, Admin, Once;
            PoolUninstall, $crate::pool::Uninstall, $crate::daemon::Done, Admin, Once;
            PoolImport, $crate::pool::Import, $crate::pool::Pools, Admin, Once;
            PoolExport, $crate::pool::Export, $crate::daemon::Done, Admin, Progress;
            PoolList, $crate::pool::List, $crate::pool::Pools, Read, Once;
            PoolShow, $crate::pool::Show, $crate::pool::Pool, Read, Once;
            PoolSet, $crate::pool::Set, $crate::daemon::Done, Admin, Once;
            PoolUnset, $crate::pool::Unset, $crate::daemon::Done, Admin, Once;
            PoolAssets, $crate::pool::Assets, $crate::daemon::Assets, Read, Once;
            TrashBinList, $crate::trash_bin::List, $crate::trash_bin::Trash, Read, Once;
            TrashBinDatasetAdd, $crate::trash_bin::DatasetAdd, $crate::daemon::Done, Admin, Once;
            TrashBinPrune, $crate::trash_bin::Prune, $crate::daemon::Done, Admin, Once;
            GarbageCollectorPrune, $crate::trash_bin::Collect, $crate::trash_bin::Collected, Admin, Once;
            PoolAutostartQueue, $crate::pool::AutostartQueue, $crate::pool::AutostartQueued, Read, Once;
            PoolAutostartTrigger, $crate::pool::AutostartTrigger, $crate::daemon::Done, Operate, Once;
            PoolAutostartCancel, $crate::pool::AutostartCancel, $crate::daemon::Done, Operate, Once;

            IdRangeNew, $crate::id_range::New, $crate::id_range::IdRange, Admin, Once;
            IdRangeDelete, $crate::id_range::Delete, $crate::daemon::Done, Admin, Once;
            IdRangeList, $crate::id_range::List, $crate::id_range::IdRanges, Read, Once;
            IdRangeShow, $crate::id_range::Show, $crate::id_range::IdRange, Read, Once;
            IdRangeAllocate, $crate::id_range::Allocate, $crate::id_range::Blocks, Admin, Once;
            IdRangeFree, $crate::id_range::Free, $crate::daemon::Done, Admin, Once;
            IdRangeTableList, $crate::id_range::TableList, $crate::id_range::Table, Read, Once;
            IdRangeTableShow, $crate::id_range::TableShow, $crate::id_range::Blocks, Read, Once;
            IdRangeSet, $crate::id_range::Set, $crate::daemon::Done, Admin, Once;
            IdRangeUnset, $crate::id_range::Unset, $crate::daemon::Done, Admin, Once;

            UserNew, $crate::user::New, $crate::user::User, Admin, Once;
            UserDelete, $crate::user::Delete, $crate::daemon::Done, Admin, Once;
            UserList, $crate::user::List, $crate::user::Users, Read, Once;
            UserShow, $crate::user::Show, $crate::user::User, Read, Once;
            UserMap, $crate::user::Map, $crate::user::MapRows, Read, Once;
            UserSet, $crate::user::Set, $crate::daemon::Done, Admin, Once;
            UserUnset, $crate::user::Unset, $crate::daemon::Done, Admin, Once;

            GroupNew, $crate::group::New, $crate::group::Group, Admin, Once;
            GroupDelete, $crate::group::Delete, $crate::daemon::Done, Admin, Once;
            GroupList, $crate::group::List, $crate::group::Groups, Read, Once;
            GroupShow, $crate::group::Show, $crate::group::Group, Read, Once;
            GroupSet, $crate::group::Set, $crate::daemon::Done, Admin, Once;
            GroupUnset, $crate::group::Unset, $crate::daemon::Done, Admin, Once;

            ContainerNew, $crate::container::New, $crate::container::Container, Admin, Progress;
            ContainerDelete, $crate::container::Delete, $crate::daemon::Done, Admin, Progress;
            ContainerList, $crate::container::List, $crate::container::Containers, Read, Once;
            ContainerShow, $crate::container::Show, $crate::container::Container, Read, Once;
            ContainerExport, $crate::archive::Export, $crate::archive::Exported, Admin, Progress;
            ContainerImport, $crate::archive::Import, $crate::archive::Imported, Admin, Progress;
            ContainerCopy, $crate::copies::Copy, $crate::container::Container, Admin, Progress;
            ContainerReinstall, $crate::copies::Reinstall, $crate::daemon::Done, Admin, Progress;
            ContainerBoot, $crate::copies::Boot, $crate::daemon::Done, Admin, Progress;
            ContainerMove, $crate::container::Move, $crate::daemon::Done, Admin, Progress;
            ContainerChown, $crate::container::Chown, $crate::daemon::Done, Admin, Once;
            ContainerChgrp, $crate::container::Chgrp, $crate::daemon::Done, Admin, Once;
            ContainerStart, $crate::container::Start, $crate::daemon::Done, Operate, Progress;
            ContainerStop, $crate::container::Stop, $crate::daemon::Done, Operate, Progress;
            ContainerRestart, $crate::container::Restart, $crate::daemon::Done, Operate, Progress;
            ContainerFreeze, $crate::container::Freeze, $crate::daemon::Done, Operate, Once;
            ContainerUnfreeze, $crate::container::Unfreeze, $crate::daemon::Done, Operate, Once;
            ContainerExec, $crate::container::Exec, $crate::container::Session, Operate, Once;
            ContainerRunScript, $crate::container::RunScript, $crate::container::Session, Operate, Once;
            ContainerConsole, $crate::container::Console, $crate::container::Session, Operate, Once;
            ContainerPasswd, $crate::container::Passwd, $crate::daemon::Done, Operate, Once;
            ContainerCat, $crate::container::Cat, $crate::daemon::Done, Operate, Once;
            ContainerLogPath, $crate::container::LogPath, $crate::container::Path, Read, Once;
            ContainerLogCat, $crate::container::LogCat, $crate::container::Session, Read, Once;
            ContainerLogDenials, $crate::container::LogDenials, $crate::container::Denials, Read, Once;
            ContainerProcesses, $crate::container::Processes, $crate::container::ProcessList, Read, Once;
            ContainerPidLookup, $crate::container::PidLookup, $crate::container::PidRows, Read, Once;
            ContainerAssets, $crate::container::Assets, $crate::daemon::Assets, Read, Once;
            ContainerSet, $crate::container::Set, $crate::daemon::Done, Admin, Once;
            ContainerUnset, $crate::container::Unset, $crate::daemon::Done, Admin, Once;
            ContainerCgparamsList, $crate::container::CgparamsList, $crate::container::Cgparams, Read, Once;
            ContainerCgparamsSet, $crate::container::CgparamsSet, $crate::daemon::Done, Admin, Once;
            ContainerCgparamsUnset, $crate::container::CgparamsUnset, $crate::daemon::Done, Admin, Once;
            ContainerCgparamsApply, $crate::container::CgparamsApply, $crate::daemon::Done, Admin, Once;
            ContainerCgparamsReplace, $crate::container::CgparamsReplace, $crate::daemon::Done, Admin, Once;
            ContainerPrlimitsList, $crate::container::PrlimitsList, $crate::container::Prlimits, Read, Once;
            ContainerPrlimitsSet, $crate::container::PrlimitsSet, $crate::daemon::Done, Admin, Once;
            ContainerPrlimitsUnset, $crate::container::PrlimitsUnset, $crate::daemon::Done, Admin, Once;
            ContainerDevicesList, $crate::container::DevicesList, $crate::container::Devices, Read, Once;
            ContainerDevicesAdd, $crate::container::DevicesAdd, $crate::daemon::Done, Admin, Once;
            ContainerDevicesDelete, $crate::container::DevicesDelete, $crate::daemon::Done, Admin, Once;
            ContainerDevicesChmod, $crate::container::DevicesChmod, $crate::daemon::Done, Admin, Once;
            ContainerDevicesReplace, $crate::container::DevicesReplace, $crate::daemon::Done, Admin, Once;
            SnapshotNew, $crate::snapshot::New, $crate::snapshot::Snapshot, Admin, Once;
            SnapshotList, $crate::snapshot::List, $crate::snapshot::Snapshots, Read, Once;
            SnapshotDelete, $crate::snapshot::Delete, $crate::daemon::Done, Admin, Once;
            SnapshotRollback, $crate::snapshot::Rollback, $crate::daemon::Done, Admin, Progress;
            SnapshotClone, $crate::snapshot::Clone, $crate::container::Container, Admin, Once;
            SnapshotMount, $crate::snapshot::Mount, $crate::container::Path, Admin, Once;
            SnapshotUnmount, $crate::snapshot::Unmount, $crate::daemon::Done, Admin, Once;
            SnapshotSchedule, $crate::snapshot::Schedule, $crate::daemon::Done, Admin, Once;
            SnapshotUnschedule, $crate::snapshot::Unschedule, $crate::daemon::Done, Admin, Once;
            FirewallShow, $crate::firewall::Show, $crate::firewall::Firewall, Read, Once;
            FirewallRuleAdd, $crate::firewall::RuleAdd, $crate::daemon::Done, Admin, Once;
            FirewallRuleDelete, $crate::firewall::RuleDelete, $crate::daemon::Done, Admin, Once;
            FirewallSet, $crate::firewall::SetPolicy, $crate::daemon::Done, Admin, Once;
            FirewallClear, $crate::firewall::Clear, $crate::daemon::Done, Admin, Once;
            FirewallSetNew, $crate::firewall::SetNew, $crate::daemon::Done, Admin, Once;
            FirewallSetDelete, $crate::firewall::SetDelete, $crate::daemon::Done, Admin, Once;
            FirewallSetList, $crate::firewall::SetList, $crate::firewall::AddressSets, Read, Once;
            FirewallSetShow, $crate::firewall::SetShow, $crate::firewall::AddressSet, Read, Once;
            FirewallSetAdd, $crate::firewall::SetAdd, $crate::daemon::Done, Admin, Once;
            FirewallSetRemove, $crate::firewall::SetRemove, $crate::daemon::Done, Admin, Once;

            NetifList, $crate::netif::List, $crate::netif::Netifs, Read, Once;
            NetifNew, $crate::netif::New, $crate::daemon::Done, Admin, Once;
            NetifDelete, $crate::netif::Delete, $crate::daemon::Done, Admin, Once;
            NetifRename, $crate::netif::Rename, $crate::daemon::Done, Admin, Once;
            NetifSet, $crate::netif::Set, $crate::daemon::Done, Admin, Once;
            NetifIpList, $crate::netif::IpList, $crate::netif::IpRows, Read, Once;
            NetifIpAdd, $crate::netif::IpAdd, $crate::daemon::Done, Admin, Once;
            NetifIpDelete, $crate::netif::IpDelete, $crate::daemon::Done, Admin, Once;
            NetifRouteList, $crate::netif::RouteList, $crate::netif::RouteRows, Read, Once;
            NetifRouteAdd, $crate::netif::RouteAdd, $crate::daemon::Done, Admin, Once;
            NetifRouteDelete, $crate::netif::RouteDelete, $crate::daemon::Done, Admin, Once;
            MountList, $crate::mounts::List, $crate::mounts::Mounts, Read, Once;
            MountNew, $crate::mounts::New, $crate::daemon::Done, Admin, Once;
            MountDataset, $crate::mounts::MountDataset, $crate::daemon::Done, Admin, Once;
            MountRegister, $crate::mounts::Register, $crate::daemon::Done, Admin, Once;
            MountActivate, $crate::mounts::Activate, $crate::daemon::Done, Operate, Once;
            MountDeactivate, $crate::mounts::Deactivate, $crate::daemon::Done, Operate, Once;
            MountDelete, $crate::mounts::Delete, $crate::daemon::Done, Admin, Once;
            MountClear, $crate::mounts::Clear, $crate::daemon::Done, Admin, Once;
            DatasetList, $crate::mounts::DatasetList, $crate::mounts::Datasets, Read, Once;
            DatasetNew, $crate::mounts::DatasetNew, $crate::daemon::Done, Admin, Once;
            DatasetQuota, $crate::mounts::DatasetQuota, $crate::daemon::Done, Admin, Once;
            DatasetDelete, $crate::mounts::DatasetDelete, $crate::daemon::Done, Admin, Once;
            ContainerRecoverState, $crate::container::RecoverState, $crate::daemon::Done, Operate, Once;
            ContainerRecoverCleanup, $crate::container::RecoverCleanup, $crate::daemon::Done, Admin, Once;
        }
    };
}

macro_rules! implement {
    ($($name:ident, $params:ty, $reply:ty, $class:ident, $kind:ident;)*) => {
        $(
            impl Method for $params {
                const NAME: &'static str = stringify!($name);
                const CLASS: Class = Class::$class;
                const KIND: Kind = Kind::$kind;
                type Reply = $reply;
            }
        )*

        /// Names of all methods, without the interface.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

for_each_method!(implement);
