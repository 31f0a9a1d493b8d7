//! Bounded looks into a guest's root file system: what decides which files are written into it.
//!
//! Nothing here can leave the root, block, or read more than it says. Whatever can't be looked at is
//! as if it were not there.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks};
use osctl_linux::error::Result;

/// The largest file that is read, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;
/// How many names of a directory are looked at.
pub const MAX_ENTRIES: usize = 4096;
/// How many symlinks may lead to each other, as the kernel has it (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A root file system to look at. Paths are absolute; symlinks are followed inside of it.
#[derive(Debug)]
pub enum Tree {
    /// A directory of the host.
    Disk(Root),
    /// One that is made up.
    Memory(Memory),
}

/// A root file system that is made up.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Dir,
    File { content: Vec<u8>, mode: u32 },
    Link(PathBuf),
}

impl Tree {
    /// The tree below the directory at `path`, which must not be a symlink itself.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open(path: &Path) -> Result<Tree> {
        Root::open_tree(path, Symlinks::InRoot, Mounts::Cross).map(Tree::Disk)
    }

    /// Whether a directory is there.
    pub fn is_dir(&self, path: &str) -> bool {
        match self {
            Tree::Disk(_) => self.kind(path) == Some(Kind::Dir),
            Tree::Memory(memory) => matches!(memory.find(path), Some(Node::Dir)),
        }
    }

    /// Whether a regular file is there.
    pub fn is_file(&self, path: &str) -> bool {
        match self {
            Tree::Disk(_) => self.kind(path) == Some(Kind::File),
            Tree::Memory(memory) => matches!(memory.find(path), Some(Node::File { .. })),
        }
    }

    /// Whether a regular file is there that somebody may execute.
    pub fn is_program(&self, path: &str) -> bool {
        match self {
            Tree::Disk(root) => {
                let stat = root
                    .open(path, nix::fcntl::OFlag::O_PATH, 0)
                    .and_then(|f| osctl_linux::beneath::Node::from(f).stat());
                stat.is_ok_and(|s| s.kind() == Kind::File && s.permissions() & 0o111 != 0)
            }
            Tree::Memory(memory) => match memory.find(path) {
                Some(Node::File { mode, .. }) => mode & 0o111 != 0,
                _ => false,
            },
        }
    }

    /// What the symlink there says; none when something else is there.
    pub fn link(&self, path: &str) -> Option<String> {
        let target = match self {
            Tree::Disk(root) => root.read_link(path).ok().map(PathBuf::from),
            Tree::Memory(memory) => memory.link(Path::new(path)),
        };
        target?.into_os_string().into_string().ok()
    }

    /// Whether anything at all is there, a symlink that leads nowhere too.
    pub fn is_taken(&self, path: &str) -> bool {
        match self {
            Tree::Disk(root) => root.stat(path).is_ok(),
            Tree::Memory(memory) => {
                memory.link(Path::new(path)).is_some() || memory.find(path).is_some()
            }
        }
    }

    /// The content of a regular file of at most [`MAX_FILE`] bytes.
    pub fn read(&self, path: &str) -> Option<String> {
        let bytes = match self {
            Tree::Disk(root) => root.read(path, MAX_FILE).ok()?,
            Tree::Memory(memory) => match memory.find(path)? {
                Node::File { content, .. } if content.len() as u64 <= MAX_FILE => content.clone(),
                _ => return None,
            },
        };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a directory, in order; those of the first [`MAX_ENTRIES`] that are text.
    pub fn list(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Tree::Disk(root) => list_disk(root, path).unwrap_or_default(),
            Tree::Memory(memory) => memory.list(path),
        };
        names.sort_unstable();
        names
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        let Tree::Disk(root) = self else { return None };
        let file = root.open(path, nix::fcntl::OFlag::O_PATH, 0).ok()?;
        let stat = osctl_linux::beneath::Node::from(file).stat().ok()?;
        Some(stat.kind())
    }
}

fn list_disk(root: &Root, path: &str) -> Result<Vec<String>> {
    let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY;
    let dir = root.open(path, flags, 0)?;
    let dir = Root::from_fd(dir.into(), Symlinks::Refuse, Mounts::Cross);
    let entries = dir.read_dir(".")?.take(MAX_ENTRIES);
    let names = entries.flatten().map(|entry| entry.name.into_string());
    Ok(names.flatten().collect())
}

impl Memory {
    /// One with nothing in it.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Adds a directory.
    #[must_use]
    pub fn dir(mut self, path: &str) -> Memory {
        self.put(path, Node::Dir);
        self
    }

    /// Adds a file that nobody executes.
    #[must_use]
    pub fn file(self, path: &str, content: &str) -> Memory {
        self.file_with_mode(path, content, 0o644)
    }

    /// Adds a program.
    #[must_use]
    pub fn program(self, path: &str) -> Memory {
        self.file_with_mode(path, "", 0o755)
    }

    /// Adds a file with these permissions.
    #[must_use]
    pub fn file_with_mode(mut self, path: &str, content: &str, mode: u32) -> Memory {
        let content = content.as_bytes().to_vec();
        self.put(path, Node::File { content, mode });
        self
    }

