//! Options of a mount, a list of known words: `bind,create=dir,ro`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::MountType;

/// Why options are not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mount options {given:?} are not valid: {why}")]
pub struct InvalidOptions {
    given: String,
    why: String,
}

/// What to do when a mountpoint is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Create {
    /// Nothing: the mount fails.
    #[default]
    No,
    /// Make a directory.
    Dir,
    /// Make a file.
    File,
}

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// Has no effect, or says what holds anyway.
    Plain(&'static str),
    Recursive,
    ReadOnly,
    NoExec,
    NoAtime,
    Optional,
    IdMap,
    Create(Create),
    Size(String),
    Mode(String),
    Inodes(u64),
}

/// Words that say what holds anyway.
const PLAIN: [&str; 6] = ["bind", "rw", "exec", "nosuid", "nodev", "defaults"];

impl Word {
    fn parse(word: &str) -> Result<Word, String> {
        if let Some(plain) = PLAIN.iter().find(|p| **p == word) {
            return Ok(Word::Plain(plain));
        }
        Ok(match word.split_once('=') {
            None => match word {
                "rbind" => Word::Recursive,
                "ro" => Word::ReadOnly,
                "noexec" => Word::NoExec,
                "noatime" => Word::NoAtime,
                "optional" => Word::Optional,
                "idmap" => Word::IdMap,
                "suid" | "dev" => {
                    return Err(format!(
                        "{word:?} can't be: mounts are always nosuid and nodev"
                    ));
                }
                _ => return Err(format!("{word:?} is not known")),
            },
            Some(("create", "dir")) => Word::Create(Create::Dir),
            Some(("create", "file")) => Word::Create(Create::File),
            Some(("size", size)) if is_size(size) => Word::Size(size.to_owned()),
            Some(("mode", mode)) if is_mode(mode) => Word::Mode(mode.to_owned()),
            Some(("nr_inodes", n)) => match n.parse() {
                Ok(n) if n > 0 => Word::Inodes(n),
                _ => return Err(format!("{word:?} is not a number of files")),
            },
            Some(_) => return Err(format!("{word:?} is not known")),
        })
    }

    /// Words of one class exclude each other.
    fn class(&self) -> &str {
        match self {
            Word::Plain("bind") | Word::Recursive => "bind and rbind",
            Word::Plain("rw") | Word::ReadOnly => "ro and rw",
            Word::Plain("exec") | Word::NoExec => "exec and noexec",
            Word::Plain(word) => word,
            Word::NoAtime => "noatime",
            Word::Optional => "optional",
            Word::IdMap => "idmap",
            Word::Create(_) => "create",
            Word::Size(_) => "size",
            Word::Mode(_) => "mode",
            Word::Inodes(_) => "nr_inodes",
        }
    }

    /// What it is only for, if so.
    fn only_for(&self) -> Option<MountType> {
        match self {
            Word::Plain("bind") | Word::Recursive | Word::IdMap => Some(MountType::Bind),
            Word::Size(_) | Word::Mode(_) | Word::Inodes(_) => Some(MountType::Tmpfs),
            _ => None,
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::Plain(word) => f.write_str(word),
            Word::Recursive => f.write_str("rbind"),
            Word::ReadOnly => f.write_str("ro"),
            Word::NoExec => f.write_str("noexec"),
            Word::NoAtime => f.write_str("noatime"),
            Word::Optional => f.write_str("optional"),
            Word::IdMap => f.write_str("idmap"),
            Word::Create(Create::File) => f.write_str("create=file"),
            Word::Create(_) => f.write_str("create=dir"),
            Word::Size(size) => write!(f, "size={size}"),
            Word::Mode(mode) => write!(f, "mode={mode}"),
            Word::Inodes(n) => write!(f, "nr_inodes={n}"),
        }
    }
}

/// `64m`, `1g`, `50%`, bytes.
fn is_size(text: &str) -> bool {
    let digits = text.trim_end_matches(['k', 'm', 'g', 'K', 'M', 'G', '%']);
    text.len() - digits.len() <= 1
        && !digits.is_empty()
        && digits.len() <= 15
        && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Permission bits, in octal digits.
fn is_mode(text: &str) -> bool {
    (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b))
}

/// Options of a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountOptions(Vec<Word>);

impl MountOptions {
    /// Those of a dataset of a container.
    pub fn of_dataset(read_only: bool) -> MountOptions {
        let access = match read_only {
            true => Word::ReadOnly,
            false => Word::Plain("rw"),
        };
        MountOptions(vec![Word::Plain("bind"), Word::Create(Create::Dir), access])
    }

    fn has(&self, word: &Word) -> bool {
        self.0.contains(word)
    }

    /// With the mounts below it.
    pub fn is_recursive(&self) -> bool {
        self.has(&Word::Recursive)
    }

    /// Nothing can be written to it.
    pub fn is_read_only(&self) -> bool {
        self.has(&Word::ReadOnly)
    }

    /// No programs of it can be run.
    pub fn is_noexec(&self) -> bool {
        self.has(&Word::NoExec)
    }

    /// Reading leaves no trace.
    pub fn is_noatime(&self) -> bool {
        self.has(&Word::NoAtime)
    }

    /// The container starts also without it.
    pub fn is_optional(&self) -> bool {
        self.has(&Word::Optional)
    }

