//! Images and archives made to harm: a clear error, nothing left, nothing written outside.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use osctl_tests::canary::Canary;
use osctl_tests::rootfs::Archive;
use osctl_tests::{Host, Rootfs, host, processes};
use tar::EntryType;

const FILES: &[&str] = &["passwd", "target"];

struct Setting {
    host: Host,
    canary: Canary,
    pid: u32,
}

impl Setting {
    fn new(host: Host) -> Setting {
        let canary = Canary::new(&host.path("canary"), FILES);
        let pid = host.daemon_pid();
        Setting { host, canary, pid }
    }

    /// Makes a container of `image`, which must be refused and leave nothing.
    #[track_caller]
    fn refused(&self, what: &str, image: &Path) -> String {
        let error = match self.host.try_ct_from("evil", image) {
            Ok(_) => panic!("{what} was accepted"),
            Err(e) => e.to_string(),
        };
        self.untouched(what);
        assert!(self.host.ids().is_empty(), "{what} left a container");
        error
    }

    #[track_caller]
    fn untouched(&self, what: &str) {
        self.canary.assert_untouched(what);
        assert_eq!(self.host.daemon_pid(), self.pid);
        assert!(self.host.daemon_runs(), "{what} ended the daemon");
        self.host.assert_clean();
    }