    /// Adds a symlink.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Memory {
        self.put(path, Node::Link(target.into()));
        self
    }

    /// Takes something away.
    #[must_use]
    pub fn without(mut self, path: &str) -> Memory {
        self.nodes.remove(Path::new(path));
        self
    }

    fn put(&mut self, path: &str, node: Node) {
        for parent in Path::new(path).ancestors().skip(1) {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Dir);
        }
        self.nodes.insert(path.into(), node);
    }

    /// The path without symlinks in it.
    fn resolve(&self, path: &Path, links: usize) -> Option<PathBuf> {
        let mut at = PathBuf::from("/");
        let mut components = path.components();
        while let Some(component) = components.next() {
            match component {
                Component::ParentDir => {
                    at.pop();
                }
                Component::Normal(name) => at.push(name),
                _ => {}
            }
            if let Some(Node::Link(target)) = self.nodes.get(&at) {
                let links = links.checked_sub(1)?;
                at.pop();
                return self.resolve(&at.join(target).join(components.as_path()), links);
            }
        }
        Some(at)
    }

    fn find(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&self.resolve(Path::new(path), MAX_LINKS)?)
    }

    fn link(&self, path: &Path) -> Option<PathBuf> {
        let parent = self.resolve(path.parent()?, MAX_LINKS)?;
        match self.nodes.get(&parent.join(path.file_name()?))? {
            Node::Link(target) => Some(target.clone()),
            _ => None,
        }
    }

    fn list(&self, path: &str) -> Vec<String> {
        let Some(dir) = self.resolve(Path::new(path), MAX_LINKS) else {
            return Vec::new();
        };
        let within = self.nodes.keys().filter(|p| p.parent() == Some(&dir));
        let names = within.filter_map(|p| Some(p.file_name()?.to_str()?.to_owned()));
        names.take(MAX_ENTRIES).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same tree twice.
    fn both() -> (tempfile::TempDir, [Tree; 2]) {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let memory = Memory::new()
            .file("/usr/lib/unit", "text\n")
            .program("/usr/bin/tool")
            .symlink("/lib", "usr/lib")
            .symlink("/abs", "/usr/bin/tool")
            .symlink("/up", "../../../usr/lib/unit")
            .symlink("/gone", "/dev/null")
            .symlink("/loop", "/loop")
            .dir("/empty")
            .file("/big", &"x".repeat(MAX_FILE as usize + 1));
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["usr/lib", "usr/bin", "empty"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at("usr/lib/unit"), "text\n").unwrap();
        std::fs::write(at("usr/bin/tool"), "").unwrap();
        std::fs::set_permissions(at("usr/bin/tool"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(at("big"), "x".repeat(MAX_FILE as usize + 1)).unwrap();
        for (path, target) in [
            ("lib", "usr/lib"),
            ("abs", "/usr/bin/tool"),
            ("up", "../../../usr/lib/unit"),
            ("gone", "/dev/null"),
            ("loop", "/loop"),
        ] {
            symlink(target, at(path)).unwrap();
        }
        let disk = Tree::open(dir.path()).unwrap();
        (dir, [disk, Tree::Memory(memory)])
    }

    #[test]
    fn a_tree_on_disk_and_one_in_memory_look_alike() {
        let (_dir, trees) = both();
        for tree in &trees {
            assert!(tree.is_dir("/lib") && tree.is_dir("/usr/lib") && !tree.is_file("/lib"));
            assert!(tree.is_file("/lib/unit") && !tree.is_program("/lib/unit"));
            assert!(tree.is_program("/abs") && tree.is_file("/up"));
            assert_eq!(tree.read("/lib/unit").as_deref(), Some("text\n"));
            assert_eq!(tree.read("/up").as_deref(), Some("text\n"));
            assert_eq!(tree.link("/gone").as_deref(), Some("/dev/null"));
            assert_eq!(tree.link("/lib/unit"), None);
            assert!(!tree.is_file("/gone") && tree.is_taken("/gone"));
            assert!(tree.is_taken("/loop") && !tree.is_file("/loop"));
            assert!(!tree.is_taken("/nothing") && tree.read("/nothing").is_none());
            assert_eq!(tree.read("/big"), None);
            assert_eq!(tree.read("/usr"), None);
            assert_eq!(tree.list("/lib"), ["unit"]);
            assert_eq!(
                tree.list("/"),
                ["abs", "big", "empty", "gone", "lib", "loop", "up", "usr"]
            );
            assert!(tree.list("/empty").is_empty() && tree.list("/big").is_empty());
            assert!(tree.list("/nothing").is_empty());
        }
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&dir.path().join("fifo"), mode).unwrap();
        let tree = Tree::open(dir.path()).unwrap();
        assert_eq!(tree.read("/fifo"), None);
        assert!(tree.is_taken("/fifo") && !tree.is_file("/fifo"));
        assert!(tree.list("/fifo").is_empty());
    }
}
