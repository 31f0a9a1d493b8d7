//! States of hosts that have booted: memory and devices in a file, disks beside
//! it, made by the first test that wants one. A test restores it on disks that
//! take what it writes, in a fraction of the time that a boot takes.
//!
//! They are kept below the directory that `OSCTL_VM_STATES` names, in one for
//! each image.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::machine::Machine;
use super::qemu::{self, Disk};
use super::settings::{Root, Settings};
use crate::processes;

/// A state. Nobody removes it as long as there is this value.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    _used: File,
}

impl State {
    /// The state of a host of these settings, whatever its name and wire;
    /// nothing, having said why, where it cannot be had.
    #[track_caller]
    pub fn ensure(dist: &Path, settings: &Settings) -> Option<State> {
        // Where the root is served differs from test to test, and QEMU can't save an NVMe disk.
        let can = settings.root == Root::Disk && settings.pool.is_none();
        let states = std::env::var_os("OSCTL_VM_STATES").filter(|_| can)?;
        let image = PathBuf::from(states).join(dist.file_name()?);
        fs::create_dir_all(&image).unwrap();
        let used = lock(&image.join("lock"), FlockOperation::LockShared);
        let key = key(dist, settings);
        let directory = image.join(&key);
        // Who makes it is waited for.
        let making = image.join(format!("{key}.lock"));
        let _making = lock(&making, FlockOperation::LockExclusive);
        if !directory.exists()
            && let Err(why) = make(dist, settings, &image, &directory)
        {
            println!("hosts are booted, as their state cannot be saved: {why}");
            return None;
        }
        Some(State {
            directory,
            _used: used,
        })
    }

    /// Disks in `here` that begin with what the state's have.
    pub fn disks(&self, here: &Path, count: usize) -> Vec<Disk> {
        let disk = |index| {
            let path = here.join(format!("disk{index}"));
            let base = self.directory.join(format!("disk{index}"));
            let mut command = Command::new("qemu-img");
            command
                .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
                .args([base.as_os_str(), path.as_os_str()]);
            let made = processes::output(&mut command);
            let errors = String::from_utf8_lossy(&made.stderr);
            assert!(made.status.success(), "qemu-img: {errors}");
            Disk {
                path,
                format: "qcow2",
            }
        };
        (0..count).map(disk).collect()
    }

    /// The shell command that prints it.
    pub fn source(&self) -> String {
        format!("cat {}", quoted(&self.directory.join("state")))
    }

    /// Removes it, as it is of no use.
    pub fn discard(self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn lock(path: &Path, operation: FlockOperation) -> File {
    let file = File::options().create(true).append(true).open(path);
    let file = file.unwrap();
    flock(&file, operation).unwrap();
    file
}

/// What tells states of one image apart: all that the emulator is told, and
/// which one it is.
fn key(dist: &Path, settings: &Settings) -> String {
    let program = fs::metadata(qemu::PROGRAM).unwrap();
    let settings = settings.anonymous();
    let machine = qemu::Machine {
        dist,
        settings: &settings,
        root: "",
        here: Path::new(""),
        disks: &[],
        state: None,
    };
    let mut hasher = DefaultHasher::new();
    (program.mtime(), program.size()).hash(&mut hasher);
    let command = machine.command();
    let arguments: Vec<&OsStr> = command.get_args().collect();
    arguments.hash(&mut hasher);
    (&settings.disks, &settings.closure, &settings.prepare).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Boots a host, and saves it.
#[track_caller]
fn make(dist: &Path, settings: &Settings, image: &Path, to: &Path) -> Result<(), String> {
    let new = tempfile::Builder::new().prefix("new-").tempdir_in(image);
    let new = new.map_err(|e| e.to_string())?;
    let settings = settings.anonymous();
    let mut machine = Machine::off(dist.to_owned(), settings);
    machine.add_disks(new.path());
    machine.start();
    machine.settle();
    let save = format!("exec:cat > {}", quoted(&new.path().join("state")));
    machine.save(&save)?;
    machine.cut();
    fs::rename(new.path(), to).map_err(|e| e.to_string())
}

/// The path as a word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_str().unwrap().replace('\'', r"'\''"))
}
