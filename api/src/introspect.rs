//! The interface described in varlink's own language, made from the same types and doc comments
//! that the code uses.
//!
//! Grammar: <https://varlink.org/Interface-Definition>.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::error::{Code, ErrorParameters};
use crate::methods::{Kind, Method, Step};
use crate::{INTERFACE, for_each_method};

/// Description of the interface of the daemon.
pub fn description() -> String {
    let mut idl = Idl::new();
    macro_rules! each {
        ($($name:ident, $params:ty, $reply:ty, $class:ident, $kind:ident;)*) => {
            $( idl.method::<$params>(); )*
        };
    }
    for_each_method!(each);
    idl.finish()
}

/// Description of `org.varlink.service`, which every varlink service has.
pub const SERVICE_DESCRIPTION: &str = "\
# The Varlink Service Interface is provided by every varlink service. It describes the service and
# the interfaces it implements.
interface org.varlink.service

# What the service is and which interfaces it has
method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)

# The description of an interface
method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
error PermissionDenied ()
error ExpectedMore ()
";

struct Idl {
    generator: SchemaGenerator,
    methods: String,
}

impl Idl {
    fn new() -> Idl {
        Idl {
            generator: SchemaSettings::default().into_generator(),
            methods: String::new(),
        }
    }

    fn method<M: Method>(&mut self) {
        let params = self.schema_of::<M>();
        let reply = match M::KIND {
            Kind::Progress => self.schema_of::<Step<M::Reply>>(),
            Kind::Once | Kind::Events => self.schema_of::<M::Reply>(),
        };
        self.methods.push('\n');
        comment(&mut self.methods, &params, "");
        if M::KIND == Kind::Events {
            self.methods.push_str("# Must be called with `more`.\n");
        }
        let _ = writeln!(
            self.methods,
            "method {}{} -> {}",
            M::NAME,
            fields(&params, ""),
            fields(&reply, "")
        );
    }

    /// The schema of a type itself, not a reference to it.
    fn schema_of<T: JsonSchema>(&mut self) -> Value {
        let schema = T::json_schema(&mut self.generator);
        schema.to_value()
    }

    fn finish(mut self) -> String {
        let error = self.schema_of::<ErrorParameters>();
        let mut out = String::from("# Containers on this host\n");
        let _ = writeln!(out, "interface {INTERFACE}");
        let definitions: BTreeMap<String, Value> =
            self.generator.take_definitions(true).into_iter().collect();
        let mut empty = Vec::new();
        for (name, schema) in &definitions {
            let body = match enum_names(schema) {
                Some(names) => format!("({})", names.join(", ")),
                None => fields(schema, ""),
            };
            // systemd's parser takes no type without fields, though the grammar has it.
            if body == "()" {
                empty.push(type_name(name));
                continue;
            }
            out.push('\n');
            comment(&mut out, schema, "");
            let _ = writeln!(out, "type {} {body}", type_name(name));
        }
        out.push_str(&self.methods);
        for code in Code::ALL {
            let _ = write!(out, "\nerror {} {}\n", code.name(), fields(&error, ""));
        }
        for name in empty {
            for mark in [": ", ": ?", "[]"] {
                let used = format!("{mark}{name}");
                out = out.replace(&format!("{used},"), &format!("{mark}object,"));
                out = out.replace(&format!("{used}\n"), &format!("{mark}object\n"));
            }
        }
        out
    }
}

fn comment(out: &mut String, schema: &Value, indent: &str) {
    if let Some(text) = schema.get("description").and_then(Value::as_str) {
        for line in text.lines() {
            let _ = writeln!(out, "{indent}# {line}");
        }
    }
}

/// The fields of an object in parentheses.
fn fields(schema: &Value, indent: &str) -> String {
    let empty = serde_json::Map::new();
    let properties = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    if properties.is_empty() {
        return "()".to_owned();
    }
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|a| a.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let inner = format!("{indent}  ");
    let mut out = String::from("(\n");
    let last = properties.len() - 1;
    for (i, (name, schema)) in properties.iter().enumerate() {
        comment(&mut out, schema, &inner);
        let mut kind = type_of(schema, &inner);
        if !required.contains(&name.as_str()) && !kind.starts_with('?') {
            kind.insert(0, '?');
        }
        let comma = if i == last { "" } else { "," };
        let _ = writeln!(out, "{inner}{name}: {kind}{comma}");
    }
    let _ = write!(out, "{indent})");
    out
}