    /// Root of the container is what root of the host is.
    pub fn is_idmapped(&self) -> bool {
        self.has(&Word::IdMap)
    }

    /// What to do when the mountpoint is not there.
    pub fn create(&self) -> Create {
        let found = self.0.iter().find_map(|word| match word {
            Word::Create(create) => Some(*create),
            _ => None,
        });
        found.unwrap_or_default()
    }

    /// What the file system is made with.
    pub fn of_filesystem(&self) -> Vec<(String, Option<String>)> {
        let option = |word: &Word| match word {
            Word::Size(size) => Some(("size".to_owned(), Some(size.clone()))),
            Word::Mode(mode) => Some(("mode".to_owned(), Some(mode.clone()))),
            Word::Inodes(n) => Some(("nr_inodes".to_owned(), Some(n.to_string()))),
            _ => None,
        };
        self.0.iter().filter_map(option).collect()
    }

    /// Whether they make sense for what is mounted.
    ///
    /// # Errors
    /// Names the first word that does not.
    pub fn check(&self, kind: MountType) -> Result<(), InvalidOptions> {
        let strange = |word: &&Word| word.only_for().is_some_and(|only| only != kind);
        match self.0.iter().find(strange) {
            None => Ok(()),
            Some(word) => Err(self.to_string().as_str().invalid(match kind {
                MountType::Bind => format!("{word} is for type tmpfs"),
                MountType::Tmpfs => format!("{word} is for type bind"),
            })),
        }
    }
}

trait Invalid {
    fn invalid(&self, why: String) -> InvalidOptions;
}

impl Invalid for str {
    fn invalid(&self, why: String) -> InvalidOptions {
        InvalidOptions {
            given: self.chars().take(64).collect(),
            why,
        }
    }
}

impl fmt::Display for MountOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{word}")?;
        }
        Ok(())
    }
}

impl FromStr for MountOptions {
    type Err = InvalidOptions;
    fn from_str(s: &str) -> Result<MountOptions, InvalidOptions> {
        let mut words: Vec<Word> = Vec::new();
        for word in s.split(',').filter(|_| !s.is_empty()) {
            let shown: String = word.chars().take(64).collect();
            let word = Word::parse(&shown).map_err(|why| s.invalid(why))?;
            if words.iter().any(|w| w.class() == word.class()) {
                let class = word.class();
                return Err(s.invalid(format!("only one of {class} can be, once")));
            }
            words.push(word);
        }
        Ok(MountOptions(words))
    }
}

impl From<MountOptions> for String {
    fn from(options: MountOptions) -> String {
        options.to_string()
    }
}

impl TryFrom<String> for MountOptions {
    type Error = InvalidOptions;
    fn try_from(s: String) -> Result<MountOptions, InvalidOptions> {
        s.parse()
    }
}

impl JsonSchema for MountOptions {
    fn schema_name() -> Cow<'static, str> {
        "MountOptions".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> MountOptions {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn options_are_what_they_say_and_print_as_they_were() {
        for text in [
            "",
            "bind",
            "bind,create=dir,rw",
            "rbind,ro,noexec,noatime,optional,idmap,create=file",
            "size=64m,mode=1777,nr_inodes=1000",
        ] {
            assert_eq!(parsed(text).to_string(), text);
        }
        let all = parsed("rbind,ro,noexec,noatime,optional,idmap,create=file");
        assert!(all.is_recursive() && all.is_read_only() && all.is_noexec());
        assert!(all.is_noatime() && all.is_optional() && all.is_idmapped());
        assert_eq!(all.create(), Create::File);
        let none = parsed("bind,rw,exec,nosuid,nodev,defaults");
        assert!(!none.is_recursive() && !none.is_read_only() && !none.is_noexec());
        assert_eq!(none.create(), Create::No);
        let made = parsed("size=50%,mode=700").of_filesystem();
        let option = |k: &str, v: &str| (k.to_owned(), Some(v.to_owned()));
        assert_eq!(made, [option("size", "50%"), option("mode", "700")]);
    }

    #[test]
    fn what_is_not_known_or_contradicts_itself_is_refused() {
        let long = "x".repeat(100_000);
        for bad in [
            ",",
            "bind,",
            "suid",
            "dev",
            "shared",
            "rshared",
            "user_xattr",
            "ro,rw",
            "ro,ro",
            "bind,rbind",
            "create=link",
            "create=dir,create=file",
            "size=",
            "size=1t",
            "size=k",
            "size=1kk",
            "mode=8",
            "mode=77777",
            "nr_inodes=0",
            "nr_inodes=-1",
            "ro\n",
            " ro",
            "uid=0",
            "source=/x",
            &long,
        ] {
            let e = bad.parse::<MountOptions>().unwrap_err().to_string();
            assert!(e.len() < 400, "{bad:?}: {e}");
        }
    }

    #[test]
    fn each_type_has_its_own() {
        for bind in ["bind", "rbind", "idmap", "ro,idmap"] {
            assert!(parsed(bind).check(MountType::Bind).is_ok());
            assert!(parsed(bind).check(MountType::Tmpfs).is_err(), "{bind}");
        }
        for memory in ["size=1m", "mode=755", "nr_inodes=5"] {
            assert!(parsed(memory).check(MountType::Tmpfs).is_ok());
            assert!(parsed(memory).check(MountType::Bind).is_err(), "{memory}");
        }
    }
}
