//! Users of a guest: looking them up in its own files, and telling them something.

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use osctl_runtime::control::{Action, Exec};

use super::enter::environment;
use crate::error::Error;
use crate::supervisor::{Link, finish_soon};

/// Largest /etc/passwd or /etc/group that is read, bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// A user as a program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Name.
    pub name: String,
    /// Home directory.
    pub home: String,
    /// Shell.
    pub shell: String,
}

impl Login {
    /// Root, without a look at any file.
    pub fn root() -> Login {
        Login {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            name: "root".to_owned(),
            home: "/root".to_owned(),
            shell: "/bin/sh".to_owned(),
        }
    }
}

/// Who a user is meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserSpec {
    /// By number.
    Id(u32),
    /// By a name of /etc/passwd.
    Name(String),
}

impl std::fmt::Display for UserSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UserSpec::Id(id) => write!(f, "{id}"),
            UserSpec::Name(name) => f.write_str(name),
        }
    }
}

impl UserSpec {
    /// Parses a number or a name.
    ///
    /// # Errors
    /// `InvalidArgument` for numbers that are no user id and for names that can't be one: nothing
    /// is ever taken for another user than was written.
    pub fn parse(text: &str) -> Result<UserSpec, Error> {
        let bad = || {
            let shown: String = text.chars().take(64).collect();
            Error::invalid(format!(
                "user {shown:?} is not valid: use a number up to 4294967294 or a user name"
            ))
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let canonical = |n: &u32| n.to_string() == text && *n != u32::MAX;
            return text
                .parse()
                .ok()
                .filter(canonical)
                .map(UserSpec::Id)
                .ok_or_else(bad);
        }
        let good = |c: char| c.is_ascii_alphanumeric() || "._-$".contains(c);
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts || text.len() > 64 || !text.chars().all(good) {
            return Err(bad());
        }
        Ok(UserSpec::Name(text.to_owned()))
    }
}

/// Looks a user up in the guest's /etc/passwd and /etc/group.
///
/// # Errors
/// `NotFound` when there is no such user.
pub async fn find(link: &Link, user: &UserSpec) -> Result<Login, Error> {
    let passwd = read(link, "/etc/passwd").await?;
    let group = read(link, "/etc/group").await?;
    lookup(user, &passwd, &group)
        .ok_or_else(|| Error::not_found(format!("the container has no user {user}")))
}

fn lookup(user: &UserSpec, passwd: &str, group: &str) -> Option<Login> {
    let entry = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields.as_slice() else {
            return None;
        };
        let (uid, gid) = (uid.parse::<u32>().ok()?, gid.parse::<u32>().ok()?);
        let same = match user {
            UserSpec::Id(id) => uid == *id,
            UserSpec::Name(wanted) => name == wanted,
        };
        let shell = if shell.is_empty() { "/bin/sh" } else { shell };
        same.then(|| Login {
            uid,
            gid,
            groups: Vec::new(),
            name: (*name).to_owned(),
            home: (*home).to_owned(),
            shell: shell.to_owned(),
        })
    });
    let mut login = match (entry, user) {
        (Some(login), _) => login,
        (None, UserSpec::Id(uid)) => Login {
            uid: *uid,
            name: uid.to_string(),
            home: "/".to_owned(),
            ..Login::root()
        },
        (None, UserSpec::Name(_)) => return None,
    };
    login.groups = group
        .lines()
        .filter_map(|line| member_of(line, &login.name))
        .collect();
    Some(login)
}

fn member_of(line: &str, name: &str) -> Option<u32> {
    let fields: Vec<&str> = line.split(':').collect();
    let [_, _, gid, members] = fields.as_slice() else {
        return None;
    };
    if members.split(',').any(|m| m == name) {
        gid.parse().ok()
    } else {
        None
    }
}

