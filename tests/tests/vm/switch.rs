//! A running host is switched to another system, which changes what has to be
//! changed and nothing else, and back.

use std::fs;
use std::path::PathBuf;

use osctl_tests::vm::{Machine, Settings, Wire};

/// What is done once for all tests of the other system: the host is switched to it,
/// and what it was before is kept in /root.
const SWITCH: &str = r#"set -e
for n in 1 2 3 4 10; do
    truncate -s $((n == 1 ? 1300 : 1100))M /tmp/disk$n
    losetup -P /dev/loop$n /tmp/disk$n
done
osctl -q pool install tank --dir /var/lib/tank
osctl -q ct new web1 --from-archive /usr/share/osctl/images/minimal.tar
osctl ct start web1
sv -w 120 start sshd > /dev/null
for service in osctld dhcp-eth0 test-agent sshd; do
    cp /run/runit/service/$service/supervise/pid before.$service
done
osctl ct show -H -o init_pid web1 > before.web1
readlink -f /run/current-system > before
# Only told, nothing done.
$next/bin/switch-to-configuration dry-activate > told
! [ -e /run/runit/service/lxcfs ]
! [ -e /nix/var/nix/profiles/system ]
[ $(< before.sshd) = $(< /run/runit/service/sshd/supervise/pid) ]
$next/bin/switch-to-configuration test > switched || { cat switched >&2; exit 1; }
"#;

/// A host that runs the system of `os/hosts/vm-next.nix` and has booted with
/// that of `vm.nix`.
pub struct Switched {
    pub host: Machine,
    /// The system that it had booted with.
    pub before: String,
    /// The system that it runs.
    pub next: String,
}

pub fn switched() -> Option<Switched> {
    let next = std::env::var_os("OSCTL_VM_NEXT").map(|it| fs::canonicalize(it).unwrap());
    let text = next.as_ref().map(|it| it.to_str().unwrap().to_owned());
    let next = text.unwrap_or_default();
    let mut host = Machine::ready(Settings {
        wire: Some(Wire::new()),
        closure: (!next.is_empty()).then(|| PathBuf::from(&next)),
        prepare: format!("next={next}\n{SWITCH}"),
        ..Settings::default()
    })?;
    let before = String::from_utf8(host.pull("/root/before")).unwrap();
    let before = before.trim().to_owned();
    Some(Switched { host, before, next })
}

/// The process of a service that is up.
pub fn pid(host: &mut Machine, service: &str) -> String {
    let pid = format!("cat /run/runit/service/{service}/supervise/pid");
    let pid = host.sh(&pid).ok().text();
    assert!(!pid.is_empty(), "{service} is down");
    pid
}

#[test]
fn a_running_host_is_switched_to_another_system() {
    let Some(Switched { mut host, next, .. }) = switched() else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    let told = says("cat told");
    for part in ["force-stop /run/runit/service/sshd", "/activate", "lxcfs"] {
        assert!(told.contains(part), "{told}");
    }
    let done = says("cat switched");
    for part in ["osctld", "dhcp-eth0", "test-agent"] {
        assert!(!told.contains(part), "{told}");
        let same = format!("cmp before.{part} /run/runit/service/{part}/supervise/pid");
        assert_eq!(says(&same), "", "{done}");
    }
    says("[ $(osctl ct show -H -o init_pid web1) = $(< before.web1) ]");
    assert_eq!(says("readlink -f /run/current-system"), next);
    says("! cmp -s before.sshd /run/runit/service/sshd/supervise/pid");
    says("ss -ltn | grep -q :2222 && ! ss -ltn | grep -q ':22 '");
    says("! [ -e /run/runit/service/getty-ttyS0 ] && ! [ -e /etc/runit/services/getty-ttyS0 ]");
    // It is not of this runlevel.
    says("! [ -e /run/runit/service/single ] && [ -e /etc/runit/services/single/run ]");
    says("[ $(sysctl -n vm.swappiness) = 7 ] && grep -q ^dummy /proc/modules");
    let wrong = format!("{next}/bin/switch-to-configuration it");
    assert_eq!(host.sh(&wrong).status, 2);
}

/// A switch that did not get to its end is done again, and one that can't be done says so.
#[test]
fn a_switch_that_fails_leaves_a_host_that_can_be_switched() {
    let Some(Switched { mut host, next, .. }) = switched() else {
        return;
    };
    let switch = format!("{next}/bin/switch-to-configuration test");
    // As one leaves it that ended between stopping and starting.
    host.sh("sv -w 60 stop bird2 sshd").ok();
    let told = host.sh(&switch).ok().text();
    assert!(
        told.contains("> sv -w 120 start /run/runit/service/bird2 /run/runit/service/sshd"),
        "{told}"
    );
    pid(&mut host, "bird2");
    // Nobody reads what it says.
    host.sh(&format!("sv -w 60 stop bird2; {switch} | true"))
        .ok();
    let waited = "sv -w 60 start bird2 && flock /run/switch-to-configuration.lock true";
    host.sh(waited).ok();
    // Nothing can be written: what there was is whole.
    host.sh(
        "cp /etc/passwd /tmp/passwd && used=$(df --output=used / | tail -n 1) &&
        mount -o remount,size=${used}k / && ! cp /tmp/passwd /etc/more",
    )
    .ok();
    let failed = host.sh(&switch);
    assert_eq!(failed.status, 1, "{}", failed.text());
    host.sh("cmp /tmp/passwd /etc/passwd && ! ls /etc/*.new && rm -f /etc/more")
        .ok();
    host.sh("mount -o remount,size=75% /").ok();
    host.sh(&switch).ok();
}

