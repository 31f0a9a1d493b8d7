//! Checks of single values of a container's configuration.

use osctl_api::container::{CpuLimit, Device, MemoryLimit};
use osctl_api::io_limit::IoLimit;

use crate::error::Error;
use crate::security::seccomp::Profile;

/// Most DNS resolvers, cgroup parameters, devices or words of an init command.
const MAX_ITEMS: usize = 128;
/// Longest value of an attribute or word of an init command, bytes.
pub const MAX_VALUE: usize = 4096;

/// Refuses more than [`MAX_ITEMS`].
pub fn bounded(what: &str, n: usize) -> Result<(), Error> {
    if n > MAX_ITEMS {
        return Err(Error::invalid(format!(
            "{n} {what} are too many: at most {MAX_ITEMS}"
        )));
    }
    Ok(())
}

/// A word of at most 64 letters, digits and `._+-`.
pub fn word(what: &str, s: String) -> Result<String, Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if s.is_empty() || s.len() > 64 || !s.chars().all(good) || s.starts_with('-') {
        let shown: String = s.chars().take(64).collect();
        return Err(Error::invalid(format!(
            "{what} {shown:?} is not valid: use letters, digits, '.', '_', '+' and '-'"
        )));
    }
    Ok(s)
}

/// A command whose program is an absolute path.
pub fn init(command: Vec<String>) -> Result<Vec<String>, Error> {
    bounded("words of an init command", command.len())?;
    if command
        .iter()
        .any(|w| w.contains('\0') || w.len() > MAX_VALUE)
    {
        return Err(Error::invalid(
            "init command has a NUL byte or a word that is too long",
        ));
    }
    if command.first().is_some_and(|first| !first.starts_with('/')) {
        return Err(Error::invalid(
            "init command must start with an absolute path",
        ));
    }
    Ok(command)
}

/// A profile; nothing for the default one.
pub fn seccomp(profile: String) -> Result<Option<String>, Error> {
    let known: Profile = profile
        .parse()
        .map_err(|e| Error::invalid_with("the seccomp profile can't be set", e))?;
    Ok((known != Profile::Default).then_some(profile))
}

/// A limit that the kernel takes.
pub fn cpu(limit: CpuLimit) -> Result<CpuLimit, Error> {
    let period = limit.period_us.unwrap_or(100_000);
    if limit.percent == 0 || limit.percent > 1_000_000 {
        return Err(Error::invalid(
            "cpu limit must be 1 to 1000000 percent of one core",
        ));
    }
    if !(1_000..=1_000_000).contains(&period) {
        return Err(Error::invalid(
            "period of the cpu limit must be 1 ms to 1000 ms",
        ));
    }
    Ok(limit)
}

/// A limit from 1 MiB to 1 EiB.
pub fn memory(limit: MemoryLimit) -> Result<MemoryLimit, Error> {
    const LEAST: u64 = 1024 * 1024;
    const MOST: u64 = 1 << 60;
    if !(LEAST..=MOST).contains(&limit.memory) || limit.swap.is_some_and(|s| s > MOST) {
        return Err(Error::invalid(
            "memory limit must be at least 1M, and at most 1 EiB",
        ));
    }
    Ok(limit)
}

/// A limit that limits something, and lets something through.
pub fn io(limit: IoLimit) -> Result<IoLimit, Error> {
    match limit.problem() {
        Some(problem) => Err(Error::invalid(format!("the I/O limit can't be: {problem}"))),
        None => Ok(limit),
    }
}

/// A device whose numbers, mode and node can be, not inherited.
pub fn device(mut device: Device) -> Result<Device, Error> {
    let number = |s: &str, most: u32| {
        s == "*"
            || s.parse::<u32>()
                .is_ok_and(|n| n <= most && n.to_string() == s)
    };
    if !number(&device.major, 0xfff) || !number(&device.minor, 0xfffff) {
        return Err(Error::invalid(format!(
            "device numbers {}:{} are not valid: use 0 to 4095 and 0 to 1048575, or `*`",
            device.major.escape_debug(),
            device.minor.escape_debug()
        )));
    }
    device.mode = mode(&std::mem::take(&mut device.mode))?;
    if let Some(name) = &device.name {
        let relative = name.strip_prefix("/dev/").filter(|r| !r.is_empty());
        let good = |c: &str| {
            !c.is_empty()
                && c.len() <= 64
                && !c.starts_with('.')
                && c.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._:+-".contains(c))
        };
        if !relative.is_some_and(|r| r.split('/').count() <= 4 && r.split('/').all(good)) {
            return Err(Error::invalid(format!(
                "device node {:?} is not valid: use a path below /dev such as /dev/fuse",
                name.chars().take(64).collect::<String>()
            )));
        }
        if device.major == "*" || device.minor == "*" {
            return Err(Error::invalid(
                "a device with a node needs both its numbers",
            ));
        }
    }
    device.inherited = false;
    Ok(device)
}

/// Letters of `rwm` in their usual order; empty for `-`.
///
/// # Errors
/// `InvalidArgument` for anything else.
pub fn mode(mode: &str) -> Result<String, Error> {
    if mode == "-" {
        return Ok(String::new());
    }
    let known = !mode.is_empty() && mode.len() <= 3 && mode.chars().all(|c| "rwm".contains(c));
    if !known {
        return Err(Error::invalid(format!(
            "device mode {:?} is not valid: use letters of rwm, or `-` for no access",
            mode.chars().take(16).collect::<String>()
        )));
    }
    Ok("rwm".chars().filter(|c| mode.contains(*c)).collect())
}
