//! The form of a document: version and generation around the object, and back, bounded.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Error, Result};

/// Largest document that is written or read, in bytes.
pub const MAX_DOCUMENT: u64 = 1 << 20;

/// An object that is kept as one JSON document. It must serialize as a map without the keys
/// `version` and `generation`.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is, for messages: `container`.
    const KIND: &'static str;
    /// Version of the form that is written; starts at 1.
    const VERSION: u32;

    /// Brings the content of a document of an older version (1 ≤ `from` < `VERSION`) to the
    /// present form.
    fn upgrade(from: u32, _content: &mut Map<String, Value>) -> std::result::Result<(), String> {
        Err(format!("version {from} can no longer be read"))
    }
}

/// An object as it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// How many times it was written, from 1; 0 for one that has not been.
    pub generation: u64,
    /// The object.
    pub value: T,
}

impl<T> Stored<T> {
    /// An object that is not on the disk yet.
    pub fn new(value: T) -> Stored<T> {
        Stored {
            generation: 0,
            value,
        }
    }
}

#[derive(Serialize)]
struct Outer<'a, T> {
    version: u32,
    generation: u64,
    #[serde(flatten)]
    value: &'a T,
}

#[derive(Deserialize)]
struct Head {
    version: u64,
    generation: u64,
}

/// The document's bytes. `path` is for messages.
pub(super) fn encode<T: Document>(path: &Path, generation: u64, value: &T) -> Result<Vec<u8>> {
    let outer = Outer {
        version: T::VERSION,
        generation,
        value,
    };
    let mut bytes = serde_json::to_vec_pretty(&outer).map_err(|e| Error::io("write", path, e))?;
    bytes.push(b'\n');
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(Error::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// Reads a document from its bytes. `path` is for messages.
pub(super) fn decode<T: Document>(path: &Path, bytes: &[u8]) -> Result<Stored<T>> {
    let invalid = |source: Box<dyn std::error::Error + Send + Sync>| Error::Invalid {
        kind: T::KIND,
        path: path.to_owned(),
        source,
    };
    if bytes.iter().all(|b| b.is_ascii_whitespace() || *b == 0) {
        return Err(Error::Empty(path.to_owned()));
    }
    let mut content: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|e| invalid(e.into()))?;
    let head = Value::Object(
        ["version", "generation"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), content.remove(key)?)))
            .collect(),
    );
    let head = Head::deserialize(head).map_err(|e| invalid(e.into()))?;
    match u32::try_from(head.version) {
        Ok(version) if version == T::VERSION => {}
        Ok(0) => return Err(invalid("version 0 does not exist".into())),
        Ok(version) if version < T::VERSION => {
            T::upgrade(version, &mut content).map_err(|e| invalid(e.into()))?;
        }
        _ => {
            return Err(Error::Future {
                kind: T::KIND,
                path: path.to_owned(),
                found: head.version,
                known: T::VERSION,
            });
        }
    }
    let value = T::deserialize(Value::Object(content)).map_err(|e| invalid(e.into()))?;
    Ok(Stored {
        generation: head.generation,
        value,
    })
}
