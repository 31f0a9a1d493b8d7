//! Settings of the kernel below /proc/sys/net, of the network namespace of the calling thread.
//!
//! It owns the switching on of forwarding, too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

const ROOT: &str = "/proc/sys/net";

/// Writes a setting, unless it has that value already. Says whether it had not.
pub(super) fn set(name: &str, value: &str) -> Result<bool> {
    let path = Path::new(ROOT).join(name);
    if read(&path)?.as_deref() == Some(value) {
        return Ok(false);
    }
    match fs::write(&path, value) {
        Ok(()) => Ok(true),
        Err(source) => Err(Error::Setting {
            action: format!("write {value} to"),
            path,
            source,
        }),
    }
}

/// The value of a setting; `None` when the kernel has no such setting.
fn get(name: &str) -> Result<Option<String>> {
    read(&Path::new(ROOT).join(name))
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed_read(path.to_owned(), source)),
    }
}

fn failed_read(path: PathBuf, source: io::Error) -> Error {
    Error::Setting {
        action: "read".to_owned(),
        path,
        source,
    }
}

/// Whether the kernel speaks IPv6.
pub(super) fn has_ipv6() -> bool {
    Path::new(ROOT).join("ipv6/conf").exists()
}

/// Lets the kernel pass packets on between interfaces, for both families. Says what it changed, as
/// `name = value`; nothing when all was as it should be.
///
/// A host that forwards ignores router advertisements unless `accept_ra` is 2: interfaces that
/// accepted them so far, and those to come, go on accepting them.
///
/// # Errors
/// Those of reading and writing the settings.
pub fn ensure_forwarding() -> Result<Vec<String>> {
    let mut changed = Vec::new();
    let mut set = |name: &str, value: &str| {
        if self::set(name, value)? {
            changed.push(format!("net.{} = {value}", name.replace('/', ".")));
        }
        Ok::<(), Error>(())
    };
    set("ipv4/ip_forward", "1")?;
    const ALL: &str = "ipv6/conf/all/forwarding";
    if matches!(get(ALL)?.as_deref(), None | Some("1")) {
        return Ok(changed);
    }
    let conf = Path::new(ROOT).join("ipv6/conf");
    let interfaces = fs::read_dir(&conf).map_err(|e| failed_read(conf.clone(), e))?;
    for entry in interfaces {
        let entry = entry.map_err(|e| failed_read(conf.clone(), e))?;
        let Ok(interface) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("ipv6/conf/{interface}/accept_ra");
        if get(&name)?.as_deref() == Some("1") {
            set(&name, "2")?;
        }
    }
    set(ALL, "1")?;
    Ok(changed)
}
