//! What is listed of objects and how: the options -o, -H, -L and -s.

use std::cmp::Ordering;

use osctl_api::{Code, Error};
use serde_json::Value;

use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome};
use crate::ui::Stream;
use crate::ui::table::{self, Column, Kind, Style, Table};

// no doc comments on the two structs: clap would make them the text of the commands

#[allow(missing_docs)]
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ListOptions {
    #[command(flatten)]
    pub show: ShowOptions,
    /// Sort by these parameters
    #[arg(short, long, value_name = "PARAMETERS", allow_hyphen_values = true)]
    pub sort: Option<String>,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ShowOptions {
    /// Parameters to show: `a,b` exactly these, `+a` also this, `-a` not this, `all`; user
    /// attributes as `vendor:key`
    #[arg(short, long, value_name = "PARAMETERS", allow_hyphen_values = true)]
    pub output: Option<String>,
    /// Hide the names of parameters
    #[arg(short = 'H', long)]
    pub hide_header: bool,
    /// List the parameters that can be shown, and do nothing else
    #[arg(short = 'L', long)]
    pub list: bool,
}

/// What is listed, and in which order.
#[derive(Debug)]
pub struct View {
    table: &'static Table,
    columns: Vec<Column>,
    /// Whether the columns were named by the user.
    chosen: bool,
    sort: Vec<Column>,
    header: bool,
    only_names: bool,
}

impl View {
    /// What the options of a list say.
    ///
    /// # Errors
    /// Usage, when they name a parameter that does not exist.
    pub fn list(table: &'static Table, options: &ListOptions) -> Result<View, Failure> {
        let mut view = View::show(table, &options.show)?;
        if options.show.output.is_none() {
            view.columns = named(table, table.default);
        }
        if let Some(sort) = &options.sort {
            view.sort = split(sort)
                .map(|name| column(table, name))
                .collect::<Result<_, _>>()?;
        }
        Ok(view)
    }

    /// What the options of a command that shows one object say.
    ///
    /// # Errors
    /// As [`View::list`].
    pub fn show(table: &'static Table, options: &ShowOptions) -> Result<View, Failure> {
        Ok(View {
            table,
            columns: match &options.output {
                Some(output) => select(table, output)?,
                None => every(table),
            },
            chosen: options.output.is_some(),
            sort: Vec::new(),
            header: !options.hide_header,
            only_names: options.list,
        })
    }

    /// Prints the names of parameters if only they were asked for.
    ///
    /// # Errors
    /// When stdout can't be written.
    pub fn names(&self, cx: &Context) -> Option<Outcome> {
        if !self.only_names {
            return None;
        }
        let names: Vec<&str> = self.table.fields.iter().map(|f| f.name).collect();
        let printed = if cx.ui.json {
            cx.ui.json(&serde_json::json!(names))
        } else {
            cx.ui.raw(format!("{}\n", names.join("\n")).as_bytes())
        };
        Some(printed.map(|()| DONE))
    }

    /// Whether one of these parameters is shown or sorted by.
    pub fn uses(&self, names: &[&str]) -> bool {
        let mut columns = self.columns.iter().chain(&self.sort);
        columns.any(|c| names.contains(&c.name.as_str()))
    }

    /// Prints a list of objects.
    ///
    /// # Errors
    /// When stdout can't be written.
    pub fn print_list(&self, cx: &Context, mut rows: Vec<Value>) -> Outcome {
        rows.sort_by(|a, b| self.order(a, b));
        if cx.ui.json {
            let objects = rows.iter().map(|r| self.object(r)).collect();
            cx.ui.json(&Value::Array(objects))?;
        } else {
            let text = table::columns(&self.columns, &rows, self.style(cx));
            cx.ui.raw(text.as_bytes())?;
        }
        Ok(DONE)
    }

    /// Prints one object.
    ///
    /// # Errors
    /// When stdout can't be written.
    pub fn print_one(&self, cx: &Context, row: &Value) -> Outcome {
        if cx.ui.json {
            cx.ui.json(&self.object(row))?;
            return Ok(DONE);
        }
        let mut columns = self.columns.clone();
        if !self.chosen
            && let Some(Value::Object(attrs)) = row.get("attrs")
        {
            columns.extend(attrs.keys().map(|name| Column {
                name: name.clone(),
                kind: Kind::Text,
            }));
        }
        cx.ui
            .raw(table::rows(&columns, row, self.style(cx)).as_bytes())?;
        Ok(DONE)
    }

    fn style(&self, cx: &Context) -> Style {
        Style {
            parsable: cx.ui.parsable,
            header: self.header,
            colour: cx.ui.coloured(Stream::Out),
        }
    }

    /// What JSON output has of a row: what was chosen, else everything, with null for what is not.
    fn object(&self, row: &Value) -> Value {
        if self.chosen {
            let pairs = self.columns.iter();
            return Value::Object(
                pairs
                    .map(|c| (c.name.clone(), c.value(row).clone()))
                    .collect(),
            );
        }
        let mut object = row.clone();
        if let Value::Object(map) = &mut object {
            for field in self.table.fields {
                map.entry(field.name).or_insert(Value::Null);
            }
        }
        object
    }

    fn order(&self, a: &Value, b: &Value) -> Ordering {
        self.sort
            .iter()
            .map(|c| compare(c.value(a), c.value(b)))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

fn every(table: &Table) -> Vec<Column> {
    table.fields.iter().map(|f| of_field(*f)).collect()
}

fn of_field(field: table::Field) -> Column {
    Column {
        name: field.name.to_owned(),
        kind: field.kind,
    }
}

fn named(table: &Table, names: &[&str]) -> Vec<Column> {
    let find = |name: &&str| table.fields.iter().find(|f| f.name == *name);
    names
        .iter()
        .filter_map(find)
        .map(|f| of_field(*f))
        .collect()
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|n| !n.is_empty())
}

fn column(table: &Table, name: &str) -> Result<Column, Failure> {
    if let Some(field) = table.fields.iter().find(|f| f.name == name) {
        return Ok(of_field(*field));
    }
    if name.parse::<osctl_api::names::AttrName>().is_ok() {
        return Ok(Column {
            name: name.to_owned(),
            kind: Kind::Text,
        });
    }
    let names: Vec<&str> = table.fields.iter().map(|f| f.name).collect();
    let message = format!("there is no parameter {name:?}");
    let hint = format!(
        "use a user attribute vendor:key, or one of: {}",
        names.join(", ")
    );
    Err(Failure::Usage(
        Error::new(Code::InvalidArgument, message).hint(hint),
    ))
}

/// The columns that -o asks for. A sign holds until the next one; without a sign at the start,
/// the list stands for itself.
fn select(table: &Table, output: &str) -> Result<Vec<Column>, Failure> {
    let output = output.trim();
    if output == "all" {
        return Ok(every(table));
    }
    let signed = output.starts_with(['+', '-']);
    let mut columns = if signed {
        named(table, table.default)
    } else {
        Vec::new()
    };
    let mut add = true;
    for item in split(output) {
        let name = match item.strip_prefix(['+', '-']) {
            Some(name) if signed => {
                add = item.starts_with('+');
                name
            }
            _ => item,
        };
        let wanted = column(table, name)?;
        if add && !(signed && columns.contains(&wanted)) {
            columns.push(wanted);
        } else if !add {
            columns.retain(|c| *c != wanted);
        }
    }
    Ok(columns)
}

/// Numbers by size, text as people count: `ct2` before `ct10`; what is not there comes first.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => {
                let (x, y) = (x.as_f64().unwrap_or(0.0), y.as_f64().unwrap_or(0.0));
                x.total_cmp(&y)
            }
        },
        (Value::String(x), Value::String(y)) => natural(x, y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        _ => rank(a)
            .cmp(&rank(b))
            .then_with(|| natural(&a.to_string(), &b.to_string())),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn natural(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (run_a, run_b) = (digits(a), digits(b));
        let order = if run_a.is_empty() || run_b.is_empty() {
            let (x, y) = (a.chars().next(), b.chars().next());
            let (Some(x), Some(y)) = (x, y) else {
                return x.cmp(&y);
            };
            (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
            x.cmp(&y)
        } else {
            (a, b) = (&a[run_a.len()..], &b[run_b.len()..]);
            let (x, y) = (run_a.trim_start_matches('0'), run_b.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn digits(text: &str) -> &str {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::table::{number, text};
    use serde_json::json;

    static TABLE: Table = Table {
        fields: &[text("id"), number("pid"), text("state"), text("user")],
        default: &["id", "state"],
    };

    fn selected(output: &str) -> Vec<String> {
        let columns = select(&TABLE, output).unwrap();
        columns.into_iter().map(|c| c.name).collect()
    }

    #[test]
    fn output_is_exact_extended_or_reduced() {
        assert_eq!(selected("pid,id"), ["pid", "id"]);
        assert_eq!(selected("+pid"), ["id", "state", "pid"]);
        assert_eq!(selected("+pid,user"), ["id", "state", "pid", "user"]);
        assert_eq!(selected("+id"), ["id", "state"]);
        assert_eq!(selected("-state"), ["id"]);
        assert_eq!(selected("-id,state"), [""; 0]);
        assert_eq!(selected("+pid,-id"), ["state", "pid"]);
        assert_eq!(selected("all"), ["id", "pid", "state", "user"]);
        assert_eq!(selected(""), [""; 0]);
        assert_eq!(selected("id,my:attr"), ["id", "my:attr"]);
        assert_eq!(select(&TABLE, "nope").unwrap_err().status(), 2);
        assert_eq!(select(&TABLE, "id,+pid").unwrap_err().status(), 2);
    }

    #[test]
    fn sorting_knows_numbers() {
        let options = ListOptions {
            sort: Some("state,id".into()),
            ..ListOptions::default()
        };
        let view = View::list(&TABLE, &options).unwrap();
        let mut rows = [
            json!({"id": "ct10", "state": "b"}),
            json!({"id": "ct2", "state": "b"}),
            json!({"id": "x", "state": "a"}),
            json!({"id": "y"}),
        ];
        rows.sort_by(|a, b| view.order(a, b));
        let ids: Vec<_> = rows.iter().map(|r| r["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["y", "x", "ct2", "ct10"]);
        assert!(view.uses(&["state"]) && !view.uses(&["pid"]));
        assert_eq!(compare(&json!(9), &json!(10)), Ordering::Less);
        assert_eq!(compare(&json!(1.5), &json!(1)), Ordering::Greater);
        assert_eq!(compare(&json!(null), &json!(0)), Ordering::Less);
        assert_eq!(natural("a01", "a1"), Ordering::Equal);
        assert_eq!(natural("a", "a1"), Ordering::Less);
        assert_eq!(natural("é2", "é10"), Ordering::Less);
    }

    #[test]
    fn json_has_what_was_chosen_or_everything() {
        let row = json!({"id": "a", "extra": 1, "attrs": {"x:y": "z"}});
        let show = |output: Option<&str>| {
            let options = ShowOptions {
                output: output.map(str::to_owned),
                ..ShowOptions::default()
            };
            View::show(&TABLE, &options).unwrap().object(&row)
        };
        assert_eq!(show(Some("id,x:y")), json!({"id": "a", "x:y": "z"}));
        let all = show(None);
        assert_eq!(all["extra"], 1);
        assert_eq!(all["pid"], Value::Null);
        assert!(all.as_object().unwrap().contains_key("pid"));
    }
}
