//! Root file systems and archives made for the occasion.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::processes;

/// Where Debian's busybox-static is.
const BUSYBOX: &str = "/bin/busybox";
const INIT: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../templates/minimal/rootfs/sbin/init"
));
/// Where the tests' own program is in a guest that has it.
pub const ATTACKER: &str = "/bin/attacker";

#[derive(Debug, Clone)]
enum Node {
    Dir(u32),
    File(u32, Vec<u8>),
    Symlink(String),
    Fifo,
    Device { block: bool, major: u32, minor: u32 },
}

/// A root file system in memory.
#[derive(Debug, Clone, Default)]
pub struct Rootfs {
    nodes: BTreeMap<PathBuf, Node>,
}

impl Rootfs {
    /// A busybox, its applets, a few files in /etc, and an init that obeys.
    pub fn minimal() -> Rootfs {
        let mut rootfs = Rootfs::default();
        for dir in ["dev", "etc", "home", "mnt", "run", "var/log", "proc", "sys"] {
            rootfs = rootfs.dir(dir);
        }
        let rootfs = rootfs
            .file("bin/busybox", 0o755, &fs::read(BUSYBOX).unwrap())
            .with(Path::new("tmp"), Node::Dir(0o1777))
            .with(Path::new("root"), Node::Dir(0o700))
            .file("sbin/init", 0o755, INIT.as_bytes())
            .file("etc/hosts", 0o644, b"127.0.0.1 localhost\n")
            .file("etc/hostname", 0o644, b"minimal\n")
            .file("etc/group", 0o644, b"root:x:0:\ntty:x:5:\nusers:x:100:\n")
            .file("etc/shadow", 0o600, b"root:*:0:0:99999:7:::\n")
            .file(
                "etc/passwd",
                0o644,
                b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100:Alice:/home:/bin/sh\n",
            );
        applets().iter().fold(rootfs, |rootfs, applet| {
            match rootfs.nodes.contains_key(Path::new(applet)) {
                true => rootfs,
                false => rootfs.symlink(applet, "/bin/busybox"),
            }
        })
    }

    /// Adds the tests' own program, with the libraries it needs.
    #[must_use]
    pub fn with_attacker(self, program: &Path) -> Rootfs {
        let mut rootfs = self.file(&ATTACKER[1..], 0o755, &fs::read(program).unwrap());
        // This process and that program were linked alike.
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut libraries: Vec<&str> = maps
            .lines()
            .filter_map(|l| l.split_whitespace().nth(5))
            .filter(|p| p.starts_with('/') && p.contains(".so"))
            .collect();
        libraries.sort_unstable();
        libraries.dedup();
        for library in libraries {
            let name = Path::new(library).file_name().unwrap().to_str().unwrap();
            let content = fs::read(library).unwrap();
            let dir = if name.starts_with("ld-") {
                "lib64"
            } else {
                "lib/x86_64-linux-gnu"
            };
            rootfs = rootfs.file(&format!("{dir}/{name}"), 0o755, &content);
        }
        rootfs
    }

    fn with(mut self, path: &Path, node: Node) -> Rootfs {
        let parents: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        for parent in parents {
            if parent != Path::new("") {
                self.nodes.entry(parent).or_insert(Node::Dir(0o755));
            }
        }
        if !matches!(node, Node::Dir(_)) {
            self = self.without(path);
        }
        self.nodes.insert(path.to_owned(), node);
        self
    }

    /// Removes a path and what is below it.
    #[must_use]
    pub fn without(mut self, path: impl AsRef<Path>) -> Rootfs {
        self.nodes.retain(|p, _| !p.starts_with(path.as_ref()));
        self
    }

    /// Adds a directory; paths are relative to the root.
    #[must_use]
    pub fn dir(self, path: &str) -> Rootfs {
        self.with(Path::new(path), Node::Dir(0o755))
    }

