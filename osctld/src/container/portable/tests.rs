//! There and back again, and what vpsAdminOS writes.

use osctl_api::container::{
    Autostart, Cgparam, CpuLimit, Device, DeviceKind, MemoryLimit, Prlimit, Set,
};
use osctl_api::netif::{BridgeOptions, Kind, Options};

use super::*;
use crate::container::config::{Config, Distribution};
use crate::container::mount::{Mount, Source};
use crate::container::netif::{Netif, Routed};
use crate::image::parse_yaml;
use crate::user::Maps;

fn given() -> Given {
    Given {
        user: "u".parse().unwrap(),
        group: "/g".parse().unwrap(),
        datasets: vec!["var/lib".to_owned()],
        host_mounts: true,
    }
}

fn bare() -> Config {
    let d = Distribution::checked("debian".into(), "12".into(), "x86_64".into()).unwrap();
    Config::new(given().user, given().group, d)
}

/// A configuration in which nothing is as it is by default.
fn full() -> Config {
    let mut c = bare();
    let mut set = Set::none("x".parse().unwrap());
    set.autostart = Some(Autostart {
        priority: 5,
        delay: 7,
    });
    set.ephemeral = Some(true);
    set.hostname = Some("web1.example.org".parse().unwrap());
    set.dns_resolvers = Some(vec![
        "192.0.2.1".parse().unwrap(),
        "2001:db8::1".parse().unwrap(),
    ]);
    set.init_cmd = Some(vec![
        "/bin/init".into(),
        "yes".into(),
        "12".into(),
        "a: b # c".into(),
    ]);
    set.nesting = Some(true);
    set.seccomp = Some("compat32".into());
    set.cpu_limit = Some(CpuLimit {
        percent: 150,
        period_us: Some(50_000),
    });
    set.memory_limit = Some(MemoryLimit {
        memory: 1 << 30,
        swap: Some(1 << 20),
    });
    set.attrs.insert("org.x:y".parse().unwrap(), "null".into());
    c.set(set).unwrap();
    c.cgparams.push(Cgparam {
        version: 2,
        subsystem: "memory".into(),
        parameter: "memory.high".into(),
        value: vec!["1000000".into()],
    });
    c.add_device(Device {
        kind: DeviceKind::Char,
        major: "10".into(),
        minor: "*".into(),
        mode: "-".into(),
        name: None,
        inherited: false,
    })
    .unwrap();
    for (name, hard) in [("nofile", "unlimited"), ("nproc", "2048")] {
        c.set_prlimit(Prlimit {
            name: name.into(),
            soft: "1024".into(),
            hard: hard.into(),
        })
        .unwrap();
    }
    let options = |mtu| Options {
        mtu: Some(mtu),
        anti_spoof: Some(false),
        max_tx: Some("10m".parse().unwrap()),
        tx_queues: Some(3),
        ..Options::default()
    };
    let routed = BridgeOptions::default();
    let mut eth0 =
        Netif::new("eth0".parse().unwrap(), Kind::Routed, routed, options(9000)).unwrap();
    let first = "192.0.2.10/32".parse().unwrap();
    eth0.add_address(first, Routed::Itself).unwrap();
    eth0.add_route(osctl_api::netif::Route {
        network: "198.51.100.0/24".parse().unwrap(),
        via: Some("192.0.2.10".parse().unwrap()),
    })
    .unwrap();
    let second = "2001:db8:5::1/64".parse().unwrap();
    eth0.add_address(second, Routed::Itself).unwrap();
    let bridged = BridgeOptions {
        link: Some("br0".parse().unwrap()),
        dhcp: Some(false),
        gateway_v4: Some("192.0.2.254".parse().unwrap()),
        gateway_v6: Some("none".parse().unwrap()),
    };
    let eth1 = Netif::new(
        "eth1".parse().unwrap(),
        Kind::Bridge,
        bridged,
        options(1400),
    )
    .unwrap();
    c.netifs = vec![eth0, eth1];
    let mount = |source, at: &str, opts: &str| Mount {
        source,
        mountpoint: at.parse().unwrap(),
        opts: opts.parse().unwrap(),
        automount: at == "/a",
    };
    c.mounts = vec![
        mount(
            Source::Host("/srv/x".parse().unwrap()),
            "/a",
            "rbind,ro,create=dir",
        ),
        mount(
            Source::Dataset("var/lib".parse().unwrap()),
            "/var/lib",
            "rw",
        ),
        mount(Source::Tmpfs, "/scratch", "size=64m,create=dir"),
    ];
    c.impermanence = true;
    c.snapshots = Some("hourly=24,daily=7".parse().unwrap());
    c.firewall.rules = vec!["allow in tcp port 80".parse().unwrap()];
    c.check().unwrap();
    c
}

