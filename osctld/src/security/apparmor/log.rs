//! What was refused lately, by profile: bounded, however much a guest tries.

use std::collections::BTreeMap;

use super::denial::Denial;
use crate::sync::Mutex;

/// Most different denials that are kept of a profile; the oldest go.
const KEPT: usize = 50;
/// Most profiles; those that were heard of first go. More containers than a host has.
const PROFILES: usize = 10_000;

/// A denial, with how often the same was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The last one.
    pub denial: Denial,
    /// How many there were.
    pub count: u64,
}

/// All denials that are kept.
#[derive(Debug, Default)]
pub struct Log(Mutex<BTreeMap<String, Vec<Noted>>>);

impl Log {
    /// Notes a denial; one that was seen before is only counted.
    pub fn note(&self, denial: Denial) {
        let mut log = self.0.lock();
        if log.len() >= PROFILES && !log.contains_key(&denial.profile) {
            log.pop_first();
        }
        let noted = log.entry(denial.profile.clone()).or_default();
        let count = match noted.iter().position(|n| is_same(&n.denial, &denial)) {
            Some(at) => noted.remove(at).count + 1,
            None => 1,
        };
        if noted.len() >= KEPT {
            noted.remove(0);
        }
        noted.push(Noted { denial, count });
    }

    /// The denials of a profile, the latest last.
    pub fn of(&self, profile: &str) -> Vec<Noted> {
        self.0.lock().get(profile).cloned().unwrap_or_default()
    }

    /// Forgets a profile.
    pub fn forget(&self, profile: &str) {
        self.0.lock().remove(profile);
    }
}

fn is_same(a: &Denial, b: &Denial) -> bool {
    (&a.program, &a.operation, &a.object, &a.access)
        == (&b.program, &b.operation, &b.object, &b.access)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(profile: &str, object: &str, at: i64) -> Denial {
        Denial {
            at,
            profile: profile.to_owned(),
            pid: 1,
            program: "sh".to_owned(),
            operation: "open".to_owned(),
            object: object.to_owned(),
            access: "w".to_owned(),
            rule: String::new(),
        }
    }

    #[test]
    fn what_repeats_is_counted() {
        let log = Log::default();
        log.note(denial("a", "/x", 1));
        log.note(denial("a", "/y", 2));
        log.note(denial("a", "/x", 3));
        log.note(denial("b", "/x", 4));
        let noted: Vec<_> = log
            .of("a")
            .into_iter()
            .map(|n| (n.denial.object, n.denial.at, n.count))
            .collect();
        assert_eq!(noted, [("/y".to_owned(), 2, 1), ("/x".to_owned(), 3, 2)]);
        log.forget("a");
        assert!(log.of("a").is_empty());
        assert_eq!(log.of("b").len(), 1);
    }

    #[test]
    fn it_is_bounded() {
        let log = Log::default();
        for at in 0..1000 {
            log.note(denial("a", &format!("/{at}"), at));
        }
        let noted = log.of("a");
        assert_eq!(noted.len(), KEPT);
        assert_eq!(noted[KEPT - 1].denial.object, "/999");
    }
}
