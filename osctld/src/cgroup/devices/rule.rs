//! Device rules as data, and in the notation of the kernel: `c 136:* rwm`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::cgroup::Error;

/// The kinds of devices that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Both kinds.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// What may be done with a device: any of read, write and make (`mknod`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Access(u8);

impl Access {
    /// Make a node of it. The values are the kernel's `BPF_DEVCG_ACC_*`.
    pub const MKNOD: Access = Access(1);
    /// Open it for reading.
    pub const READ: Access = Access(2);
    /// Open it for writing.
    pub const WRITE: Access = Access(4);
    /// All of these.
    pub const ALL: Access = Access(7);

    /// The kernel's `BPF_DEVCG_ACC_*` bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Nothing at all.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What either of the two has.
    pub fn union(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    /// What this has and the other has not.
    pub fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    /// Whether this has everything that the other has.
    pub fn contains(self, other: Access) -> bool {
        other.without(self).is_empty()
    }
}

const LETTERS: [(char, Access); 3] = [
    ('r', Access::READ),
    ('w', Access::WRITE),
    ('m', Access::MKNOD),
];

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |(_, access): &&(char, Access)| self.contains(*access);
        let letters: String = LETTERS.iter().filter(has).map(|(c, _)| c).collect();
        f.pad(&letters)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({self})")
    }
}

impl FromStr for Access {
    type Err = Error;
    fn from_str(text: &str) -> Result<Access, Error> {
        let mut access = Access::default();
        for letter in text.chars() {
            match LETTERS.iter().find(|(c, _)| *c == letter) {
                Some((_, bit)) if !access.contains(*bit) => access = access.union(*bit),
                _ => return Err(invalid(text, "the mode is made of r, w and m, each once")),
            }
        }
        Ok(access)
    }
}

impl TryFrom<String> for Access {
    type Error = Error;
    fn try_from(text: String) -> Result<Access, Error> {
        text.parse()
    }
}

impl From<Access> for String {
    fn from(access: Access) -> String {
        access.to_string()
    }
}

/// Grants access to the devices that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Block, char or all; with `All`, major and minor are not looked at.
    pub kind: DeviceKind,
    /// Major number, any if `None`.
    pub major: Option<u32>,
    /// Minor number, any if `None`.
    pub minor: Option<u32>,
    /// What may be done.
    pub access: Access,
}

impl DeviceRule {
    /// A rule for character devices.
    pub const fn char(major: Option<u32>, minor: Option<u32>, access: Access) -> DeviceRule {
        DeviceRule {
            kind: DeviceKind::Char,
            major,
            minor,
            access,
        }
    }

    /// Whether rules are about the same devices.
    pub(super) fn same_devices(&self, other: &DeviceRule) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether this rule grants everything.
    pub(super) fn is_everything(&self) -> bool {
        self.kind == DeviceKind::All && self.access == Access::ALL
    }
}

/// What every container may use: the harmless devices, its terminals, and making any node, which
/// grants no access.
pub fn default_rules() -> Vec<DeviceRule> {
    let node = |major, minor| DeviceRule::char(Some(major), Some(minor), Access::ALL);
    vec![
        node(1, 3),                                     // null
        node(1, 5),                                     // zero
        node(1, 7),                                     // full
        node(1, 8),                                     // random
        node(1, 9),                                     // urandom
        node(5, 0),                                     // tty
        node(5, 1),                                     // console
        node(5, 2),                                     // ptmx
        DeviceRule::char(Some(136), None, Access::ALL), // pts/*
        DeviceRule::char(None, None, Access::MKNOD),
        DeviceRule {
            kind: DeviceKind::Block,
            ..DeviceRule::char(None, None, Access::MKNOD)
        },
    ]
}

/// One rule per set of devices, without empty ones, in a stable order. A rule for all kinds is
/// split, so that the rest of the module has two kinds and "everything" to deal with.
pub(super) fn merged(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let mut out: Vec<DeviceRule> = Vec::new();
    let mut add = |rule: DeviceRule| match out.iter_mut().find(|r| r.same_devices(&rule)) {
        Some(same) => same.access = same.access.union(rule.access),
        None => out.push(rule),
    };
    for rule in rules.iter().filter(|r| !r.access.is_empty()) {
        if rule.is_everything() {
            return vec![DeviceRule {
                major: None,
                minor: None,
                ..*rule
            }];
        }
        if rule.kind == DeviceKind::All {
            add(DeviceRule::char(None, None, rule.access));
            add(DeviceRule {
                kind: DeviceKind::Block,
                ..DeviceRule::char(None, None, rule.access)
            });
        } else {
            add(*rule);
        }
    }
    out.sort();
    out
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => "a",
            DeviceKind::Block => "b",
            DeviceKind::Char => "c",
        };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{kind} {major}:{minor} {}", self.access)
    }
}

impl FromStr for DeviceRule {
    type Err = Error;
    fn from_str(text: &str) -> Result<DeviceRule, Error> {
        let malformed = || invalid(text, "expected a form such as `c 1:3 rwm`");
        let words: Vec<_> = text.split_whitespace().collect();
        let [kind, numbers, access] = words[..] else {
            return Err(malformed());
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(malformed)?;
        let number = |text: &str| match text {
            "*" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| malformed()),
        };
        Ok(DeviceRule {
            kind: match kind {
                "a" => DeviceKind::All,
                "b" => DeviceKind::Block,
                "c" => DeviceKind::Char,
                _ => return Err(malformed()),
            },
            major: number(major)?,
            minor: number(minor)?,
            access: access.parse()?,
        })
    }
}

fn invalid(rule: &str, reason: &'static str) -> Error {
    let rule = rule.chars().take(80).collect();
    Error::DeviceRule { rule, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        for text in ["c 1:3 rwm", "b *:* m", "a *:* rwm", "c 136:* rw", "b 8:1 r"] {
            assert_eq!(text.parse::<DeviceRule>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "c 1:3",
            "c 1 rwm",
            "d 1:3 r",
            "c 1:3 rx",
            "c 1:3 rr",
            "c -1:3 r",
            "c 1:3 r x",
        ] {
            assert!(bad.parse::<DeviceRule>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn serialises() {
        let rule: DeviceRule = "c 10:229 rw".parse().unwrap();
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(
            json,
            r#"{"kind":"char","major":10,"minor":229,"access":"rw"}"#
        );
        assert_eq!(serde_json::from_str::<DeviceRule>(&json).unwrap(), rule);
        assert!(serde_json::from_str::<DeviceRule>(&json.replace("rw", "rwx")).is_err());
    }

    #[test]
    fn merges() {
        let rules = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<_>>();
        let text = |rules: Vec<DeviceRule>| rules.iter().map(|r| r.to_string()).collect::<Vec<_>>();
        let list = rules(&["c 1:3 r", "c 1:3 w", "b 8:0 r", "a *:* m"]);
        assert_eq!(
            text(merged(&list)),
            ["b *:* m", "b 8:0 r", "c *:* m", "c 1:3 rw"]
        );
        assert_eq!(
            text(merged(&rules(&["c 1:3 r", "a 1:3 rwm"]))),
            ["a *:* rwm"]
        );
    }
}
