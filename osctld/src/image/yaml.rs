//! YAML from outside, bounded: no aliases, no deep nesting.
//!
//! The parser would expand aliases many times and nests as deep as it is asked to; the files of
//! images need neither. The scan knows just enough of YAML to tell text from tokens.

use serde::de::DeserializeOwned;

use crate::storage::Cause;

/// Deepest nesting of flow collections (`[`, `{`) and of block collections (`- - -`).
const MAX_DEPTH: usize = 64;

/// Parses a document that was bounded in size by the caller.
///
/// # Errors
/// Why it can't be read.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Cause> {
    let text = std::str::from_utf8(bytes)?;
    scan(text)?;
    Ok(serde_norway::from_str(text)?)
}

/// A document, in that part of YAML which is JSON: other parsers, of YAML 1.1, take words such as
/// `no`, `1_0` or `2026-01-01` for something else than text unless they are quoted.
///
/// # Errors
/// What can't be written.
pub fn text(value: &impl serde::Serialize) -> Result<String, Cause> {
    Ok(format!("---\n{}\n", serde_json::to_string_pretty(value)?))
}

#[derive(Clone, Copy, PartialEq)]
enum Quote {
    None,
    Single,
    Double,
}

fn scan(text: &str) -> Result<(), Cause> {
    let mut quote = Quote::None;
    let mut flow = 0usize;
    // Indentation of the line that a block scalar belongs to.
    let mut block: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start_matches(' ').len();
        if let Some(owner) = block {
            if line.trim().is_empty() || indent > owner {
                continue;
            }
            block = None;
        }
        let significant = scan_line(line, &mut quote, &mut flow)?;
        if quote == Quote::None && flow == 0 && is_block_header(significant) {
            block = Some(owner(significant));
        }
    }
    Ok(())
}

/// Column of what a block scalar at the end of this line belongs to: its text is indented more,
/// and lines that are not are something else.
fn owner(line: &str) -> usize {
    let mut column = line.len() - line.trim_start_matches(' ').len();
    loop {
        let rest = &line[column..];
        let Some(after) = rest.strip_prefix("- ") else {
            return column;
        };
        let next = column + 2 + (after.len() - after.trim_start_matches(' ').len());
        if line[next..].starts_with(['|', '>']) {
            return column;
        }
        column = next;
    }
}

/// Looks at one line; returns it without its comment.
fn scan_line<'a>(line: &'a str, quote: &mut Quote, flow: &mut usize) -> Result<&'a str, Cause> {
    let bytes = line.as_bytes();
    // Whether a token may begin here.
    let mut fresh = true;
    let mut dashes = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        match (*quote, byte) {
            (Quote::Single, b'\'') if bytes.get(at + 1) == Some(&b'\'') => at += 1,
            (Quote::Single, b'\'') | (Quote::Double, b'"') => *quote = Quote::None,
            (Quote::Double, b'\\') => at += 1,
            (Quote::Single | Quote::Double, _) => {}
            (Quote::None, b'#') if at == 0 || bytes[at - 1].is_ascii_whitespace() => {
                return Ok(&line[..at]);
            }
            (Quote::None, b'&' | b'*') if fresh => {
                return Err("YAML anchors and aliases are not accepted".into());
            }
            (Quote::None, b'\'') if fresh => *quote = Quote::Single,
            (Quote::None, b'"') if fresh => *quote = Quote::Double,
            (Quote::None, b'[' | b'{') if fresh || *flow > 0 => {
                *flow += 1;
                if *flow > MAX_DEPTH {
                    return Err("YAML is nested too deeply".into());
                }
                fresh = true;
                at += 1;
                continue;
            }
            (Quote::None, b']' | b'}') if *flow > 0 => *flow -= 1,
            _ => {}
        }
        if *quote == Quote::None {
            let ends_token = |b: Option<&u8>| b.is_none_or(u8::is_ascii_whitespace);
            fresh = match byte {
                b' ' | b'\t' => fresh,
                b',' if *flow > 0 => true,
                b':' if ends_token(bytes.get(at + 1)) || *flow > 0 => true,
                b'-' | b'?' if fresh && ends_token(bytes.get(at + 1)) => {
                    dashes += 1;
                    if dashes > MAX_DEPTH {
                        return Err("YAML is nested too deeply".into());
                    }
                    true
                }
                // A tag; its value follows.
                b'!' if fresh => {
                    while bytes.get(at + 1).is_some_and(|b| !b.is_ascii_whitespace()) {
                        at += 1;
                    }
                    true
                }
                _ => false,
            };
        }
        at += 1;
    }
    Ok(line)
}

/// Whether a line ends with the header of a block scalar (`|`, `>`, `|-`, `>+2`, …).
fn is_block_header(line: &str) -> bool {
    let last = line.split_whitespace().next_back().unwrap_or_default();
    let mut chars = last.chars();
    matches!(chars.next(), Some('|' | '>'))
        && chars.all(|c| matches!(c, '-' | '+') || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_norway::Value;

    use super::*;

    #[test]
    fn what_tools_write_is_accepted() {
        for good in [
            "---\ntype: full\nuser:\ndatasets: []\n",
            "a: 'it''s & *x'\nb: \"&a \\\" *b\"\nc: x & y * z # &comment\n",
            "raw: |\n  &not an anchor\n  *nor an alias\n\n  - [[[\nnext: 1\n",
            "list:\n- a\n- b: [1, 2, {x: y}]\n  c: >-\n    *text\n",
            "- |\n  &text\n- - |\n    &text\n  - a: >\n      *text\n    b: 1\n",
            "multi: \"one\n  & two *three\n  four\"\n",
            "url: http://x/?a=1&b=2\nglob: a*b\n",
        ] {
            parse::<Value>(good.as_bytes()).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
    }

    #[test]
    fn what_is_written_is_read_and_text_stays_text() {
        let words = [
            "no",
            "1_0",
            "2026-01-01",
            ":x",
            "12",
            "~",
            "a: b # c",
            "\"\\\n\u{7}é",
            "&a",
            "*a",
        ];
        let map: std::collections::BTreeMap<&str, Vec<&str>> =
            words.iter().map(|w| (*w, words.to_vec())).collect();
        let written = text(&map).unwrap();
        let read: std::collections::BTreeMap<String, Vec<String>> =
            parse(written.as_bytes()).unwrap();
        assert!(
            read.keys().eq(map.keys()) && read.values().all(|v| v == &words),
            "{written}"
        );
        for word in ["no", "1_0", "2026-01-01", ":x"] {
            assert!(written.contains(&format!("{word:?}")), "{written}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let laughs = "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]\n";
        let deep_flow = "[".repeat(200_000);
        let deep_block = "- ".repeat(100_000);
        let deep_map = (0..2000)
            .map(|i| format!("{}a:\n", " ".repeat(i)))
            .collect::<String>();
        for bad in [
            laughs,
            "a: *b\n",
            "- *b\n",
            "*a : 1\n",
            "&x a: 1\n",
            "a: !t &x 1\n",
            "a: [1, *b]\n",
            "{a: *b}",
            "{a:*b}",
            "a: |\n  text\n  more\nb: *x\n",
            "a: 'x'\nb: *c\n",
            "- - |\n    text\n  - *x\n",
            "- a: |\n    text\n  b: *x\n",
            &deep_flow,
            &deep_block,
            &deep_map,
            "a: [",
            "\u{0}",
        ] {
            assert!(
                parse::<Value>(bad.as_bytes()).is_err(),
                "{}",
                &bad[..bad.len().min(80)]
            );
        }
        assert!(parse::<Value>(b"\xff\xfe").is_err());
    }
}