    fn tar(&self, name: &str, fill: impl FnOnce(&mut Archive<File>)) -> PathBuf {
        let path = self.host.path(name);
        let mut archive = Archive::new(File::create(&path).unwrap());
        fill(&mut archive);
        archive.finish();
        path
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

const METADATA: &[u8] = b"type: full\nformat: tar\nuser: x\ngroup: /default\ncontainer: x\n";

#[test]
fn members_that_would_leave_the_tree_are_refused() {
    let setting = Setting::new(host!());
    let outside = setting.canary.path("target");
    let up = "../".repeat(12);
    type Fill<'a> = Box<dyn FnOnce(&mut Archive<File>) + 'a>;
    let cases: Vec<(&str, Fill<'_>)> = vec![
        (
            "dotdot",
            Box::new(|a: &mut Archive<File>| {
                a.dir("etc").file("../../../../escaped", 0o644, b"x");
            }),
        ),
        (
            "dotdot-inside",
            Box::new(|a: &mut Archive<File>| {
                a.dir("etc").file("etc/../../../escaped", 0o644, b"x");
            }),
        ),
        (
            "hard-link-out",
            Box::new(|a: &mut Archive<File>| {
                a.link(EntryType::Link, "stolen", &outside);
            }),
        ),
        (
            "hard-link-dotdot",
            Box::new(|a: &mut Archive<File>| {
                a.link(EntryType::Link, "stolen", &format!("{up}{}", &outside[1..]));
            }),
        ),
        (
            "through-symlink",
            Box::new(|a: &mut Archive<File>| {
                a.link(EntryType::Symlink, "d", &setting.canary.path(""));
                a.file("d/target", 0o644, b"overwritten");
            }),
        ),
        (
            "hard-link-through-symlink",
            Box::new(|a: &mut Archive<File>| {
                a.link(EntryType::Symlink, "d", &setting.canary.path(""));
                a.link(EntryType::Link, "stolen", "d/target");
            }),
        ),
    ];
    for (what, fill) in cases {
        let image = setting.tar(&format!("{what}.tar"), fill);
        // Either it is refused, or what it says stays inside.
        match setting.host.try_ct_from("evil", &image) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(ct) => {
                let stolen = ct.rootfs().join("stolen");
                if let Ok(bytes) = fs::read(&stolen) {
                    assert!(
                        !String::from_utf8_lossy(&bytes).contains("host secret"),
                        "{what}"
                    );
                }
                ct.delete();
            }
        }
        setting.untouched(what);
        assert!(!setting.host.path("escaped").exists(), "{what}");
    }
}

#[test]
fn absolute_members_stay_inside_or_are_refused() {
    let setting = Setting::new(host!());
    let target = setting.canary.path("target");
    let image = setting.tar("absolute.tar", |a| {
        a.file(&target, 0o644, b"overwritten");
    });
    if let Ok(ct) = setting.host.try_ct_from("evil", &image) {
        ct.delete();
    }
    setting.untouched("an absolute member");
}

#[test]
fn an_image_whose_rootfs_is_a_symlink_is_refused() {
    let setting = Setting::new(host!());
    let outside = setting.canary.path("");
    let image = setting.tar("symlink.tar", |a| {
        a.file("metadata.yml", 0o644, METADATA);
        a.link(EntryType::Symlink, "rootfs", &outside);
        a.file("rootfs/base.tar.gz", 0o644, &gzip(b"x"));
    });
    setting.refused("a rootfs that is a symlink", &image);
    let inner = setting.host.path("inner.tar");
    let mut archive = Archive::new(File::create(&inner).unwrap());
    archive.link(EntryType::Symlink, ".", &outside);
    archive.link(EntryType::Symlink, "./", &outside);
    archive.file("./target", 0o644, b"overwritten");
    archive.finish();
    if let Ok(ct) = setting.host.try_ct_from("evil", &inner) {
        ct.delete();
    }
    setting.untouched("a root directory that is a symlink");
    let link = setting.host.path("base-link.tar");
    let mut archive = Archive::new(File::create(&link).unwrap());
    archive.file("metadata.yml", 0o644, METADATA);
    archive.dir("rootfs");
    archive.link(
        EntryType::Symlink,
        "rootfs/base.tar.gz",
        &setting.canary.path("target"),
    );
    archive.finish();
    setting.refused("an inner archive that is a symlink", &link);
}

#[test]
fn a_directory_as_image_may_not_be_left_through_symlinks() {
    let setting = Setting::new(host!());
    let source = setting.host.path("source");
    fs::create_dir(&source).unwrap();
    std::os::unix::fs::symlink(setting.canary.path(""), source.join("link")).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    let ct = setting.host.ct_from("web1", &source);
    let link = ct.rootfs().join("link");
    assert!(
        fs::symlink_metadata(&link).unwrap().is_symlink(),
        "the symlink was followed"
    );
    ct.delete();
    let link = setting.host.path("source-link");
    std::os::unix::fs::symlink(setting.canary.path(""), &link).unwrap();
    if let Ok(ct) = setting.host.try_ct_from("web1", &link) {
        ct.delete();
    }
    setting.untouched("a directory as image");
}

#[test]
fn metadata_of_ten_gibibytes_is_refused_without_reading_it() {
    let setting = Setting::new(host!());
    let path = setting.host.path("huge.tar");
    let mut archive = Archive::new(File::create(&path).unwrap());
    archive.claim("metadata.yml", 10 << 30);
    let file = archive.cut();
    file.set_len(512 + (10 << 30) + 1024).unwrap();
    drop(file);
    let before = processes::anonymous_memory(setting.pid);
    let error = setting.refused("10 GiB of metadata", &path);
    assert!(error.contains("metadata"), "{error}");
    let after = processes::anonymous_memory(setting.pid);
    assert!(after < before + 64 * 1024 * 1024, "{before} -> {after}");
    // The same with bytes that compress to nothing.
    let laughs = setting.tar("laughs.tar", |a| {
        let mut yaml = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let last = n - 1;
            let refs = vec![format!("*a{last}"); 9].join(",");
            yaml.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
        }
        a.file("metadata.yml", 0o644, yaml.as_bytes());
        a.dir("rootfs");
        a.file("rootfs/base.tar.gz", 0o644, &gzip(b""));
    });
    setting.refused("a billion laughs", &laughs);
}

#[test]
fn more_entries_than_allowed_are_refused_and_cleaned_up() {
    let setting = Setting::new(host!("[image]\nmax_entries = 20000"));
    let image = setting.tar("many.tar", |a| {
        let mut block = Archive::new(Vec::new());
        for n in 0..1000 {
            block.file(&format!("f{n}"), 0o644, b"");
        }
        let block = block.cut();
        for _ in 0..1000 {
            a.raw(&block);
        }
    });
    let error = setting.refused("10^6 entries", &image);
    assert!(
        error.contains("20000") || error.contains("entries"),
        "{error}"
    );
}