/// Names of an enumeration of words, whether schemars wrote it as one `enum` or as documented
/// constants.
fn enum_names(schema: &Value) -> Option<Vec<String>> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values
            .iter()
            .map(|v| v.as_str().map(str::to_owned))
            .collect();
    }
    let mut names = Vec::new();
    for one in schema.get("oneOf").and_then(Value::as_array)? {
        match one.get("const").and_then(Value::as_str) {
            Some(name) => names.push(name.to_owned()),
            None => names.extend(enum_names(one)?),
        }
    }
    Some(names)
}

fn type_name(definition: &str) -> String {
    let name = definition.rsplit('/').next().unwrap_or(definition);
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

fn type_of(schema: &Value, indent: &str) -> String {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return type_name(reference);
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let null = |v: &&Value| v.get("type").and_then(Value::as_str) == Some("null");
        let mut rest = any.iter().filter(|v| !null(v));
        return match (rest.next(), rest.next()) {
            (Some(one), None) => format!("?{}", type_of(one, indent)),
            _ => "object".to_owned(),
        };
    }
    if let Some(names) = enum_names(schema) {
        return format!("({})", names.join(", "));
    }
    match schema.get("type") {
        Some(Value::String(kind)) => simple_type(kind, schema, indent),
        Some(Value::Array(kinds)) => {
            let nullable = kinds.iter().any(|k| k == "null");
            let kind = kinds
                .iter()
                .filter_map(Value::as_str)
                .find(|k| *k != "null");
            let inner = kind.map_or("object".to_owned(), |k| simple_type(k, schema, indent));
            if nullable { format!("?{inner}") } else { inner }
        }
        _ => "object".to_owned(),
    }
}

fn simple_type(kind: &str, schema: &Value, indent: &str) -> String {
    match kind {
        "string" => "string".to_owned(),
        "boolean" => "bool".to_owned(),
        "integer" => "int".to_owned(),
        "number" => "float".to_owned(),
        "array" => {
            let item = schema
                .get("items")
                .map_or("object".to_owned(), |i| type_of(i, indent));
            format!("[]{item}")
        }
        "object" => match schema.get("additionalProperties") {
            Some(values) if values.is_object() => format!("[string]{}", type_of(values, indent)),
            Some(Value::Bool(true)) => "[string]object".to_owned(),
            _ if schema.get("properties").is_some() => fields(schema, indent),
            _ => "object".to_owned(),
        },
        _ => "object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::NAMES;

    #[test]
    fn every_method_type_and_error_is_described() {
        let text = description();
        for name in NAMES {
            assert!(
                text.contains(&format!("\nmethod {name}(")),
                "{name} is missing\n{text}"
            );
        }
        for code in Code::ALL {
            assert!(text.contains(&format!("\nerror {} (", code.name())));
        }
        assert!(text.contains("(staged, stopped, starting, running, stopping, frozen, error)"));
        assert!(text.contains("  attrs: ?[string]string"), "{text}");
        assert!(!text.contains("??") && !text.contains("null"), "{text}");
        assert!(
            !text
                .lines()
                .any(|l| l.starts_with("type ") && l.ends_with("()")),
            "{text}"
        );
    }

    #[test]
    fn every_type_that_is_used_is_defined_once() {
        let text = description();
        let defined: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("type "))
            .filter_map(|l| l.split([' ', '(']).next())
            .collect();
        let mut unique = defined.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(defined.len(), unique.len(), "{defined:?}");
        for line in text.lines().filter(|l| !l.trim_start().starts_with('#')) {
            let Some((name, kind)) = line.trim().split_once(": ") else {
                continue;
            };
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
                "{line}"
            );
            let word = kind
                .trim_end_matches(',')
                .trim_start_matches(['?', '[', ']']);
            let word = word.strip_prefix("string]").unwrap_or(word);
            let basic = ["string", "int", "bool", "float", "object"].contains(&word);
            assert!(
                basic || word.starts_with('(') || defined.contains(&word),
                "{line}: {word:?}"
            );
        }
    }
}
