//! Tables: which columns there are, how a value looks, and the two layouts.

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
pub fn cell(kind: Kind, value: &Value, parsable: bool) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) if parsable => n.to_string(),
        Value::Number(n) => match (kind, n.as_u64()) {
            (Kind::Bytes, Some(n)) => human::bytes(n),
            (Kind::Micros, Some(n)) => human::micros(n),
            (Kind::Seconds, Some(n)) => human::seconds(n),
            (Kind::Percent, _) => format!("{:.1}%", n.as_f64().unwrap_or(0.0)),
            (Kind::Time, _) => n.as_i64().map_or_else(|| n.to_string(), human::time),
            _ => n.to_string(),
        },
        Value::String(s) if s.is_empty() => "-".to_owned(),
        Value::String(s) => escape::line(s).into_owned(),
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

fn paint(kind: Kind, text: String, style: Style) -> String {
    if !style.colour || kind != Kind::State {
        return text;
    }
    let code = match text.trim() {
        "running" | "active" => "32",
        "starting" | "stopping" | "importing" | "staged" => "33",
        "frozen" => "36",
        "error" | "disabled" => "31",
        _ => return text,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

fn pad(text: &str, width: usize, right: bool) -> String {
    let space = " ".repeat(width.saturating_sub(text.width()));
    if right {
        format!("{space}{text}")
    } else {
        format!("{text}{space}")
    }
}

/// One line for each row.
pub fn columns(columns: &[Column], rows: &[Value], style: Style) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            columns
                .iter()
                .map(|c| cell(c.kind, c.value(row), style.parsable))
                .collect()
        })
        .collect();
    let heads: Vec<String> = columns.iter().map(|c| c.name.to_uppercase()).collect();
    let width = |i: usize| {
        let head = if style.header { heads[i].width() } else { 0 };
        cells
            .iter()
            .map(|r| r[i].width())
            .max()
            .unwrap_or(0)
            .max(head)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    let mut write = |row: &[String], paint_cells: bool| {
        for (i, text) in row.iter().enumerate() {
            let right = columns[i].kind.is_numeric();
            // the last column is not filled up: no line ends with spaces
            let last = i + 1 == row.len() && !right;
            let mut text = if last {
                text.clone()
            } else {
                pad(text, widths[i], right)
            };
            if paint_cells {
                text = paint(columns[i].kind, text, style);
            }
            if i > 0 {
                out.push_str("  ");
            }
            out.push_str(&text);
        }
        out.push('\n');
    };
    if style.header {
        write(&heads, false);
    }
    for row in &cells {
        write(row, true);
    }
    out
}

/// One line for each column of a single row.
pub fn rows(columns: &[Column], row: &Value, style: Style) -> String {
    let width = columns.iter().map(|c| c.name.width()).max().unwrap_or(0);
    let mut out = String::new();
    for column in columns {
        let text = cell(column.kind, column.value(row), style.parsable);
        let text = paint(column.kind, text, style);
        if style.header {
            let label = pad(&column.name.to_uppercase(), width, true);
            out.push_str(&format!("{label}:  {text}\n"));
        } else {
            out.push_str(&format!("{text}\n"));
        }
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
        let c = |v: Value| cell(Kind::Text, &v, false);
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
