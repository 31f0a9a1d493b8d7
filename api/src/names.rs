//! Names that users give to objects, parsed at the border.
//!
//! What can't be a safe path component, cgroup name or table cell never becomes one of these types.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// Longest name of an object, in bytes.
pub const MAX_NAME: usize = 100;
/// Longest user attribute name and value, in bytes.
pub const MAX_ATTR: usize = 4096;

/// Why a string is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not valid: {rule}")]
pub struct InvalidName {
    what: &'static str,
    given: String,
    rule: &'static str,
}

pub(crate) fn invalid(what: &'static str, given: &str, rule: &'static str) -> InvalidName {
    let mut shown: String = given.chars().take(64).collect();
    if shown.len() < given.len() {
        shown.push('…');
    }
    InvalidName {
        what,
        given: shown,
        rule,
    }
}

macro_rules! string_newtype {
    ($type:ident, $schema:literal) => {
        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(&self.to_text())
            }
        }
        impl From<$type> for String {
            fn from(v: $type) -> String {
                v.to_text().into_owned()
            }
        }
        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(s: String) -> Result<$type, InvalidName> {
                s.parse()
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $schema.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!({ "type": "string" })
            }
        }
    };
}
pub(crate) use string_newtype;

/// Name of a pool, user, id range or container: 1 to 100 letters, digits, `_` and `-`,
/// not starting with `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<std::path::Path> for Name {
    fn as_ref(&self) -> &std::path::Path {
        std::path::Path::new(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

const NAME_RULE: &str = "use 1 to 100 letters, digits, '_' and '-', not starting with '-'";

fn is_name(s: &str) -> bool {
    !s.is_empty()
        && s.len() <= MAX_NAME
        && !s.starts_with('-')
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl FromStr for Name {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Name, InvalidName> {
        if is_name(s) {
            Ok(Name(s.to_owned()))
        } else {
            Err(invalid("name", s, NAME_RULE))
        }
    }
}

string_newtype!(Name, "Name");

/// An object on a pool, written `name` (on whichever pool has it) or `pool:name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ref {
    /// The pool, when it was given.
    pub pool: Option<Name>,
    /// The object's name.
    pub name: Name,
}

impl Ref {
    /// The same reference, on `pool` unless it names one already.
    #[must_use]
    pub fn on(mut self, pool: Option<&Name>) -> Ref {
        if self.pool.is_none() {
            self.pool = pool.cloned();
        }
        self
    }
    fn to_text(&self) -> Cow<'_, str> {
        match &self.pool {
            Some(pool) => Cow::Owned(format!("{pool}:{}", self.name)),
            None => Cow::Borrowed(self.name.as_str()),
        }
    }
}

impl From<Name> for Ref {
    fn from(name: Name) -> Ref {
        Ref { pool: None, name }
    }
}

impl FromStr for Ref {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Ref, InvalidName> {
        match s.split_once(':') {
            Some((pool, name)) => Ok(Ref {
                pool: Some(pool.parse()?),
                name: name.parse()?,
            }),
            None => Ok(Ref {
                pool: None,
                name: s.parse()?,
            }),
        }
    }
}

string_newtype!(Ref, "Ref");

/// A group: `/` or `/a/b`, each component a [`Name`]; at most 16 deep.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupPath(String);

impl GroupPath {
    /// The root group.
    pub fn root() -> GroupPath {
        GroupPath("/".to_owned())
    }
    /// The group of containers that were given none.
    pub fn default_group() -> GroupPath {
        GroupPath("/default".to_owned())
    }
    /// The path as text, starting with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The components, outermost first; none for the root group.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|c| !c.is_empty())
    }
    /// The group above; `None` for the root group.
    pub fn parent(&self) -> Option<GroupPath> {
        if self.0 == "/" {
            return None;
        }
        match self.0.rfind('/') {
            Some(0) | None => Some(GroupPath::root()),
            Some(at) => Some(GroupPath(self.0[..at].to_owned())),
        }
    }
    /// Whether `other` is this group or below it.
    pub fn contains(&self, other: &GroupPath) -> bool {
        self.0 == "/"
            || other.0 == self.0
            || (other.0.starts_with(&self.0) && other.0.as_bytes().get(self.0.len()) == Some(&b'/'))
    }
    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromStr for GroupPath {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<GroupPath, InvalidName> {
        const RULE: &str = "use '/' or '/a/b' with names of letters, digits, '_' and '-'";
        let Some(rest) = s.strip_prefix('/') else {
            return Err(invalid("group", s, RULE));
        };
        if rest.is_empty() {
            return Ok(GroupPath::root());
        }
        if rest.split('/').all(is_name) && rest.split('/').count() <= 16 {
            Ok(GroupPath(s.to_owned()))
        } else {
            Err(invalid("group", s, RULE))
        }
    }
}

string_newtype!(GroupPath, "GroupPath");

/// A group on a pool, written `/path` or `pool:/path`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupRef {
    /// The pool, when it was given.
    pub pool: Option<Name>,
    /// The group's path.
    pub path: GroupPath,
}