#[test]
fn nothing_is_lost_on_the_way_there_and_back() {
    for config in [bare(), full()] {
        for own in [None, Some(1 << 30)] {
            let data = DataFacts {
                quota: own,
                dataset_quotas: [("var/lib".to_owned(), 1 << 20)].into(),
                scheduled: [("daily".to_owned(), vec!["daily-a".to_owned()])].into(),
            };
            let yml = container_yml(&config, &data).unwrap();
            let text = String::from_utf8(yml.clone()).unwrap();
            let loaded = load_container(&yml, given()).unwrap_or_else(|e| panic!("{text}{e:?}"));
            assert_eq!(loaded.config, config, "{text}");
            assert_eq!(loaded.data, data);
            assert_eq!(loaded.warnings, [""; 0]);
        }
    }
}

#[test]
fn vpsadminos_finds_its_own_words() {
    let yml = container_yml(&full(), &DataFacts::default()).unwrap();
    let yml: serde_norway::Value = parse_yaml(&yml).unwrap();
    let at = |path: &str| {
        let mut value = &yml;
        for key in path.split('/') {
            value = match key.parse::<usize>() {
                Ok(index) => &value[index],
                Err(_) => &value[key],
            };
        }
        serde_norway::to_string(value).unwrap().trim().to_owned()
    };
    for (path, wanted) in [
        ("user", "u"),
        ("group", "/g"),
        ("version", "'12'"),
        ("hostname", "web1.example.org"),
        ("nesting", "true"),
        ("autostart/priority", "5"),
        ("dns_resolvers/1", "2001:db8::1"),
        ("prlimits/nofile/soft", "1024"),
        ("prlimits/nofile/hard", "unlimited"),
        ("attrs/org.x:y", "'null'"),
        ("devices/0/type", "char"),
        ("devices/0/minor", "'*'"),
        ("net_interfaces/0/type", "routed"),
        ("net_interfaces/0/max_tx", "10000000"),
        ("net_interfaces/0/tx_queues", "3"),
        ("net_interfaces/0/ip_addresses/v4/0", "192.0.2.10/32"),
        ("net_interfaces/0/ip_addresses/v6/0", "2001:db8:5::1/64"),
        ("net_interfaces/0/routes/v4/0", "192.0.2.10/32"),
        ("net_interfaces/0/routes/v4/1/address", "198.51.100.0/24"),
        ("net_interfaces/0/routes/v4/1/via", "192.0.2.10"),
        ("mounts/0/fs", "/srv/x"),
        ("mounts/1/dataset", "var/lib"),
        ("mounts/1/fs", "null"),
        ("net_interfaces/1/link", "br0"),
        ("net_interfaces/1/dhcp", "false"),
        ("net_interfaces/1/gateways/v4", "192.0.2.254"),
        ("net_interfaces/1/gateways/v6", "none"),
    ] {
        assert_eq!(at(path), wanted, "{path}");
    }
    // Limits, which it has no other word for.
    let params = at("cgparams");
    for param in [
        "cpu.max",
        "cpu.cfs_quota_us",
        "memory.max",
        "memory.memsw.limit_in_bytes",
    ] {
        assert!(params.contains(param), "{params}");
    }
}

/// As vpsAdminOS writes it.
const FOREIGN: &str = "---
user: vps1
group: \"/default\"
dataset: tank/ct/101
distribution: debian
version: 12
arch: x86_64
net_interfaces:
- type: routed
  name: eth0
  hwaddr: 02:11:22:33:44:55
  max_tx: 0
  max_rx: 314572800
  tx_queues: 2
  rx_queues: 2
  ip_addresses:
    v4:
    - 192.0.2.7/32
    v6: []
  routes:
    v4:
    - 192.0.2.7/32
    - address: 198.51.100.0/28
      via: 192.0.2.7
    v6: []
