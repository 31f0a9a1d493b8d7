//! Rows of a list, taken from a reply as JSON text: only what will be shown of each.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

/// What every object is known by.
const IDENTITY: &str = "id";

/// Which members of an object are taken.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All.
    All,
    /// These.
    Only(&'a [&'a str]),
}

/// Reads the list that is member `key` of `reply`.
///
/// # Errors
/// When there is none, or it is no list of objects.
pub fn read(reply: &str, key: &'static str, wanted: Wanted<'_>) -> serde_json::Result<Vec<Value>> {
    let mut reader = serde_json::Deserializer::from_str(reply);
    let rows = Reply { key, wanted }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(rows)
}

struct Reply<'a> {
    key: &'static str,
    wanted: Wanted<'a>,
}

impl<'de> DeserializeSeed<'de> for Reply<'_> {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Value>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reply<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with a list {}", self.key)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Value>, A::Error> {
        let mut rows = None;
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if key.0 == self.key {
                rows = Some(map.next_value_seed(Rows(self.wanted))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        rows.ok_or_else(|| A::Error::missing_field(self.key))
    }
}

struct Rows<'a>(Wanted<'a>);

impl<'de> DeserializeSeed<'de> for Rows<'_> {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Value>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Value>, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = list.next_element_seed(Row(self.0))? {
            rows.push(Value::Object(row));
        }
        Ok(rows)
    }
}

struct Row<'a>(Wanted<'a>);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut row = Map::new();
        let mut identified = false;
        while let Some(key) = map.next_key::<Key<'de>>()? {
            identified |= key.0 == IDENTITY;
            let taken = match self.0 {
                Wanted::All => true,
                Wanted::Only(names) => names.contains(&key.0.as_ref()),
            };
            if taken {
                row.insert(key.0.into_owned(), map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        match identified {
            true => Ok(row),
            false => Err(A::Error::missing_field(IDENTITY)),
        }
    }
}

/// A name that is borrowed from the text if it stands there as it is.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_wanted_is_taken() {
        let reply = r#"{"more":[1],"rows":[{"id":1,"b":{"c":[2]},"\u0064":"x"},{"id":3}]}"#;
        let all = read(reply, "rows", Wanted::All).unwrap();
        assert_eq!(all[0], json!({"id": 1, "b": {"c": [2]}, "d": "x"}));
        let some = read(reply, "rows", Wanted::Only(&["d", "b:c"])).unwrap();
        assert_eq!(some, [json!({"d": "x"}), json!({})]);
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"rows":1}"#,
            r#"{"rows":[1]}"#,
            r#"{"rows":[{}]}"#,
            r#"{"rows":[]} x"#,
        ] {
            assert!(read(wrong, "rows", Wanted::All).is_err(), "{wrong}");
        }
    }
}
