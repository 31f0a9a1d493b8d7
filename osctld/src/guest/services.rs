//! Whether a guest starts a service when it boots, for the init systems that distributions have.

use super::tree::Tree;

/// A service by the names that init systems know it under; empty where one does not have it.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Unit of systemd, without `.service`.
    pub systemd: &'static str,
    /// Script in /etc/init.d (sysvinit, OpenRC), job of upstart, service of runit and dinit.
    pub others: &'static [&'static str],
}

/// Where systemd looks for units, without what is made at run time.
const UNITS: &[&str] = &[
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Whether process 1 is systemd.
pub fn is_systemd(tree: &Tree) -> bool {
    let mut path = "/sbin/init".to_owned();
    // A chain of links: sbin/init -> ../lib/systemd/systemd.
    for _ in 0..8 {
        match tree.link(&path) {
            Some(target) => {
                if target.rsplit('/').next() == Some("systemd") {
                    return true;
                }
                path = match target.strip_prefix('/') {
                    Some(_) => target,
                    None => format!("/sbin/{target}"),
                };
            }
            None => break,
        }
    }
    !tree.is_taken("/sbin/init") && tree.is_program("/usr/lib/systemd/systemd")
}

/// Whether `service` is started when the guest boots.
pub fn is_enabled(tree: &Tree, service: Service) -> bool {
    if is_systemd(tree) {
        return unit_exists(tree, service.systemd) && is_wanted(tree, service.systemd)
            || service.others.iter().any(|name| {
                // What systemd makes of a script of sysvinit.
                tree.is_program(&format!("/etc/init.d/{name}"))
                    && !is_masked(tree, name)
                    && !unit_exists(tree, name)
                    && is_started_by_sysv(tree, name)
            });
    }
    service.others.iter().any(|name| {
        is_started_by_sysv(tree, name)
            || is_started_by_openrc(tree, name)
            || is_started_by_runit(tree, name)
            || is_started_by_dinit(tree, name)
            || tree.is_file(&format!("/etc/init/{name}.conf"))
    })
}

/// Whether there is a unit of this name that may be started.
pub fn unit_exists(tree: &Tree, name: &str) -> bool {
    let file = format!("{name}.service");
    !is_masked(tree, name)
        && UNITS
            .iter()
            .any(|dir| tree.is_file(&format!("{dir}/{file}")))
}

fn is_masked(tree: &Tree, name: &str) -> bool {
    let link = tree.link(&format!("/etc/systemd/system/{name}.service"));
    link.as_deref() == Some("/dev/null")
}

fn is_wanted(tree: &Tree, name: &str) -> bool {
    let file = format!("{name}.service");
    UNITS.iter().any(|dir| {
        let names = tree.list(dir);
        let mut targets = names
            .iter()
            .filter(|n| n.ends_with(".wants") || n.ends_with(".requires"));
        targets.any(|target| tree.is_taken(&format!("{dir}/{target}/{file}")))
    })
}

fn is_started_by_sysv(tree: &Tree, name: &str) -> bool {
    let dirs = ["/etc/rcS.d", "/etc/rc2.d", "/etc/rc3.d", "/etc/rc.d/rc3.d"];
    dirs.iter().any(|dir| {
        let names = tree.list(dir);
        names.iter().any(|n| {
            let number = n.strip_prefix('S').and_then(|n| n.strip_suffix(name));
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
    })
}

fn is_started_by_openrc(tree: &Tree, name: &str) -> bool {
    let runlevels = tree.list("/etc/runlevels");
    let mut started = runlevels
        .iter()
        .filter(|r| !matches!(r.as_str(), "shutdown" | "single"));
    started.any(|r| tree.is_taken(&format!("/etc/runlevels/{r}/{name}")))
        && tree.is_program(&format!("/etc/init.d/{name}"))
}

fn is_started_by_runit(tree: &Tree, name: &str) -> bool {
    let dirs = [
        "/etc/runit/runsvdir/default",
        "/etc/service",
        "/var/service",
    ];
    dirs.iter()
        .any(|dir| tree.is_taken(&format!("{dir}/{name}")))
}

fn is_started_by_dinit(tree: &Tree, name: &str) -> bool {
    let dirs = ["/etc/dinit.d/boot.d", "/usr/lib/dinit.d/boot.d"];
    dirs.iter()
        .any(|dir| tree.is_taken(&format!("{dir}/{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::tree::Memory;

    const NETWORKING: Service = Service {
        systemd: "networking",
        others: &["networking"],
    };

    fn enabled(memory: Memory) -> bool {
        is_enabled(&Tree::Memory(memory), NETWORKING)
    }

    fn systemd() -> Memory {
        Memory::new()
            .program("/usr/lib/systemd/systemd")
            .symlink("/lib", "usr/lib")
            .symlink("/sbin/init", "../lib/systemd/systemd")
    }

    #[test]
    fn a_unit_is_started_when_something_wants_it_and_it_is_not_masked() {
        let wanted = systemd().symlink(
            "/etc/systemd/system/multi-user.target.wants/networking.service",
            "/x",
        );
        assert!(!enabled(systemd()));
        assert!(!enabled(wanted.clone()));
        let there = wanted.file("/usr/lib/systemd/system/networking.service", "");
        assert!(enabled(there.clone()));
        let masked = "/etc/systemd/system/networking.service";
        assert!(!enabled(there.symlink(masked, "/dev/null")));
    }

    #[test]
    fn each_init_system_has_its_way() {
        let init = || Memory::new().program("/sbin/init");
        assert!(!enabled(init().program("/etc/init.d/networking")));
        assert!(enabled(
            init().symlink("/etc/rcS.d/S12networking", "../init.d/networking")
        ));
        assert!(!enabled(init().symlink("/etc/rcS.d/Snetworking", "x")));
        assert!(!enabled(init().symlink("/etc/rcS.d/K12networking", "x")));
        assert!(enabled(init().program("/etc/init.d/networking").symlink(
            "/etc/runlevels/boot/networking",
            "/etc/init.d/networking"
        )));
        assert!(enabled(
            init().symlink("/etc/service/networking", "/etc/sv/networking")
        ));
        assert!(enabled(
            init().symlink("/usr/lib/dinit.d/boot.d/networking", "../networking")
        ));
        assert!(enabled(init().file("/etc/init/networking.conf", "")));
        let sysv = systemd()
            .program("/etc/init.d/networking")
            .symlink("/etc/rcS.d/S12networking", "../init.d/networking");
        assert!(enabled(sysv));
    }
}