- type: bridge
  name: lan
  hwaddr:
  link: lxcbr0
  dhcp: true
  gateways:
    v4: auto
    v6: auto
cgparams:
- version: 1
  subsystem: memory
  name: memory.limit_in_bytes
  value:
  - 4294967296
  persistent: true
- version: 1
  subsystem: cpu
  name: cpu.cfs_period_us
  value:
  - 100000
  persistent: true
- version: 1
  subsystem: cpu
  name: cpu.cfs_quota_us
  value:
  - 800000
  persistent: true
- version: 2
  subsystem: pids
  name: pids.max
  value:
  - '1000'
  persistent: true
devices:
- type: char
  major: '10'
  minor: '229'
  mode: rwm
  name: \"/dev/fuse\"
  inherit: false
  inherited: false
prlimits:
  nofile:
    soft: 1024
    hard: 1048576
  memlock:
    soft: unlimited
    hard: unlimited
mounts: []
autostart:
  priority: 10
  delay: 5
ephemeral: false
hostname: vps.example.org
dns_resolvers:
- 192.0.2.53
nesting: true
seccomp_profile:
cpu_package: auto
init_cmd:
start_menu:
  timeout: 5
impermanence:
raw:
  lxc:
attrs:
  org.vpsadmin:id: '101'
hints:
  cpu_daily:
    usage_us: 1234
";

#[test]
fn what_vpsadminos_writes_is_understood() {
    let loaded = load_container(FOREIGN.as_bytes(), given()).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    let c = loaded.config;
    assert_eq!((c.user.as_str(), c.group.as_str()), ("u", "/g"));
    assert_eq!(
        (c.distribution.as_str(), c.version.as_str()),
        ("debian", "12")
    );
    assert_eq!(c.hostname.as_ref().unwrap().to_string(), "vps.example.org");
    assert_eq!(c.dns_resolvers.len(), 1);
    let cpu = CpuLimit {
        percent: 800,
        period_us: None,
    };
    assert_eq!(c.cpu_limit, Some(cpu));
    assert_eq!(c.memory_limit.unwrap().memory, 4 << 30);
    let left: Vec<_> = c.cgparams.iter().map(|p| p.parameter.as_str()).collect();
    assert_eq!(left, ["pids.max"]);
    assert_eq!(c.prlimits["memlock"].hard, "unlimited");
    assert_eq!(c.prlimits["nofile"].hard, "1048576");
    assert_eq!(c.devices[0].name.as_deref(), Some("/dev/fuse"));
    assert!(c.nesting && c.autostart.is_some());
    assert_eq!(c.attrs["org.vpsadmin:id"], "101");
    assert_eq!(c.netifs[0].hwaddr.to_string(), "02:11:22:33:44:55");
    assert_eq!(c.netifs[0].routes().len(), 2);
    assert_eq!(c.netifs[0].max_rx.bits(), Some(314_572_800));
    assert!(c.netifs[0].anti_spoof && c.netifs[1].anti_spoof);
    assert!(c.netifs[1].bridge().unwrap().dhcp);
}

#[test]
fn what_means_nothing_here_is_told() {
    let text = FOREIGN
        .replace("seccomp_profile:\n", "seccomp_profile: /etc/profile\n")
        .replace(
            "mounts: []",
            "mounts:\n- fs: /etc\n  mountpoint: /mnt\n  type: bind\n  opts: odd\n- fs:\n  mountpoint: /data\n  type: zfs\n  opts: bind,rw,create=dir\n  automount: true\n  dataset: data\n  temporary: false\n",
        )
        .replace("impermanence:\n", "impermanence:\n  zfs_properties: {}\n")
        .replace(
            "  lxc:\n",
            "  lxc: |\n    lxc.mount.entry = /etc etc none bind 0 0\n",
        );
    let given = Given {
        host_mounts: false,
        datasets: Vec::new(),
        ..given()
    };
    let loaded = load_container(text.as_bytes(), given).unwrap();
    let told = loaded.warnings.join("\n");
    for word in ["seccomp", "/mnt:", "/data:", "impermanence", "LXC"] {
        assert!(told.contains(word), "{told}");
    }
    assert_eq!(loaded.config.seccomp, None);
}

