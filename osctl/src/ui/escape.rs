//! Makes text from guests harmless to a terminal: control characters, and characters that turn
//! the direction of text, are written as escapes.

use std::borrow::Cow;
use std::fmt::Write;

fn hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, keep: fn(char) -> bool) -> Cow<'_, str> {
    if text.bytes().all(|b| matches!(b, b' '..=b'~'))
        || !text.chars().any(|c| hostile(c) && !keep(c))
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !hostile(c) || keep(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x100 => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
        }
    }
    Cow::Owned(out)
}

/// The text on one line.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// The text with its line ends and tabs.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\n' || c == '\t')
}

/// JSON text without any character that a terminal would act on. Outside of strings there is
/// none, and inside of them an escape means the same.
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| hostile(c) && c != '\n') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hostile(c) && c != '\n' {
            let _ = write!(out, "\\u{:04x}", c as u32);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(line("plain é 漢"), "plain é 漢");
        assert_eq!(line("\x1b[2Ja\nb\t\r\0"), "\\x1b[2Ja\\nb\\t\\r\\x00");
        assert_eq!(line("\u{9b}31m\u{7f}"), "\\x9b31m\\x7f");
        assert_eq!(line("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(lines("a\n\tb\x1b"), "a\n\tb\\x1b");
    }

    #[test]
    fn json_stays_the_same_value() {
        let text = serde_json::to_string("\u{9b}x\u{7f}\u{202e}\n").unwrap();
        let safe = json(&text);
        assert!(safe.is_ascii());
        let back: String = serde_json::from_str(&safe).unwrap();
        assert_eq!(back, "\u{9b}x\u{7f}\u{202e}\n");
    }
}