/// A file of the guest; empty when it can't be read.
async fn read(link: &Link, path: &str) -> Result<String, Error> {
    let mut file = memory("guest file")?;
    let action = Action::ReadFile {
        path: path.into(),
        max_bytes: MAX_FILE,
    };
    let session = link.enter(action, &[file.as_fd()]).await?;
    if let Err(error) = finish_soon(session).await {
        tracing::debug!(path, error = %error.chain(), "can't read a file of the guest");
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(|e| Error::backend("cannot read what a guest file held", e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file in memory, without a name.
fn memory(name: &str) -> Result<std::fs::File, Error> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    memfd_create(name, MFdFlags::MFD_CLOEXEC)
        .map(std::fs::File::from)
        .map_err(|e| Error::backend("cannot make a file in memory", e))
}

/// Starts a program as root with `input`, its output thrown away; returns the session, at whose
/// end it is ended, too.
///
/// # Errors
/// As entering.
pub async fn start_quietly(link: &Link, argv: &[&str], input: &[u8]) -> Result<OwnedFd, Error> {
    let failed = |e| Error::backend("cannot pass input to a program in the container", e);
    let mut stdin = memory("input")?;
    stdin
        .write_all(input)
        .and_then(|()| stdin.rewind())
        .map_err(failed)?;
    let null = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .map_err(failed)?;
    let exec = Exec {
        argv: argv.iter().map(|s| (*s).to_owned()).collect(),
        env: environment("root", "/root", None),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        cwd: "/".into(),
        cwd_required: false,
        tty: None,
        script: false,
    };
    let fds = [stdin.as_fd(), null.as_fd(), null.as_fd()];
    link.enter(Action::Exec(exec), &fds).await
}

/// Runs a program as [`start_quietly`] does; one that takes longer than it may is ended.
///
/// # Errors
/// As entering; `Timeout`.
pub async fn run_quietly(link: &Link, argv: &[&str], input: &[u8]) -> Result<i32, Error> {
    finish_soon(start_quietly(link, argv, input).await?).await
}

/// Tells everybody who is logged in, with the guest's own wall(1).
///
/// # Errors
/// As entering.
pub async fn tell(link: &Link, message: &str) -> Result<(), Error> {
    let text = format!("Message from the host machine:\n{message}\n");
    run_quietly(link, &["wall"], text.as_bytes())
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nwww:x:33:33::/var/www:\nbroken\n1:x:7:7::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:www,root\nwww:x:33:\nlog:x:5:www\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        let www = lookup(&UserSpec::parse("www").unwrap(), PASSWD, GROUP).unwrap();
        assert_eq!((www.uid, www.gid, www.groups), (33, 33, vec![4, 5]));
        assert_eq!(www.shell, "/bin/sh");
        let by_id = lookup(&UserSpec::parse("33").unwrap(), PASSWD, GROUP).unwrap();
        assert_eq!(by_id.name, "www");
        let unknown = lookup(&UserSpec::parse("1000").unwrap(), PASSWD, GROUP).unwrap();
        assert_eq!((unknown.uid, unknown.gid), (1000, 0));
        assert_eq!(
            lookup(&UserSpec::parse("nobody").unwrap(), PASSWD, GROUP),
            None
        );
    }

    #[test]
    fn a_number_is_never_a_name() {
        // A user may be called "1" in a hostile /etc/passwd: the number is meant.
        let one = lookup(&UserSpec::parse("1").unwrap(), PASSWD, GROUP).unwrap();
        assert_eq!(one.uid, 1);
    }

    #[test]
    fn odd_users_are_refused() {
        for bad in [
            "",
            "-1",
            "+1",
            "01",
            "1:0",
            "1 ",
            "4294967295",
            "4294967296",
            "a:b",
            "a\nb",
            "../x",
        ] {
            assert!(UserSpec::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn never_root_unless_root_was_meant(text in "[0-9a-zA-Z:+ -]{1,12}") {
            if let Ok(UserSpec::Id(0)) = UserSpec::parse(&text) {
                prop_assert_eq!(text, "0");
            }
        }
    }
}