/// A system that differs in a few services, of which each says itself what has
/// to be done then.
#[test]
fn a_switch_does_what_a_service_wants_on_a_change() {
    let Some(Switched { mut host, next, .. }) = switched() else {
        return;
    };
    let services = ["bird2", "lxcfs", "leaves", "signalled", "logs", "keeps"];
    let before = services.map(|it| pid(&mut host, it));
    let logger = pid(&mut host, "logs/log");
    let mut says = |script: &str| host.sh(script).ok().text();
    assert!(says("ip route").contains("blackhole 203.0.113.0/24"));
    says("! [ -e /run/signalled ]");
    let other = r#"set -e
        other=/nix/store/other
        mkdir -p $other/bin
        cp -P $next/{sw,services,kernel-modules} $other/
        cp -rP $(readlink -f $next/etc) $other/etc
        for script in activate init bin/switch-to-configuration; do
            sed "s,$next,$other,g" $next/$script > $other/$script
            chmod +x $other/$script
        done
        cd $other/etc
        # Each file by a path that only this system has.
        change() { cp -L $1 $other/file$((files += 1)); ln -sf $other/file$files $1; }
        for script in {bird2,lxcfs,leaves,signalled}/run logs/log/run; do
            change runit/services/$script
            echo '# another' >> $other/file$files
        done
        change bird/bird2.conf
        sed -i s/203.0.113/203.0.114/ $other/file$files
        $other/bin/switch-to-configuration test"#;
    let told = says(&format!("next={next}\n{other}"));
    let acts: Vec<&str> = told.lines().filter(|it| it.starts_with('>')).collect();
    assert_eq!(
        acts,
        [
            "> sv -w 60 force-stop /run/runit/service/leaves",
            "> /nix/store/other/activate",
            "> sv restart /run/runit/service/logs/log",
            "> sv reload /run/runit/service/bird2",
            "> sv 1 /run/runit/service/signalled",
            "> supervised",
            "> sv -w 120 start /run/runit/service/leaves",
        ],
        "{told}"
    );
    says("for try in {1..300}; do ip route | grep 203.0.114.0/24 && exit; sleep 0.1; done; exit 1");
    assert!(!says("ip route").contains("203.0.113.0/24"));
    assert_eq!(says("cat /run/signalled"), "signalled");
    for (service, before) in services.iter().zip(&before) {
        let is_same = pid(&mut host, service) == *before;
        assert_eq!(is_same, *service != "leaves", "{service}: {told}");
    }
    assert_ne!(pid(&mut host, "logs/log"), logger, "{told}");
}

/// A switch that is to last is a generation, and one can go back. What is
/// protected survives a system without it, and so does what was declared.
#[test]
fn a_host_goes_back_to_an_older_system() {
    let Some(switched) = switched() else {
        return;
    };
    let Switched {
        mut host,
        before,
        next,
    } = switched;
    let profile = "/nix/var/nix/profiles";
    let switch = |host: &mut Machine, system: &str, action: &str| {
        let program = format!("{system}/bin/switch-to-configuration");
        host.run(&[&program, action]).ok().text()
    };
    let current = format!("readlink {profile}/system && readlink -f {profile}/system");
    switch(&mut host, &before, "boot");
    assert_eq!(
        host.sh(&current).ok().text(),
        format!("system-2-link\n{before}")
    );
    let now = "readlink -f /run/current-system";
    assert_eq!(host.sh(now).ok().text(), next);

    let lxcfs = pid(&mut host, "lxcfs");
    host.sh("echo 'lx*' > /run/runit/protected-services.txt")
        .ok();
    let told = switch(&mut host, &format!("{profile}/system"), "switch");
    assert!(told.contains("lxcfs is protected"), "{told}");
    // Nothing had to be forced, also not what waits for others that go on.
    assert!(!told.contains("kill:"), "{told}");
    assert_eq!(host.sh(now).ok().text(), before);
    assert_eq!(pid(&mut host, "lxcfs"), lxcfs);
    let mut says = |script: &str| host.sh(script).ok().text();
    says("osctl ct show declared:web9 && osctl ct exec declared:web8 /bin/busybox true");
    says("sv status lxcfs && ! [ -e /run/runit/service/bird2 ] && ! nft list table inet host");
    says("ss -ltn | grep -q ':22 ' && [ -e /run/runit/service/getty-ttyS0 ]");
    says("[ $(osctl ct show -H -o init_pid web1) = $(< before.web1) ]");
    says("ps -C sleep -o args= | grep -qx 'sleep 4003'");

    switch(&mut host, &format!("{profile}/system-1-link"), "boot");
    assert_eq!(
        host.sh(&current).ok().text(),
        format!("system-1-link\n{next}")
    );
    assert_eq!(host.sh("cat /run/boot-loader").ok().text(), next);
    let generations = host.sh(&format!("cd {profile} && ls -d system*"));
    assert_eq!(
        generations.ok().text(),
        "system\nsystem-1-link\nsystem-2-link"
    );
}
