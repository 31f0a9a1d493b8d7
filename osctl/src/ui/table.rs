//! Tables: which columns there are, how a value looks, and the two layouts.

use std::borrow::Cow;

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::{escape, human};

/// What a column holds, which tells how it is shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, booleans.
    Text,
    /// A list of text; not there means that it is empty.
    List,
    /// State of a container or pool: text in colour.
    State,
    /// A number.
    Number,
    /// Bytes.
    Bytes,
    /// Bits per second; 0 is no limit.
    Rate,
    /// Microseconds.
    Micros,
    /// Seconds.
    Seconds,
    /// Percent.
    Percent,
    /// Seconds since 1970.
    Time,
}

impl Kind {
    /// Whether columns of it are aligned to the right.
    pub fn is_numeric(self) -> bool {
        !matches!(self, Kind::Text | Kind::List | Kind::State | Kind::Time)
    }
}

/// A column that can be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name, as in JSON.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// A text column.
pub const fn text(name: &'static str) -> Field {
    field(name, Kind::Text)
}

/// A column of lists.
pub const fn list(name: &'static str) -> Field {
    field(name, Kind::List)
}

/// A column of numbers.
pub const fn number(name: &'static str) -> Field {
    field(name, Kind::Number)
}

/// A column.
pub const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

/// The columns of one kind of object.
#[derive(Debug)]
pub struct Table {
    /// All columns, in the order of `-o all`.
    pub fields: &'static [Field],
    /// Columns that are shown unless told otherwise.
    pub default: &'static [&'static str],
    /// Whether objects have user attributes.
    pub attributes: bool,
}

/// A selected column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name of a field, or a user attribute.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

impl Column {
    /// The value of this column in a row.
    pub fn value<'a>(&self, row: &'a Value) -> &'a Value {
        let value = if self.name.contains(':') {
            row.get("attrs").and_then(|a| a.get(&self.name))
        } else {
            row.get(&self.name)
        };
        value.unwrap_or(&Value::Null)
    }
}

/// How tables are printed.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Raw numbers.
    pub parsable: bool,
    /// Print names of columns.
    pub header: bool,
    /// Colours.
    pub colour: bool,
}

/// The text of a value.
pub fn cell(kind: Kind, value: &Value, parsable: bool) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed("-"),
        Value::String(s) if s.is_empty() => Cow::Borrowed("-"),
        Value::String(s) => escape::line(s),
        other => Cow::Owned(long_cell(kind, other, parsable)),
    }
}

fn long_cell(kind: Kind, value: &Value, parsable: bool) -> String {
    match value {
        Value::Bool(b) => b.to_string(),
        Value::Number(n) if parsable => n.to_string(),
        Value::Number(n) => match (kind, n.as_u64()) {
            (Kind::Bytes, Some(n)) => human::bytes(n),
            (Kind::Rate, Some(n)) => human::rate(n),
            (Kind::Micros, Some(n)) => human::micros(n),
            (Kind::Seconds, Some(n)) => human::seconds(n),
            (Kind::Percent, _) => format!("{:.1}%", n.as_f64().unwrap_or(0.0)),
            (Kind::Time, _) => n.as_i64().map_or_else(|| n.to_string(), human::time),
            _ => n.to_string(),
        },
        Value::Null | Value::String(_) => cell(kind, value, parsable).into_owned(),
        Value::Array(a) if a.is_empty() => "-".to_owned(),
        Value::Array(a) => a
            .iter()
            .map(|v| cell(kind, v, parsable))
            .collect::<Vec<_>>()
            .join(","),
        Value::Object(o) if o.is_empty() => "-".to_owned(),
        Value::Object(o) => match (o.get("ns_id"), o.get("host_id"), o.get("count")) {
            (Some(ns), Some(host), Some(count)) => format!("{ns}:{host}:{count}"),
            _ => o
                .iter()
                .map(|(k, v)| format!("{}={}", escape::line(k), cell(kind, v, parsable)))
                .collect::<Vec<_>>()
                .join(","),
        },
    }
}

/// Adds a text to a line, in the colour of what it says.
fn paint(line: &mut String, kind: Kind, text: &str, style: Style) {
    let code = match text {
        _ if !style.colour || kind != Kind::State => "",
        "running" | "active" => "32",
        "starting" | "stopping" | "importing" | "staged" => "33",
        "frozen" => "36",
        "error" | "disabled" => "31",
        _ => "",
    };
    if code.is_empty() {
        line.push_str(text);
    } else {
        line.extend(["\x1b[", code, "m", text, "\x1b[0m"]);
    }
}

/// How many columns of a terminal a text takes.
fn width(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.width(),
    }
}

