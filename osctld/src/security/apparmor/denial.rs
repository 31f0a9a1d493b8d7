//! What the kernel writes into its log when a profile refuses something, made readable.
//!
//! Names in it are chosen by guests: they are bounded by the kernel, and are shown escaped.

use std::sync::LazyLock;

use super::profile::{Class, Deny, Nesting, denials};

/// Most letters that are kept of a name.
const LONGEST: usize = 256;

/// Something that a profile refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// When, in seconds since 1970-01-01 00:00 UTC.
    pub at: i64,
    /// Name of the container's profile.
    pub profile: String,
    /// Process id on the host.
    pub pid: u32,
    /// Name of the process.
    pub program: String,
    /// What it tried, in the kernel's words: `open`, `mount`, `signal`, …
    pub operation: String,
    /// What with.
    pub object: String,
    /// The access that it was refused, in the letters or words of AppArmor; may be empty.
    pub access: String,
    /// The rule that refuses it, or which rules would have had to allow it.
    pub rule: String,
}

impl Denial {
    /// Reads a record of the kernel's log, as `/dev/kmsg` gives it; none if it is about something
    /// else, or about a profile whose name does not begin with `root`.
    pub fn parse(record: &str, root: &str) -> Option<Denial> {
        let (_, message) = record.split_once(';')?;
        let message = message.lines().next()?;
        let rest = message.strip_prefix("audit: type=1400 audit(")?;
        let (stamp, rest) = rest.split_once("): ")?;
        let fields = Fields::parse(rest);
        if fields.get("apparmor") != "DENIED" {
            return None;
        }
        Some(Denial {
            at: stamp.split('.').next()?.parse().ok()?,
            profile: fields.owner(root)?,
            pid: fields.get("pid").parse().unwrap_or(0),
            program: fields.text("comm"),
            operation: fields.text("operation"),
            object: fields.object(),
            access: match fields.text("denied_mask") {
                mask if mask.is_empty() => fields.text("requested_mask"),
                mask => mask,
            },
            rule: fields.rule(root),
        })
    }
}

struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(mut rest: &str) -> Fields {
        let mut fields = Vec::new();
        while let Some((key, after)) = rest.split_once('=') {
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => match quoted.split_once('"') {
                    Some((value, next)) => (value.to_owned(), next),
                    None => (quoted.to_owned(), ""),
                },
                None => {
                    let (value, next) = after.split_once(' ').unwrap_or((after, ""));
                    (unhex(key.trim(), value), next)
                }
            };
            fields.push((key.trim().to_owned(), value));
            rest = next.trim_start();
        }
        Fields(fields)
    }

    fn get(&self, key: &str) -> &str {
        let found = self.0.iter().find(|(k, _)| k == key);
        found.map_or("", |(_, value)| value)
    }

    fn text(&self, key: &str) -> String {
        self.get(key).escape_debug().take(LONGEST).collect()
    }

    /// The container's profile; that of a guest's own is known by the namespace it is in.
    fn owner(&self, root: &str) -> Option<String> {
        let namespace = self.get("namespace").rsplit("//").next().unwrap_or("");
        [self.get("profile"), namespace]
            .into_iter()
            .find(|name| name.starts_with(root))
            .map(str::to_owned)
    }

    fn object(&self) -> String {
        let name = self.text("name");
        match self.get("operation") {
            "mount" => {
                let what = [self.text("fstype"), self.text("srcname")].join(" ");
                format!("{} on {name}", what.trim())
            }
            "signal" => format!("{} to {}", self.text("signal"), self.text("peer")),
            "ptrace" => self.text("peer"),
            "capable" => self.text("capname"),
            _ => name,
        }
    }

    fn rule(&self, root: &str) -> String {
        if !self.get("profile").starts_with(root) {
            return "a profile of the container's own".to_owned();
        }
        let name = self.get("name");
        let about = match self.get("operation") {
            "mount" if !self.get("fstype").is_empty() => (Class::FileSystem, self.get("fstype")),
            "mount" => (Class::Bind, self.get("srcname")),
            "umount" => (Class::Umount, name),
            "signal" => return "signal (send) is allowed within the container".to_owned(),
            "ptrace" => return "ptrace is allowed within the container".to_owned(),
            _ => (Class::File, name),
        };
        let rule = RULES.iter().find(|rule| rule.is_about(about.0, about.1));
        rule.map_or_else(|| "no rule allows it".to_owned(), Deny::text)
    }
}

