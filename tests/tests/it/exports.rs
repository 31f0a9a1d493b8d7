//! Containers go out as archives and come back, and archives of others come in: all of it, or
//! nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use flate2::Compression;
use flate2::write::GzEncoder;
use osctl_api::container::State;
use osctl_tests::canary::Canary;
use osctl_tests::host::POOL;
use osctl_tests::pty::Terminal;
use osctl_tests::rootfs::Archive;
use osctl_tests::{Ct, Host, Rootfs, host, networked_host, wait};
use serde_json::{Value, json};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Members of an archive: names with their contents, in order.
fn members(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(File::open(archive).unwrap());
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content)
        })
        .collect()
}

fn export(host: &Host, id: &str, options: &[&str], to: &Path) -> Output {
    let to = to.to_str().unwrap();
    host.try_osctl(&[&["ct", "export"], options, &[id, to]].concat())
}

fn import(host: &Host, from: &Path, options: &[&str]) -> Output {
    let from = from.to_str().unwrap();
    host.try_osctl(&[&["ct", "import"], options, &[from]].concat())
}

#[track_caller]
fn ok(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    stderr
}

#[track_caller]
fn refused(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert!(!output.status.success(), "it was accepted: {stderr}");
    stderr
}

/// Its configuration as it is kept.
fn config(host: &Host, id: &str) -> Value {
    let path = host.pool_dir(POOL).join(format!("conf/ct/{id}.json"));
    let mut config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("generation");
    config
}

/// Everything about its files that is to survive.
fn files(ct: &Ct<'_>) -> BTreeMap<PathBuf, (u32, u32, u32, u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![ct.rootfs()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let meta = entry.path().symlink_metadata().unwrap();
            let content = match meta.file_type() {
                t if t.is_file() => fs::read(entry.path()).unwrap(),
                t if t.is_symlink() => fs::read_link(entry.path())
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes(),
                _ => Vec::new(),
            };
            if meta.is_dir() {
                left.push(entry.path());
            }
            let path = entry.path().strip_prefix(ct.rootfs()).unwrap().to_owned();
            let what = (meta.mode(), meta.uid(), meta.gid(), meta.rdev(), content);
            found.insert(path, what);
        }
    }
    found
}

/// A container with settings of every kind, and files of every kind.
fn furnished<'h>(host: &'h Host, id: &str) -> Ct<'h> {
    let rootfs = Rootfs::minimal()
        .file("etc/secret", 0o600, b"secret")
        .symlink("etc/link", "/etc/secret")
        .fifo("run-fifo");
    let ct = host.ct_of(id, &rootfs);
    ct.set(json!({
        "hostname": "web1.example.org",
        "dns_resolvers": ["192.0.2.53"],
        "autostart": { "priority": 7, "delay": 1 },
        "nesting": true,
        "memory_limit": { "memory": 64 << 20 },
        "attrs": { "org.example:key": "value: #1" },
    }));
    for line in [
        "ct prlimits set ID nofile 1000 2000",
        "ct netif new routed ID eth0",
        "ct netif ip add ID eth0 192.0.2.10",
        "ct netif new bridge --link br9 --no-dhcp ID lan0",
        "ct firewall add ID allow in tcp port 22",
    ] {
        let words = line.replace("ID", id);
        host.osctl(&words.split(' ').collect::<Vec<_>>());
    }
    ct
}