#[test]
fn deep_directories_are_made_or_refused_and_removed() {
    let setting = Setting::new(host!());
    let path = setting.host.path("deep.tar");
    // GNU tar's way to write long names.
    let mut archive = Archive::new(File::create(&path).unwrap());
    let mut name = String::new();
    for _ in 0..1500 {
        name.push_str("d/");
    }
    let mut long = name.clone().into_bytes();
    long.push(0);
    archive.entry(EntryType::GNULongName, "././@LongLink", 0o644, &long);
    archive.dir("x");
    archive.finish();
    if let Ok(ct) = setting.host.try_ct_from("evil", &path) {
        ct.delete();
    }
    setting.untouched("1500 directories in each other");
}

#[test]
fn bombs_end_at_the_size_that_the_configuration_allows() {
    let setting = Setting::new(host!("[image]\nmax_bytes = 16777216"));
    let zeros = vec![0u8; 1024 * 1024];
    let bomb = setting.host.path("bomb.tar.gz");
    let mut archive = Archive::new(GzEncoder::new(
        File::create(&bomb).unwrap(),
        Compression::fast(),
    ));
    archive.claim("zeros", 2 << 30);
    for _ in 0..2048 {
        archive.raw(&zeros);
    }
    archive.finish().finish().unwrap();
    setting.refused("a gzip bomb", &bomb);
    let bomb = setting.host.path("bomb.tar.zst");
    let out = zstd::Encoder::new(File::create(&bomb).unwrap(), 1).unwrap();
    let mut archive = Archive::new(out);
    archive.claim("zeros", 2 << 30);
    for _ in 0..2048 {
        archive.raw(&zeros);
    }
    archive.finish().finish().unwrap();
    setting.refused("a zstd bomb", &bomb);
    // Many files that are small each.
    let many = setting.tar("many.tar", |a| {
        for n in 0..64 {
            a.file(&format!("f{n}"), 0o644, &zeros);
        }
    });
    setting.refused("64 files of 1 MiB", &many);
}

#[test]
fn truncated_archives_are_refused_wherever_they_end() {
    let setting = Setting::new(host!());
    let whole = setting.host.path("whole.tar");
    Rootfs::minimal().write(&whole);
    let bytes = fs::read(&whole).unwrap();
    let packed = gzip(&bytes);
    let image = setting.tar("image.tar", |a| {
        a.file("metadata.yml", 0o644, METADATA);
        a.dir("rootfs");
        a.file("rootfs/base.tar.gz", 0o644, &packed);
    });
    let image = fs::read(image).unwrap();
    let cut = setting.host.path("cut");
    let mut ends = vec![
        ("tar", &bytes, 0),
        ("tar", &bytes, 100),
        ("tar", &bytes, bytes.len() / 2),
    ];
    ends.extend([1, 9, 100, packed.len() / 2, packed.len() - 4].map(|n| ("gzip", &packed, n)));
    ends.extend([511, 700, 1100, image.len() / 2].map(|n| ("image", &image, n)));
    for (what, bytes, end) in ends {
        fs::write(&cut, &bytes[..end]).unwrap();
        setting.refused(&format!("{what} cut at {end}"), &cut);
    }
    let mut garbage = bytes.clone();
    for (n, byte) in garbage.iter_mut().enumerate() {
        *byte ^= u8::try_from(n % 251).unwrap();
    }
    fs::write(&cut, &garbage).unwrap();
    setting.refused("garbage", &cut);
}

