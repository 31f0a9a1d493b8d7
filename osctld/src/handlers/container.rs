//! Methods of containers.

use osctl_api::container as api;

use super::{Context, Handle};
use crate::error::{Error, Result};

macro_rules! unsupported {
    ($($params:ty),* $(,)?) => {
        $(impl Handle for $params {
            async fn handle(self, _: &mut Context) -> Result<Self::Reply> {
                Err(Error::unsupported("this daemon has no containers yet"))
            }
        })*
    };
}

unsupported!(
    api::New,
    api::Delete,
    api::List,
    api::Show,
    api::Move,
    api::Chown,
    api::Chgrp,
    api::Start,
    api::Stop,
    api::Restart,
    api::Freeze,
    api::Unfreeze,
    api::Exec,
    api::RunScript,
    api::Console,
    api::Passwd,
    api::Cat,
    api::LogPath,
    api::LogCat,
    api::Processes,
    api::PidLookup,
    api::Assets,
    api::Set,
    api::Unset,
    api::CgparamsList,
    api::CgparamsSet,
    api::CgparamsUnset,
    api::CgparamsApply,
    api::CgparamsReplace,
    api::PrlimitsList,
    api::PrlimitsSet,
    api::PrlimitsUnset,
    api::DevicesList,
    api::DevicesAdd,
    api::DevicesDelete,
    api::DevicesChmod,
    api::DevicesReplace,
    api::RecoverState,
    api::RecoverCleanup,
    osctl_api::pool::AutostartQueue,
    osctl_api::pool::AutostartTrigger,
    osctl_api::pool::AutostartCancel,
);