fn put_hooks(host: &Host, id: &str) -> PathBuf {
    let dir = host.pool_dir(POOL).join("hook/ct").join(id);
    fs::create_dir_all(dir.join("post-start.d")).unwrap();
    for name in ["pre-start", "post-start.d/10-a"] {
        fs::write(dir.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(dir.join("README"), "no hook").unwrap();
    dir
}

#[test]
fn what_goes_out_comes_back_as_it_was() {
    let host = networked_host!();
    let ct = furnished(&host, "web1");
    let hooks = put_hooks(&host, "web1");
    let (before, files_before) = (config(&host, "web1"), files(&ct));
    let archive = host.path("out.tar");
    ok(&export(&host, "web1", &["-c", "gzip"], &archive));
    assert_eq!(fs::metadata(&archive).unwrap().mode() & 0o777, 0o600);
    let found = members(&archive);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "metadata.yml",
            "config/",
            "config/user.yml",
            "config/group.yml",
            "config/container.yml",
            "hooks/",
            "hooks/post-start.d/",
            "hooks/post-start.d/10-a",
            "hooks/pre-start",
            "rootfs/",
            "rootfs/base.tar.gz",
        ]
    );
    let metadata = text(&found[0].1);
    let metadata: Value = serde_json::from_str(metadata.strip_prefix("---\n").unwrap()).unwrap();
    let wanted = json!({
        "type": "full",
        "format": "tar",
        "user": "web1",
        "group": "/default",
        "container": "web1",
        "datasets": [],
        "exported_at": metadata["exported_at"],
    });
    assert_eq!(metadata, wanted);

    // It is still there, so its addresses are taken.
    let error = refused(&import(&host, &archive, &["--as-id", "web2"]));
    assert!(
        error.contains("192.0.2.10") && error.contains("--without-netifs"),
        "{error}"
    );
    let error = refused(&import(&host, &archive, &[]));
    assert!(error.contains("web1 exists already"), "{error}");
    let told = ok(&import(
        &host,
        &archive,
        &["--as-id", "web2", "--without-netifs"],
    ));
    assert!(told.contains("--with-hooks"), "{told}");
    assert!(!host.pool_dir(POOL).join("hook/ct/web2").exists());
    let web2 = config(&host, "web2");
    assert_eq!(web2["user"], "web2", "it shares no ids");
    assert_eq!(web2.get("netifs"), None);
    host.ct("web2").delete();

    ct.delete();
    assert!(!hooks.exists(), "hooks go with their container");
    ok(&import(&host, &archive, &["--with-hooks"]));
    assert_eq!(config(&host, "web1"), before);
    assert_eq!(files(&host.ct("web1")), files_before);
    assert!(hooks.join("post-start.d/10-a").exists() && hooks.join("pre-start").exists());
    assert!(!hooks.join("README").exists());
    let ct = host.ct("web1");
    host.osctl(&["ct", "netif", "del", "web1", "lan0"]);
    ct.start();
    assert_eq!(ct.sh("cat /etc/secret && hostname"), "secretweb1\n");
    ct.delete();
    host.assert_clean();
}

#[test]
fn streams_are_not_for_a_pool_in_a_directory() {
    let host = host!();
    let ct = host.new_ct("web1");
    let path = host.path("streams.tar");
    let error = refused(&export(&host, "web1", &["--format", "zfs"], &path));
    assert!(
        error.contains("directory") && error.contains("--format tar"),
        "{error}"
    );
    assert!(!path.exists());
    let archive = |datasets: &str| {
        let mut archive = Archive::new(File::create(&path).unwrap());
        let metadata = format!(
            "type: full\nformat: zfs\nuser: u\ngroup: /new\ncontainer: web2\ndatasets: {datasets}\n"
        );
        archive
            .file("metadata.yml", 0o644, metadata.as_bytes())
            .file("config/container.yml", 0o644, b"distribution: debian\n")
            .file("rootfs/base.dat", 0o644, b"a stream");
        archive.finish();
    };
    archive("[]");
    let error = refused(&import(&host, &path, &[]));
    assert!(
        error.contains("streams of ZFS") && error.contains("--format tar"),
        "{error}"
    );
    archive("[../web1]");
    let error = refused(&import(&host, &path, &[]));
    assert!(error.contains("no name of a dataset"), "{error}");
    // As an image it is of no use either.
    archive("[]");
    let error = match host.try_ct_from("web3", &path) {
        Ok(_) => panic!("it was accepted"),
        Err(e) => e.to_string(),
    };
    assert!(error.contains("zfs"), "{error}");
    assert_eq!(host.ids(), ["web1"]);
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_running_container_is_stopped_for_its_copy_or_copied_live() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let init = ct.init_pid();
    // What comes and goes while it is copied is no reason to fail.
    ct.sh("mkdir /busy && cd /busy && (while :; do mkdir a b; echo x > a/c; ln -s x b/l; rm -r a b; done) >/dev/null 2>&1 &");
    let (live, still) = (host.path("live.tar"), host.path("still.tar"));
    for _ in 0..3 {
        ok(&export(
            &host,
            "web1",
            &["--no-consistent", "--force"],
            &live,
        ));
    }
    assert_eq!(ct.init_pid(), init);
    ok(&export(&host, "web1", &["-c", "off"], &still));
    assert_eq!(ct.state(), State::Running);
    assert_ne!(ct.init_pid(), init, "it was copied while it ran");
    for (id, archive) in [("web2", &live), ("web3", &still)] {
        ok(&import(&host, archive, &["--as-id", id]));
        let ct = host.ct(id);
        ct.start();
        assert_eq!(ct.sh("echo $((6*7))"), "42\n");
        ct.delete();
    }
    ct.try_json::<osctl_api::container::Freeze>(json!({}))
        .unwrap();
    let error = refused(&export(&host, "web1", &[], &host.path("frozen.tar")));
    assert!(error.contains("frozen"), "{error}");
    ok(&export(
        &host,
        "web1",
        &["--no-consistent"],
        &host.path("frozen.tar"),
    ));
    ct.delete();
    host.assert_clean();
}

