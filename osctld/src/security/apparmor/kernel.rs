//! The kernel's side of AppArmor: loading and removing profiles and policy namespaces, through
//! securityfs.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use super::{Error, Result};

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const POLICY: &str = "/sys/kernel/security/apparmor";

/// Whether the kernel has AppArmor, and it is for this process to give it policy: one that is
/// confined itself, in a container of somebody else, leaves that to who confined it.
pub fn is_ours() -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    if read(ENABLED).trim() != "Y" {
        return false;
    }
    let own = fs::read_to_string("/proc/self/attr/apparmor/current")
        .unwrap_or_else(|_| read("/proc/self/attr/current"));
    own.trim() == "unconfined"
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(POLICY).join(name)
}

fn namespace(name: &str) -> PathBuf {
    path("policy/namespaces").join(name)
}

/// The kernel takes what is written as a whole, or refuses it.
fn write(name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path(name))?;
    match file.write(bytes)? {
        all if all == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Whether policy can be loaded.
pub fn is_mounted() -> bool {
    path(".replace").exists()
}

/// Loads a compiled profile in the place of one that has its name.
pub fn load(compiled: &[u8]) -> io::Result<()> {
    write(".replace", compiled)
}

/// Makes a policy namespace; one that is there already is used, with what is in it.
pub fn ensure_namespace(name: &str) -> Result<()> {
    match fs::create_dir(namespace(name)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::Namespace(name.to_owned(), e))
        }
        _ => Ok(()),
    }
}

/// Removes a profile and a policy namespace, where they are there. Nothing may run under them.
pub fn remove(name: &str) -> Result<()> {
    let failed = |e| Error::Remove(name.to_owned(), e);
    unless_missing(fs::remove_dir(namespace(name))).map_err(failed)?;
    unless_missing(write(".remove", name.as_bytes())).map_err(failed)
}

/// The names of loaded profiles that begin so.
pub fn loaded(prefix: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(path("profiles")).map_err(Error::List)?;
    let names = text
        .lines()
        .filter_map(|line| Some(line.rsplit_once(" (")?.0));
    let ours = names.filter(|name| name.starts_with(prefix));
    Ok(ours.map(str::to_owned).collect())
}