#[test]
fn damaged_archives_never_harm_the_daemon() {
    let setting = Setting::new(host!("[image]\nmax_bytes = 67108864"));
    let mut random = osctl_tests::random::Random::new(0x0517);
    let small = setting.tar("small.tar", |a| {
        a.dir("etc")
            .file("etc/hosts", 0o644, b"127.0.0.1 localhost\n");
        a.link(EntryType::Symlink, "bin", "usr/bin")
            .link(EntryType::Link, "h", "etc/hosts");
        a.device("null", false, 1, 3);
    });
    let whole = fs::read(small).unwrap();
    let packed = gzip(&whole);
    let image = setting.tar("image.tar", |a| {
        a.file("metadata.yml", 0o644, METADATA);
        a.dir("rootfs");
        a.file("rootfs/base.tar.gz", 0o644, &packed);
    });
    let image = fs::read(image).unwrap();
    let path = setting.host.path("damaged");
    for round in 0..300 {
        let mut bytes = if round % 3 == 0 {
            image.clone()
        } else {
            whole.clone()
        };
        for _ in 0..=random.below(8) {
            let at = random.below(bytes.len() as u64 - 1024) as usize;
            bytes[at] = random.below(256) as u8;
        }
        // A header whose sum is wrong is refused at once: make some of them right again.
        for at in (0..bytes.len() - 512).step_by(512) {
            if bytes[at + 257..at + 262] == *b"ustar" && random.below(2) == 0 {
                osctl_tests::rootfs::fix_checksum(&mut bytes[at..at + 512]);
            }
        }
        fs::write(&path, &bytes).unwrap();
        if let Ok(ct) = setting.host.try_ct_from("evil", &path) {
            ct.delete();
        }
    }
    setting.untouched("damaged archives");
}

#[test]
fn device_nodes_in_an_image_give_the_guest_no_device() {
    let setting = Setting::new(host!());
    // The disk of the host.
    let root = rustix::fs::stat("/").unwrap().st_dev;
    let (major, minor) = (rustix::fs::major(root), rustix::fs::minor(root));
    let rootfs = Rootfs::minimal()
        .block_device("disk", major, minor)
        .char_device("mem", 1, 1)
        .char_device("kmsg", 1, 11)
        .char_device("nul", 1, 3);
    let ct = setting.host.ct_of("web1", &rootfs);
    ct.start();
    for node in ["/disk", "/mem", "/kmsg", "/nul"] {
        let ran = ct.exec(&[
            "dd",
            &format!("if={node}"),
            "of=/dev/null",
            "bs=512",
            "count=1",
        ]);
        assert!(!ran.success(), "{node}: {ran:?}");
    }
    ct.delete();
    setting.untouched("device nodes");
}

#[test]
fn things_that_are_no_images_are_refused_quickly() {
    let setting = Setting::new(host!());
    let host = &setting.host;
    let fifo = host.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let begun = std::time::Instant::now();
    for path in [
        fifo.as_path(),
        Path::new("/dev/zero"),
        Path::new("/dev/random"),
        Path::new("/dev/null"),
        Path::new("/does/not/exist"),
        Path::new("/proc/self/mem"),
        host.socket().as_path(),
    ] {
        setting.refused(&path.display().to_string(), path);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    let relative = host.try_json::<osctl_api::container::New>(
        serde_json::json!({ "id": "x", "from_archive": "minimal.tar" }),
    );
    assert!(relative.is_err());
}

#[test]
fn what_an_honest_archive_has_is_kept() {
    let setting = Setting::new(host!());
    let host = &setting.host;
    let source = host.path("honest");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    fs::hard_link(source.join("file"), source.join("link")).unwrap();
    let sparse = File::create(source.join("sparse")).unwrap();
    sparse.set_len(64 * 1024 * 1024).unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(1000), Some(100)).unwrap();
    let name = "user.colour";
    rustix::fs::setxattr(
        source.join("file"),
        name,
        b"blue",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let tar = host.path("honest.tar.gz");
    let packed = processes::output(
        std::process::Command::new("tar")
            .args(["--xattrs", "--acls", "-S", "-czf"])
            .arg(&tar)
            .arg("-C")
            .arg(&source)
            .arg("."),
    );
    assert!(packed.status.success(), "{packed:?}");
    let ct = host.ct_from("web1", &tar);
    use std::os::unix::fs::MetadataExt;
    let rootfs = ct.rootfs();
    let file = fs::metadata(rootfs.join("file")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.nlink()), (1000, 100, 2));
    let sparse = fs::metadata(rootfs.join("sparse")).unwrap();
    assert_eq!(sparse.len(), 64 * 1024 * 1024);
    assert!(sparse.blocks() * 512 < 1024 * 1024, "the holes were filled");
    let mut value = [0; 16];
    let n = rustix::fs::getxattr(rootfs.join("file"), name, &mut value).unwrap();
    assert_eq!(&value[..n], b"blue");
    ct.delete();
    setting.untouched("an honest archive");
}
