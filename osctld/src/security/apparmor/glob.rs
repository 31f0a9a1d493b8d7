//! Path patterns as AppArmor has them: making those that match everything but a list, which its
//! rules can't say in one, and matching.

use std::collections::BTreeMap;

/// Names of one directory, by their letters.
#[derive(Debug, Default)]
struct Letters<'a> {
    next: BTreeMap<char, Letters<'a>>,
    /// A name ends here, with what is listed below it; nothing when all of it is.
    ends: Option<Vec<&'a str>>,
    /// All names that begin like this are listed.
    any: bool,
}

impl<'a> Letters<'a> {
    fn add(&mut self, entry: &'a str) {
        let (name, rest) = match entry.split_once('/') {
            Some((name, rest)) => (name, Some(rest)),
            None => (entry, None),
        };
        let (name, any) = match name.strip_suffix('*') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let end = name
            .chars()
            .fold(self, |at, letter| at.next.entry(letter).or_default());
        end.any |= any;
        if !any {
            end.ends.get_or_insert_default().extend(rest);
        }
    }

    fn walk(&self, dir: &str, name: &str, unless: &str, into: &mut Vec<String>) {
        if self.any {
            return;
        }
        let letters: String = self.next.keys().collect();
        // Another letter than those that are listed; the end of the name is none.
        let other = format!("[^{letters}{unless}/]*");
        let ends_here = self.ends.is_some() || name.is_empty();
        into.push(match ends_here {
            true => format!("{dir}{name}{other}{{,/**}}"),
            false => format!("{dir}{name}{{,{other}}}{{,/**}}"),
        });
        if let Some(below) = self.ends.as_ref().filter(|below| !below.is_empty()) {
            everything_but(&format!("{dir}{name}/"), below, "", into);
        }
        for (letter, rest) in &self.next {
            rest.walk(dir, &format!("{name}{letter}"), "", into);
        }
    }
}

fn everything_but(dir: &str, entries: &[&str], unless: &str, into: &mut Vec<String>) {
    let mut names = Letters::default();
    for entry in entries {
        names.add(entry);
    }
    names.walk(dir, "", unless, into);
}

/// Patterns for everything below the directory `dir`, which ends in a slash, but for `entries`, what
/// is below those, and the directories that those are in. A name that ends in `*` is for all that
/// begin like it; names that begin with a letter of `unless`, as in `[…]`, are left out too.
pub fn all_but(dir: &str, entries: &[&str], unless: &str) -> Vec<String> {
    let mut patterns = Vec::new();
    everything_but(dir, entries, unless, &mut patterns);
    patterns
}

/// Patterns for all words but these; a word that ends in `*` is for all that begin like it.
pub fn no_word_of(words: &[&str]) -> Vec<String> {
    let below = |pattern: String| pattern.strip_suffix("{,/**}").map(str::to_owned);
    all_but("", words, "")
        .into_iter()
        .filter_map(below)
        .collect()
}

/// Whether a pattern matches all of a text.
pub fn matches(pattern: &str, text: &str) -> bool {
    alternatives(pattern).iter().any(|pattern| {
        let pattern: Vec<char> = pattern.chars().collect();
        let text: Vec<char> = text.chars().collect();
        matches_plain(&pattern, &text)
    })
}

/// A pattern with braces as several without.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return vec![pattern.to_owned()];
    };
    let Some((inside, after)) = rest.split_once('}') else {
        return vec![pattern.to_owned()];
    };
    inside
        .split(',')
        .flat_map(|one| alternatives(&format!("{before}{one}{after}")))
        .collect()
}

fn matches_plain(pattern: &[char], text: &[char]) -> bool {
    let until_slash = || text.iter().take_while(|c| **c != '/').count();
    let any_of = |rest: &[char], longest: usize| {
        (0..=longest).any(|taken| matches_plain(rest, &text[taken..]))
    };
    match pattern {
        [] => text.is_empty(),
        ['*', '*', rest @ ..] => any_of(rest, text.len()),
        ['*', rest @ ..] => any_of(rest, until_slash()),
        ['[', '^', rest @ ..] => {
            let Some(end) = rest.iter().position(|c| *c == ']') else {
                return false;
            };
            text.first()
                .is_some_and(|first| !is_in_class(&rest[..end], *first))
                && matches_plain(&rest[end + 1..], &text[1..])
        }
        [letter, rest @ ..] => text.first() == Some(letter) && matches_plain(rest, &text[1..]),
    }
}

fn is_in_class(class: &[char], letter: char) -> bool {
    match class {
        [from, '-', to, rest @ ..] => (*from..=*to).contains(&letter) || is_in_class(rest, letter),
        [one, rest @ ..] => *one == letter || is_in_class(rest, letter),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_of_a_small_directory() {
        assert_eq!(
            all_but("/s/", &["ab", "ac/x"], ""),
            [
                "/s/[^a/]*{,/**}",
                "/s/a{,[^bc/]*}{,/**}",
                "/s/ab[^/]*{,/**}",
                "/s/ac[^/]*{,/**}",
                "/s/ac/[^x/]*{,/**}",
                "/s/ac/x[^/]*{,/**}",
            ]
        );
        assert_eq!(no_word_of(&["a"]), ["[^a/]*", "a[^/]*"]);
    }

    #[test]
    fn patterns_match_as_the_kernel_has_them() {
        for (pattern, text, expected) in [
            ("/a*", "/abc", true),
            ("/a*", "/abc/d", false),
            ("/a**", "/abc/d", true),
            ("/a{,/**}", "/a", true),
            ("/a{,/**}", "/a/b/c", true),
            ("/a{,/**}", "/ab", false),
            ("/{,**/}kcore", "/proc/kcore", true),
            ("/{,**/}kcore", "/kcore", true),
            ("/{,**/}kcore", "/xkcore", false),
            ("/[^s0-9/]*", "/7", false),
            ("/[^s0-9/]*", "/t", true),
            ("/[^s0-9/]*", "/", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    /// What the patterns are to mean, said plainly.
    fn is_left_out(entries: &[&str], path: &str) -> bool {
        entries.iter().any(|entry| match entry.strip_suffix('*') {
            Some(begin) => path.starts_with(begin) || begin.starts_with(&format!("{path}/")),
            None => {
                path == *entry
                    || path.starts_with(&format!("{entry}/"))
                    || entry.starts_with(&format!("{path}/"))
            }
        })
    }

    proptest! {
        #[test]
        fn everything_else_is_matched(path in "[a-d]{1,4}(/[a-d]{1,3}){0,2}") {
            let entries = ["ab", "abc/d", "abd/ab", "b*", "ca/b*", "ca/d/a", "d"];
            let patterns = all_but("/x/", &entries, "");
            let matched = patterns.iter().any(|p| matches(p, &format!("/x/{path}")));
            prop_assert_eq!(matched, !is_left_out(&entries, &path), "{}", path);
        }
    }
}
