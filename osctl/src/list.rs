//! What is listed of objects and how: the options -o, -H, -L and -s.

use std::cmp::Ordering;

use osctl_api::{Code, Error, Method};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::context::{Context, to_value};
use crate::failure::{DONE, Failure, Outcome};
use crate::order::compare;
use crate::rows::{self, Wanted};
use crate::ui::Stream;
use crate::ui::table::{self, Column, Kind, Style, Table};

/// Member of an object that holds its user attributes.
const ATTRIBUTES: &str = "attrs";

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

    /// Has the daemon carry out a method whose reply has a list at `key`, and takes of each object
    /// what [`View::print_list`] shows.
    ///
    /// # Errors
    /// As [`crate::context::Daemon::call`].
    pub fn call<M: Method>(
        &self,
        cx: &mut Context,
        params: &M,
        key: &'static str,
    ) -> Result<Vec<Value>, Failure> {
        let columns = self.columns.iter().chain(&self.sort);
        let mut names: Vec<&str> = columns.map(|c| c.name.as_str()).collect();
        names.push(ATTRIBUTES);
        let wanted = match cx.ui.json && !self.chosen {
            true => Wanted::All,
            false => Wanted::Only(&names),
        };
        cx.daemon
            .call_read(params, |reply| rows::read(reply, key, wanted))
    }

    /// Lists what `ask` gives; it is not asked when only the names of parameters are wanted.
    ///
    /// # Errors
    /// Those of `ask`, and when stdout can't be written.
    pub fn tell<T: Serialize>(
        &self,
        cx: &mut Context,
        ask: impl FnOnce(&mut Context) -> Result<Vec<T>, Failure>,
    ) -> Outcome {
        if let Some(outcome) = self.names(cx) {
            return outcome;
        }
        let rows = ask(cx)?;
        let rows = rows.iter().map(to_value);
        self.print_list(cx, rows.collect::<Result<_, _>>()?)
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

    /// What JSON output has of a row: what was chosen, else everything. What is not there is null,
    /// or empty.
    fn object(&self, row: &Value) -> Value {
        if self.chosen {
            let value = |c: &Column| match c.value(row) {
                Value::Null => absent(c.kind),
                value => value.clone(),
            };
            let pairs = self.columns.iter().map(|c| (c.name.clone(), value(c)));
            return Value::Object(pairs.collect());
        }
        let mut object = row.clone();
        if let Value::Object(map) = &mut object {
            for field in self.table.fields {
                map.entry(field.name).or_insert_with(|| absent(field.kind));
            }
            if self.table.attributes {
                map.entry("attrs")
                    .or_insert_with(|| Value::Object(Map::new()));
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

fn absent(kind: Kind) -> Value {
    match kind {
        Kind::List => Value::Array(Vec::new()),
        _ => Value::Null,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::table::{list, number, text};
    use serde_json::json;

    static TABLE: Table = Table {
        fields: &[text("id"), number("pid"), text("state"), list("user")],
        default: &["id", "state"],
        attributes: true,
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
        assert_eq!(all["user"], json!([]));
        assert_eq!(show(Some("user,pid")), json!({"user": [], "pid": null}));
        assert!(all.as_object().unwrap().contains_key("pid"));
    }
}