#[test]
fn what_commands_refuse_is_refused() {
    let ours = |key: &str| format!("{FOREIGN}org.osctl:\n  version: 1\n  {key}\n");
    let bad = [
        FOREIGN.replace("hostname: vps.example.org", "hostname: \"a\\nlxc.idmap=\""),
        FOREIGN.replace("distribution: debian", "distribution: ../x"),
        FOREIGN.replace("version: 12", "version: \"1\\n2\""),
        FOREIGN.replace("init_cmd:", "init_cmd: [sbin/init]"),
        FOREIGN.replace("init_cmd:", "init_cmd: [\"/a\\0b\"]"),
        FOREIGN.replace("'101'", "\"a\\nb\""),
        FOREIGN.replace("org.vpsadmin:id", "noname"),
        FOREIGN.replace("'229'", "'229x'"),
        FOREIGN.replace("rwm", "rwx"),
        FOREIGN.replace("\"/dev/fuse\"", "/dev/../etc/passwd"),
        FOREIGN.replace("type: char", "type: pipe"),
        FOREIGN.replace("nofile", "nosuch"),
        FOREIGN.replace("hard: 1048576", "hard: 1"),
        FOREIGN.replace("pids.max", "../pids.max"),
        FOREIGN.replace("'1000'", "\"1\\n2\""),
        FOREIGN.replace("name: eth0", "name: ../eth0"),
        FOREIGN.replace("name: lan", "name: eth0"),
        FOREIGN.replace("02:11:22:33:44:55", "00:00:00:00:00:00"),
        FOREIGN.replace("192.0.2.7/32\n    v6", "192.0.2.7/99\n    v6"),
        FOREIGN.replace("198.51.100.0/28", "0.0.0.0/0"),
        FOREIGN.replace("tx_queues: 2", "tx_queues: 1000000"),
        FOREIGN.replace("type: routed", "type: phys"),
        FOREIGN.replace("192.0.2.53", "x"),
        FOREIGN.replace("lxcbr0", "a/b"),
        FOREIGN.replace("nesting: true", "nesting: [true]"),
        FOREIGN.replace(
            "mounts: []",
            "mounts: [{fs: ../x, mountpoint: /x, opts: bind}]",
        ),
        FOREIGN.replace(
            "mounts: []",
            "mounts: [{fs: /x, mountpoint: /proc/x, opts: bind}]",
        ),
        FOREIGN.replace(
            "mounts: []",
            "mounts: [{fs: /x, mountpoint: /x, opts: \"bind,suid\"}]",
        ),
        ours("seccomp: nosuch"),
        ours("nosuch: 1"),
        ours("firewall: {rules: [\"nonsense\"]}"),
        ours("memory_limit: {memory: 1}"),
        ours("cpu_limit: {percent: 0}"),
        ours("netifs: {eth0: {mtu: 1, anti_spoof: true}}"),
        FOREIGN.to_owned() + "org.osctl: {version: 2}\n",
        FOREIGN.replace("user: vps1", "user: &a vps1"),
        "[]".to_owned(),
        "\u{0}".to_owned(),
    ];
    load_container(ours("seccomp: unconfined").as_bytes(), given()).unwrap();
    for text in bad {
        assert_ne!(text, FOREIGN);
        let loaded = load_container(text.as_bytes(), given());
        assert!(loaded.is_err(), "{text}");
    }
}

#[test]
fn maps_of_users() {
    let maps = Maps {
        uid: vec!["0:1000000:65536".parse().unwrap()],
        gid: vec![
            "0:2000000:1000".parse().unwrap(),
            "5000:3000000:1".parse().unwrap(),
        ],
    };
    let yml = user_yml(&maps, true, &[("a:b".to_owned(), "c".to_owned())].into()).unwrap();
    assert_eq!(load_user(&yml).unwrap(), maps);
    let foreign = "---\nuid_map:\n- 0:666000:65536\ngid_map:\n- 0:666000:65536\nattrs: {}\n";
    assert_eq!(
        load_user(foreign.as_bytes()).unwrap().uid[0].host_id,
        666_000
    );
    for bad in [
        "uid_map: [\"0:0:65536\"]\ngid_map: [\"0:0:65536\"]\n",
        "uid_map: [\"0:1000000:0\"]\ngid_map: [\"0:1000000:1\"]\n",
        "uid_map: []\ngid_map: []\n",
        "uid_map: x\n",
        "{}",
    ] {
        assert!(load_user(bad.as_bytes()).is_err(), "{bad}");
    }
}