#[test]
fn what_exists_is_kept_and_what_is_given_up_leaves_nothing() {
    let host = host!();
    let ct = host.new_ct("web1");
    let dir = host.path("archives");
    fs::create_dir(&dir).unwrap();
    let archive = dir.join("web1.tar");
    fs::write(&archive, "precious").unwrap();
    let error = refused(&export(&host, "web1", &[], &archive));
    assert!(error.contains("--force"), "{error}");
    refused(&export(&host, "web9", &["--force"], &archive));
    assert_eq!(fs::read(&archive).unwrap(), b"precious");
    refused(&export(&host, "web1", &[], &dir.join("missing/web1.tar")));
    let left = || fs::read_dir(&dir).unwrap().count();
    assert_eq!(left(), 1);
    ok(&export(&host, "web1", &["--force"], &archive));
    assert_eq!(left(), 1);
    ok(&import(&host, &archive, &["--as-id", "web2"]));
    host.ct("web2").delete();

    // Ctrl-C in the middle: it runs again, and nothing is left.
    ct.start();
    let noise =
        |seed: u64| (0..1u64 << 17).map(move |n| (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for n in 0..60 {
        let bytes: Vec<u8> = noise(n).flat_map(u64::to_le_bytes).collect();
        fs::write(ct.rootfs().join(format!("noise{n}")), bytes).unwrap();
    }
    fs::remove_file(&archive).unwrap();
    let command = [
        "ct",
        "export",
        "-c",
        "gzip",
        "web1",
        archive.to_str().unwrap(),
    ];
    let mut terminal = Terminal::spawn(&host.osctl_command(&command));
    terminal.read_until("packing");
    terminal.write("\x03");
    terminal.end();
    wait::until("it runs again", || ct.state() == State::Running);
    assert_eq!(left(), 0);

    // And an import that is given up.
    ok(&export(&host, "web1", &["--no-consistent"], &archive));
    let command = ["ct", "import", "--as-id", "web2", archive.to_str().unwrap()];
    let mut terminal = Terminal::spawn(&host.osctl_command(&command));
    terminal.read_until("unpacking");
    terminal.write("\x03");
    terminal.end();
    wait::until("nothing is left of it", || host.ids() == ["web1"]);
    ct.delete();
    host.assert_clean();
}

/// An archive as vpsAdminOS makes it, in parts that can be replaced.
struct Foreign {
    metadata: String,
    user: String,
    container: String,
    hooks: Vec<(String, u32)>,
    base: (String, Vec<u8>),
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

impl Foreign {
    fn new() -> Foreign {
        Foreign {
            metadata: "---\ntype: full\nformat: tar\nuser: vps1\ngroup: \"/customers/small\"\ncontainer: '101'\ndatasets: []\nexported_at: 1700000000\n".to_owned(),
            user: "---\nuid_map:\n- 0:700000:65536\ngid_map:\n- 0:700000:65536\nstandalone: true\nattrs: {}\n".to_owned(),
            container: "---\nuser: vps1\ngroup: \"/customers/small\"\ndataset: tank/ct/101\ndistribution: debian\nversion: 12\narch: x86_64\nnet_interfaces:\n- type: routed\n  name: eth0\n  hwaddr: 02:11:22:33:44:55\n  max_tx: 0\n  max_rx: 0\n  ip_addresses:\n    v4:\n    - 192.0.2.7/32\n    v6: []\n  routes:\n    v4:\n    - 192.0.2.7/32\n    v6: []\ncgparams: []\ndevices: []\nprlimits:\n  nofile:\n    soft: 1024\n    hard: 4096\nmounts: []\nautostart:\nephemeral: false\nhostname: vps.example.org\ndns_resolvers:\nnesting: false\nseccomp_profile:\ncpu_package: auto\ninit_cmd:\nstart_menu:\n  timeout: 5\nimpermanence:\nraw:\n  lxc:\nattrs: {}\nhints:\n  cpu_daily:\n    usage_us: 0\n".to_owned(),
            hooks: vec![("pre-start".to_owned(), 0o755)],
            base: ("base.tar.gz".to_owned(), gzip(&Rootfs::minimal().archive())),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive
            .file("metadata.yml", 0o644, self.metadata.as_bytes())
            .dir("config")
            .file("config/user.yml", 0o644, self.user.as_bytes())
            .file(
                "config/group.yml",
                0o644,
                b"---\ncgparams: []\ndevices: []\nattrs: {}\n",
            )
            .file("config/container.yml", 0o644, self.container.as_bytes());
        archive.dir("hooks");
        for (name, mode) in &self.hooks {
            archive.file(&format!("hooks/{name}"), *mode, b"#!/bin/sh\n");
        }
        archive.dir("rootfs");
        archive.file(&format!("rootfs/{}", self.base.0), 0o644, &self.base.1);
        archive.finish()
    }

    fn write(&self, host: &Host) -> PathBuf {
        let path = host.path("foreign.tar");
        fs::write(&path, self.bytes()).unwrap();
        path
    }
}

#[test]
fn an_archive_of_vpsadminos_becomes_a_container() {
    let host = networked_host!();
    let archive = Foreign::new().write(&host);
    ok(&import(&host, &archive, &["--with-hooks"]));
    let ct = host.ct("101");
    let shown = ct.show();
    assert_eq!(shown.user.as_str(), "101", "it has a map of its own");
    assert_eq!(shown.group.to_string(), "/customers/small");
    assert!(
        host.osctl(&["group", "ls", "-H", "-o", "name"])
            .contains("/customers/small")
    );
    let hook = host.pool_dir(POOL).join("hook/ct/101/pre-start");
    assert_eq!(fs::metadata(&hook).unwrap().mode() & 0o7777, 0o755);
    ct.start();
    assert_eq!(ct.sh("hostname; ulimit -n"), "vps\n1024\n");
    let netifs = host.osctl(&["--json", "ct", "netif", "ip", "ls", "101"]);
    assert!(netifs.contains("192.0.2.7"), "{netifs}");

    // The same user for another container: as the archive has it, or not at all.
    ct.kill();
    let other = |options: &[&str]| {
        import(
            &host,
            &archive,
            &[&["--as-id", "102", "--without-netifs"], options].concat(),
        )
    };
    ok(&other(&["--keep-user"]));
    let map = host.osctl(&["user", "map", "vps1", "-H"]);
    assert!(map.contains("700000"), "{map}");
    ok(&import(
        &host,
        &archive,
        &["--as-id", "103", "--without-netifs", "--keep-user"],
    ));
    assert_eq!(host.ct("103").show().user.as_str(), "vps1");
    host.ct("103").delete();
    host.ct("102").delete();
    host.osctl(&["user", "new", "vps1"]);
    let error = refused(&other(&["--keep-user"]));
    assert!(error.contains("other ids"), "{error}");
    ok(&other(&["--as-user", "vps1", "--as-group", "/default"]));
    host.ct("102").delete();
    host.osctl(&["user", "del", "vps1"]);
    host.osctl(&["user", "new", "--map", "0:710000:10", "other"]);
    let error = refused(&other(&["--keep-user"]));
    assert!(error.contains("overlap"), "{error}");
    for missing in [["--as-user", "nobody"], ["--as-group", "/nowhere"]] {
        let error = refused(&other(&missing));
        assert!(error.contains("does not exist"), "{error}");
    }
    host.osctl(&["user", "del", "other"]);
    ct.delete();
    assert!(!hook.exists());
    host.assert_clean();
}

#[test]
fn devices_are_given_only_to_those_who_are_to_have_them() {
    let host = host!();
    let device = |kind: &str, minor: &str, mode: &str| {
        format!(
            "- type: {kind}\n  major: '8'\n  minor: '{minor}'\n  mode: {mode}\n  name:\n  inherit: true\n  inherited: false\n"
        )
    };
    let mut foreign = Foreign::new();
    let null = "- type: char\n  major: '1'\n  minor: '3'\n  mode: rwm\n  name: /dev/null\n";
    let devices = format!("devices:\n{null}{}", device("block", "*", "rwm"));
    foreign.container = foreign.container.replace("devices: []\n", &devices);
    let archive = foreign.write(&host);
    let error = refused(&import(&host, &archive, &[]));
    assert!(
        error.contains("block 8:*") && error.contains("--missing-devices"),
        "{error}"
    );
    assert!(!error.contains("1:3"), "{error}");
    let told = ok(&import(&host, &archive, &["--missing-devices", "remove"]));
    assert!(told.contains("block 8:*"), "{told}");
    assert_eq!(config(&host, "101").get("devices"), None);
    host.ct("101").delete();
    ok(&import(&host, &archive, &["--missing-devices", "provide"]));
    let devices = &config(&host, "101")["devices"];
    assert_eq!(devices.as_array().unwrap().len(), 1, "{devices}");
    assert_eq!(devices[0]["major"], "8");
    host.ct("101").delete();
    host.assert_clean();
}

#[test]
fn what_is_wrong_with_an_archive_is_told_and_nothing_is_left() {
    let host = host!("[image]\nmax_bytes = 50_000_000\n");
    let canary = Canary::new(&host.path("canary"), &["target"]);
    let pid = host.daemon_pid();
    let change = |change: &dyn Fn(&mut Foreign)| {
        let mut foreign = Foreign::new();
        change(&mut foreign);
        foreign.bytes()
    };
    let good = Foreign::new().bytes();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let hook = |name: &'static str| move |f: &mut Foreign| f.hooks = vec![(name.to_owned(), 0o755)];
    let container = |from: &'static str, to: &'static str| {
        move |f: &mut Foreign| f.container = f.container.replace(from, to)
    };
    let metadata = |from: &'static str, to: &'static str| {
        move |f: &mut Foreign| f.metadata = f.metadata.replace(from, to)
    };
    let bomb = gzip(&[&[b'x'; 512][..], &vec![7; 300_000_000]].concat());
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("rubbish", vec![7; 4096]),
        ("a root tarball", Rootfs::minimal().archive()),
        ("cut in the head", good[..700].to_vec()),
        ("cut in the middle", good[..good.len() / 2].to_vec()),
        ("cut at the end", good[..good.len() - 1500].to_vec()),
        ("a flipped byte", flipped),
        ("no data", change(&|f| f.base.0 = "other".to_owned())),
        ("a bomb", change(&|f| f.base.1 = bomb.clone())),
        ("a skeleton", change(&metadata("type: full", "type: skel"))),
        ("a bad id", change(&metadata("'101'", "'../101'"))),
        (
            "a bad group",
            change(&metadata("/customers/small", "/customers/../../x")),
        ),
        ("no id", change(&metadata("container: '101'", "container:"))),
        ("hook up", change(&hook("../../../escaped"))),
        ("hook at the top", change(&hook("/escaped"))),
        ("hook too deep", change(&hook("pre-start.d/a/b"))),
        ("hook of no such name", change(&hook("evil"))),
        ("hook beside a directory", change(&hook("pre-start/x"))),
        (
            "host name",
            change(&container("vps.example.org", "\"a\\nb\"")),
        ),
        ("distribution", change(&container("debian", "../../etc"))),
        (
            "interface",
            change(&container("name: eth0", "name: ../eth0")),
        ),
        ("no config", change(&container("user: vps1", "[]"))),
    ];
    for (what, bytes) in cases {
        let archive = host.path("bad.tar");
        fs::write(&archive, bytes).unwrap();
        let error = refused(&import(&host, &archive, &["--with-hooks"]));
        println!("{what}: {error}");
        assert!(error.lines().count() <= 8, "{what}: {error}");
        assert!(host.ids().is_empty(), "{what} left a container");
        assert_eq!(
            fs::read_dir(host.pool_dir(POOL).join("ct"))
                .unwrap()
                .count(),
            0,
            "{what}"
        );
        let hooks = host.pool_dir(POOL).join("hook/ct");
        assert_eq!(fs::read_dir(&hooks).map_or(0, Iterator::count), 0, "{what}");
        let groups = host.osctl(&["group", "ls", "-H", "-o", "name"]);
        assert!(!groups.contains("customers"), "{what}: {groups}");
        canary.assert_untouched(what);
    }
    assert_eq!(host.daemon_pid(), pid);
    // A link where a hook should be.
    let mut archive = Archive::new(Vec::new());
    archive
        .file("metadata.yml", 0o644, Foreign::new().metadata.as_bytes())
        .file(
            "config/container.yml",
            0o644,
            Foreign::new().container.as_bytes(),
        )
        .link(
            tar::EntryType::Symlink,
            "hooks/pre-start",
            &canary.path("target"),
        );
    fs::write(host.path("link.tar"), archive.finish()).unwrap();
    refused(&import(&host, &host.path("link.tar"), &["--with-hooks"]));
    // Setuid and writable by all is nothing for a program of root's.
    let mut foreign = Foreign::new();
    foreign.hooks = vec![("on-stop".to_owned(), 0o6777)];
    let archive = foreign.write(&host);
    ok(&import(&host, &archive, &["--with-hooks"]));
    let hook = host.pool_dir(POOL).join("hook/ct/101/on-stop");
    assert_eq!(fs::metadata(hook).unwrap().mode() & 0o7777, 0o755);
    refused(&import(&host, Path::new("/dev/zero"), &[]));
    refused(&import(&host, &host.path(""), &[]));
    host.ct("101").delete();
    host.assert_clean();
}