    /// Adds or replaces a file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> Rootfs {
        self.with(Path::new(path), Node::File(mode, content.to_vec()))
    }

    /// Replaces the init by a script.
    #[must_use]
    pub fn init(self, script: &str) -> Rootfs {
        self.file("sbin/init", 0o755, script.as_bytes())
    }

    /// Puts a symlink in the place of whatever is there, with what is below it.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Rootfs {
        self.with(Path::new(path), Node::Symlink(target.to_owned()))
    }

    /// Puts a FIFO in the place of whatever is there.
    #[must_use]
    pub fn fifo(self, path: &str) -> Rootfs {
        self.with(Path::new(path), Node::Fifo)
    }

    /// Adds a character device.
    #[must_use]
    pub fn char_device(self, path: &str, major: u32, minor: u32) -> Rootfs {
        self.with(
            Path::new(path),
            Node::Device {
                block: false,
                major,
                minor,
            },
        )
    }

    /// Adds a block device.
    #[must_use]
    pub fn block_device(self, path: &str, major: u32, minor: u32) -> Rootfs {
        self.with(
            Path::new(path),
            Node::Device {
                block: true,
                major,
                minor,
            },
        )
    }

    /// Writes it as a tar archive.
    pub fn write(&self, path: &Path) {
        let file = BufWriter::new(File::create(path).unwrap());
        let mut archive = Archive::new(file);
        for (path, node) in &self.nodes {
            let path = path.to_str().unwrap();
            match node {
                Node::Dir(mode) => archive.entry(tar::EntryType::Directory, path, *mode, b""),
                Node::File(mode, content) => archive.file(path, *mode, content),
                Node::Symlink(target) => archive.link(tar::EntryType::Symlink, path, target),
                Node::Fifo => archive.entry(tar::EntryType::Fifo, path, 0o644, b""),
                Node::Device {
                    block,
                    major,
                    minor,
                } => archive.device(path, *block, *major, *minor),
            };
        }
        archive.finish().flush().unwrap();
    }

    /// It as a tar archive.
    pub fn archive(&self) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rootfs.tar");
        self.write(&path);
        fs::read(path).unwrap()
    }
}

fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let out = processes::output(Command::new(BUSYBOX).arg("--list-full"));
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    })
}

/// A tar archive that may hold what no sane program writes.
pub struct Archive<W: Write> {
    out: W,
}

impl<W: Write> Archive<W> {
    /// An archive without members.
    pub fn new(out: W) -> Archive<W> {
        Archive { out }
    }

    fn header(kind: tar::EntryType, path: &str, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        // Past the checks of the library.
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header
    }

    fn put(&mut self, mut header: tar::Header, content: &[u8]) {
        header.set_cksum();
        self.out.write_all(header.as_bytes()).unwrap();
        self.out.write_all(content).unwrap();
        let padding = content.len().next_multiple_of(512) - content.len();
        self.out.write_all(&[0; 512][..padding]).unwrap();
    }

    /// Adds any member.
    pub fn entry(
        &mut self,
        kind: tar::EntryType,
        path: &str,
        mode: u32,
        content: &[u8],
    ) -> &mut Self {
        self.put(
            Self::header(kind, path, mode, content.len() as u64),
            content,
        );
        self
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.entry(tar::EntryType::Regular, path, mode, content)
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: &str) -> &mut Self {
        self.entry(tar::EntryType::Directory, path, 0o755, b"")
    }

    /// Adds a symbolic or hard link.
    pub fn link(&mut self, kind: tar::EntryType, path: &str, target: &str) -> &mut Self {
        let mut header = Self::header(kind, path, 0o777, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.put(header, b"");
        self
    }

    /// Adds a device node.
    pub fn device(&mut self, path: &str, block: bool, major: u32, minor: u32) -> &mut Self {
        let kind = if block {
            tar::EntryType::Block
        } else {
            tar::EntryType::Char
        };
        let mut header = Self::header(kind, path, 0o666, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.put(header, b"");
        self
    }

    /// Adds the header of a file that claims a size, without its content.
    pub fn claim(&mut self, path: &str, size: u64) -> &mut Self {
        self.put(
            Self::header(tar::EntryType::Regular, path, 0o644, size),
            b"",
        );
        self
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.write_all(bytes).unwrap();
        self
    }

    /// Ends the archive.
    pub fn finish(mut self) -> W {
        self.out.write_all(&[0; 1024]).unwrap();
        self.out
    }

    /// What was written so far, without an end.
    pub fn cut(self) -> W {
        self.out
    }
}

/// Makes the sum of a header right, whatever the rest of it says.
pub fn fix_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