impl GroupRef {
    /// The same reference, on `pool` unless it names one already.
    #[must_use]
    pub fn on(mut self, pool: Option<&Name>) -> GroupRef {
        if self.pool.is_none() {
            self.pool = pool.cloned();
        }
        self
    }
    fn to_text(&self) -> Cow<'_, str> {
        match &self.pool {
            Some(pool) => Cow::Owned(format!("{pool}:{}", self.path)),
            None => Cow::Borrowed(self.path.as_str()),
        }
    }
}

impl FromStr for GroupRef {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<GroupRef, InvalidName> {
        match s.split_once(':') {
            Some((pool, path)) => Ok(GroupRef {
                pool: Some(pool.parse()?),
                path: path.parse()?,
            }),
            None => Ok(GroupRef {
                pool: None,
                path: s.parse()?,
            }),
        }
    }
}

string_newtype!(GroupRef, "GroupRef");

/// Name of a user attribute: `vendor:key`, without control characters, at most 4096 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttrName(String);

impl AttrName {
    /// The attribute's name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromStr for AttrName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<AttrName, InvalidName> {
        const RULE: &str = "use 'vendor:key' without spaces or control characters";
        let form = s
            .split_once(':')
            .is_some_and(|(v, k)| !v.is_empty() && !k.is_empty());
        let clean = s
            .chars()
            .all(|c| !c.is_control() && !c.is_whitespace() && c != ',');
        if form && clean && s.len() <= 255 && !s.starts_with('-') {
            Ok(AttrName(s.to_owned()))
        } else {
            Err(invalid("attribute", s, RULE))
        }
    }
}

string_newtype!(AttrName, "AttrName");

/// A host name: labels of letters, digits and `-` joined by `.`, at most 253 bytes
/// (RFC 1123, section 2.1); the first label at most 63 bytes fits `sethostname(2)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);

impl Hostname {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The first label.
    pub fn local(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }
    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromStr for Hostname {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Hostname, InvalidName> {
        const RULE: &str =
            "use labels of letters, digits and '-' joined by '.', each at most 63 long";
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if s.len() <= 253 && s.split('.').all(label) {
            Ok(Hostname(s.to_owned()))
        } else {
            Err(invalid("host name", s, RULE))
        }
    }
}

string_newtype!(Hostname, "Hostname");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        let long = "a".repeat(101);
        for bad in [
            "", ".", "..", "a/b", "/", "a\0b", "a\nb", "a b", "%n", "-x", "é", "a:b", "~", "a.b",
            &long,
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "web-1", "A_b", "0", &"a".repeat(100)] {
            assert!(good.parse::<Name>().is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_long_bad_name_is_not_echoed_whole() {
        let err = "/".repeat(10_000).parse::<Name>().unwrap_err().to_string();
        assert!(err.len() < 400, "{err}");
    }

    #[test]
    fn groups() {
        for bad in ["", "a", "//", "/a/", "/a//b", "/../x", "/-a", "/a b"] {
            assert!(bad.parse::<GroupPath>().is_err(), "{bad:?} was accepted");
        }
        let g: GroupPath = "/a/b".parse().unwrap();
        assert_eq!(g.parent().unwrap().as_str(), "/a");
        assert_eq!(g.parent().unwrap().parent().unwrap().as_str(), "/");
        assert!("/a".parse::<GroupPath>().unwrap().contains(&g));
        assert!(!"/a/bb".parse::<GroupPath>().unwrap().contains(&g));
    }

    #[test]
    fn refs() {
        let r: Ref = "tank:web".parse().unwrap();
        assert_eq!(r.pool.as_ref().unwrap().as_str(), "tank");
        assert_eq!(r.to_string(), "tank:web");
        assert!("a:b:c".parse::<Ref>().is_err());
        assert!(":b".parse::<Ref>().is_err());
        let g: GroupRef = "tank:/a".parse().unwrap();
        assert_eq!(g.to_string(), "tank:/a");
    }

    #[test]
    fn attributes_and_hostnames() {
        assert!("a:b".parse::<AttrName>().is_ok());
        for bad in ["ab", ":b", "a:", "a:b\nc", "a:b c", "-a:b"] {
            assert!(bad.parse::<AttrName>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!(
            "web.example.com".parse::<Hostname>().unwrap().local(),
            "web"
        );
        for bad in ["", ".", "a..b", "-a", "a\nb", "a b", &"a".repeat(64)] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad:?} was accepted");
        }
    }
}