fn spaces(line: &mut String, count: usize) {
    line.extend(std::iter::repeat_n(' ', count));
}

/// One line for each row.
pub fn columns(columns: &[Column], rows: &[Value], style: Style) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let mut lines: Vec<Vec<Cow<'_, str>>> = Vec::with_capacity(rows.len() + 1);
    if style.header {
        lines.push(
            columns
                .iter()
                .map(|c| c.name.to_uppercase().into())
                .collect(),
        );
    }
    lines.extend(rows.iter().map(|row| {
        columns
            .iter()
            .map(|c| cell(c.kind, c.value(row), style.parsable))
            .collect()
    }));
    let mut widths = vec![0; columns.len()];
    for line in &lines {
        for (widest, text) in widths.iter_mut().zip(line) {
            *widest = width(text).max(*widest);
        }
    }
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let kind = |i: usize| match number == 0 && style.header {
            true => Kind::Text,
            false => columns[i].kind,
        };
        for (i, text) in line.iter().enumerate() {
            let fill = widths[i] - width(text);
            let right = columns[i].kind.is_numeric();
            if i > 0 {
                out.push_str("  ");
            }
            if right {
                spaces(&mut out, fill);
            }
            paint(&mut out, kind(i), text, style);
            // the last column is not filled up: no line ends with spaces
            if !right && i + 1 < line.len() {
                spaces(&mut out, fill);
            }
        }
        out.push('\n');
    }
    out
}

/// One line for each column of a single row.
pub fn rows(columns: &[Column], row: &Value, style: Style) -> String {
    let widest = columns.iter().map(|c| width(&c.name)).max().unwrap_or(0);
    let mut out = String::new();
    for column in columns {
        if style.header {
            let label = column.name.to_uppercase();
            spaces(&mut out, widest.saturating_sub(width(&label)));
            out.extend([&label, ":  "]);
        }
        let text = cell(column.kind, column.value(row), style.parsable);
        paint(&mut out, column.kind, &text, style);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PLAIN: Style = Style {
        parsable: false,
        header: true,
        colour: false,
    };

    fn column(name: &str, kind: Kind) -> Column {
        Column {
            name: name.to_owned(),
            kind,
        }
    }

    #[test]
    fn columns_are_aligned() {
        let list = [
            column("id", Kind::Text),
            column("memory", Kind::Bytes),
            column("state", Kind::State),
        ];
        let data = [
            json!({"id": "web1", "memory": 1536, "state": "running"}),
            json!({"id": "漢字", "state": "stopped"}),
        ];
        assert_eq!(
            columns(&list, &data, PLAIN),
            "ID    MEMORY  STATE\nweb1    1.5K  running\n漢字       -  stopped\n"
        );
        let raw = Style {
            parsable: true,
            header: false,
            colour: false,
        };
        assert_eq!(
            columns(&list, &data, raw),
            "web1  1536  running\n漢字     -  stopped\n"
        );
        assert_eq!(columns(&[], &data, PLAIN), "");
        assert_eq!(columns(&list, &[], PLAIN), "ID  MEMORY  STATE\n");
    }

    #[test]
    fn one_object_has_labels() {
        let list = [column("id", Kind::Text), column("memory", Kind::Bytes)];
        assert_eq!(
            rows(&list, &json!({"id": "a", "memory": 1}), PLAIN),
            "    ID:  a\nMEMORY:  1\n"
        );
    }

    #[test]
    fn cells() {
        let c = |v: Value| cell(Kind::Text, &v, false).into_owned();
        assert_eq!(c(json!(null)), "-");
        assert_eq!(c(json!("")), "-");
        assert_eq!(c(json!([])), "-");
        assert_eq!(c(json!(["a", "b"])), "a,b");
        assert_eq!(c(json!(true)), "true");
        assert_eq!(c(json!("x\x1b]0;y\x07")), "x\\x1b]0;y\\x07");
        assert_eq!(c(json!([{"ns_id": 0, "host_id": 1, "count": 2}])), "0:1:2");
        assert_eq!(c(json!({"a:b": "c"})), "a:b=c");
        assert_eq!(cell(Kind::Percent, &json!(12.34), false), "12.3%");
        assert_eq!(cell(Kind::Percent, &json!(12.34), true), "12.34");
        assert_eq!(cell(Kind::Bytes, &json!(-1), false), "-1");
    }

    #[test]
    fn colour_does_not_change_the_layout() {
        let list = [column("state", Kind::State), column("id", Kind::Text)];
        let data = [json!({"id": "a", "state": "error"})];
        let style = Style {
            parsable: false,
            header: true,
            colour: true,
        };
        assert_eq!(
            columns(&list, &data, style),
            "STATE  ID\n\x1b[31merror\x1b[0m  a\n"
        );
    }
}
