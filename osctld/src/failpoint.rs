//! Fail points: places at which a test makes the daemon die as if it had been killed.
//!
//! In debug builds `failpoint!("name")` aborts the process when the environment variable
//! `OSCTLD_FAILPOINT` is `name`, or `name:N` for the N-th time it is reached; `*:N` is the N-th of
//! all. With `log` the daemon's log says which are reached. Release builds have none.

/// Aborts the process here when `OSCTLD_FAILPOINT` asks for it (debug builds only).
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::failpoint::reached($name)
    };
}

/// What `failpoint!` calls.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reached(_name: &str) {}

/// What `failpoint!` calls.
#[cfg(debug_assertions)]
pub fn reached(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);

    let wanted = WANTED.get_or_init(|| parse(&std::env::var("OSCTLD_FAILPOINT").ok()?));
    if wanted.as_ref().is_some_and(|(wanted, _)| wanted == "log") {
        tracing::info!("fail point {name} is reached");
    }
    if let Some((wanted, at)) = wanted
        && (wanted == name || wanted == "*")
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *at
    {
        std::process::abort();
    }
}

#[cfg(debug_assertions)]
fn parse(text: &str) -> Option<(String, u64)> {
    match text.rsplit_once(':') {
        Some((name, at)) if at.parse::<u64>().is_ok() => Some((name.to_owned(), at.parse().ok()?)),
        _ if text.is_empty() => None,
        _ => Some((text.to_owned(), 1)),
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn names_and_counts() {
        assert_eq!(super::parse("a.b"), Some(("a.b".into(), 1)));
        assert_eq!(super::parse("a.b:3"), Some(("a.b".into(), 3)));
        assert_eq!(super::parse("a:b"), Some(("a:b".into(), 1)));
        assert_eq!(super::parse(""), None);
    }

    /// Does something only in the process that the test below starts.
    #[test]
    fn child() {
        if std::env::var_os("OSCTLD_FAILPOINT").is_none() {
            return;
        }
        failpoint!("failpoint.test");
        println!("first");
        failpoint!("failpoint.other");
        failpoint!("failpoint.test");
        println!("second");
    }

    #[test]
    fn the_process_dies_at_the_hit_that_was_asked_for() {
        for (wanted, dies, printed) in [
            ("failpoint.test:1", true, ""),
            ("failpoint.test:2", true, "first"),
            ("failpoint.test:3", false, "first second"),
            ("failpoint.none", false, "first second"),
            ("*:1", true, ""),
            ("*:3", true, "first"),
            ("log", false, "first second"),
        ] {
            let out = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "failpoint::tests::child", "--nocapture"])
                .env("OSCTLD_FAILPOINT", wanted)
                .output()
                .unwrap();
            assert_eq!(out.status.signal().is_some(), dies, "{wanted}: {out:?}");
            let text = String::from_utf8_lossy(&out.stdout);
            for word in ["first", "second"] {
                assert_eq!(
                    text.contains(word),
                    printed.contains(word),
                    "{wanted}: {text}"
                );
            }
        }
    }
}