static RULES: LazyLock<Vec<Deny>> =
    LazyLock::new(|| [denials(Nesting::No), denials(Nesting::Yes)].concat());

/// What holds anything but plain letters is written in hexadecimal.
fn unhex(key: &str, value: &str) -> String {
    if !["comm", "name", "srcname", "profile", "fstype"].contains(&key) {
        return value.to_owned();
    }
    let digits = value.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
        .collect();
    match bytes {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(message: &str) -> Option<Denial> {
        let record =
            format!("5,1234,98765432,-;audit: type=1400 audit(1700000000.123:45): {message}");
        Denial::parse(&record, "osctl.")
    }

    #[test]
    fn a_file() {
        let denial = parse(
            r#"apparmor="DENIED" operation="open" class="file" profile="osctl.tank.web1" name="/proc/sysrq-trigger" pid=77 comm="sh" requested_mask="wc" denied_mask="wc" fsuid=0 ouid=0"#,
        );
        assert_eq!(
            denial.unwrap(),
            Denial {
                at: 1_700_000_000,
                profile: "osctl.tank.web1".to_owned(),
                pid: 77,
                program: "sh".to_owned(),
                operation: "open".to_owned(),
                object: "/proc/sysrq-trigger".to_owned(),
                access: "wc".to_owned(),
                rule: "audit deny /proc/sys[^/]*{,/**} wl,".to_owned(),
            }
        );
    }

    #[test]
    fn names_of_guests_are_shown_escaped() {
        let denial = parse(
            r#"apparmor="DENIED" operation="open" profile="osctl.t.a" name=2F70726F632F7379732F61200A62 pid=1 comm=1B5B324A requested_mask="w" denied_mask="w""#,
        )
        .unwrap();
        assert_eq!(denial.object, "/proc/sys/a \\nb");
        assert_eq!(denial.program, "\\u{1b}[2J");
        assert!(
            denial.rule.starts_with("audit deny /proc/sys/"),
            "{denial:?}"
        );
    }

    #[test]
    fn long_names_are_cut() {
        let name = "/x".repeat(2000);
        let denial = parse(&format!(
            r#"apparmor="DENIED" operation="open" profile="osctl.t.a" name="{name}" pid=1 comm="sh""#
        ));
        assert_eq!(denial.unwrap().object.len(), LONGEST);
    }

    #[test]
    fn mounts_and_signals() {
        let mount = parse(
            r#"apparmor="DENIED" operation="mount" class="mount" info="failed mntpnt match" error=-13 profile="osctl.t.a" name="/mnt/" pid=1 comm="mount" fstype="proc" srcname="none""#,
        )
        .unwrap();
        assert_eq!(mount.object, "proc none on /mnt/");
        assert_eq!(mount.rule, "audit deny mount fstype=[^bcdfhmortz/]*,");
        let umount = parse(
            r#"apparmor="DENIED" operation="umount" class="mount" profile="osctl.t.a" name="/proc/kcore" pid=1 comm="umount""#,
        )
        .unwrap();
        assert!(umount.rule.starts_with("audit deny umount /"), "{umount:?}");
        let signal = parse(
            r#"apparmor="DENIED" operation="signal" class="signal" profile="osctl.t.a" pid=1 comm="sh" requested_mask="send" denied_mask="send" signal=kill peer="osctl.t.b""#,
        )
        .unwrap();
        assert_eq!(signal.object, "kill to osctl.t.b");
    }

    #[test]
    fn what_a_guest_refuses_itself_is_its_own() {
        let denial = parse(
            r#"apparmor="DENIED" operation="open" namespace="root//osctl.t.a" profile="docker-default" name="/x" pid=1 comm="sh" requested_mask="r" denied_mask="r""#,
        )
        .unwrap();
        assert_eq!(denial.profile, "osctl.t.a");
        assert_eq!(denial.rule, "a profile of the container's own");
    }

    #[test]
    fn other_records_are_none() {
        for message in [
            r#"apparmor="ALLOWED" operation="open" profile="osctl.t.a" name="/x""#,
            r#"apparmor="DENIED" operation="open" profile="cupsd" name="/x""#,
            r#"apparmor="DENIED" operation="open" profile="cupsd" name="osctl.t.a""#,
            "",
        ] {
            assert_eq!(parse(message), None, "{message}");
        }
        let forged =
            r#"4,1,1,-;usb: audit: type=1400 audit(1.0:1): apparmor="DENIED" profile="osctl.a""#;
        assert_eq!(Denial::parse(forged, "osctl."), None);
        assert_eq!(Denial::parse("", "osctl."), None);
    }
}
