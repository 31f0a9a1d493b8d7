//! JSON documents on standard input.

use std::io::Read;

use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// Largest document, in bytes: what a call can carry.
const MAX_DOCUMENT: u64 = osctl_api::wire::MAX_CALL as u64;

/// Reads one document.
///
/// # Errors
/// Usage, when standard input has no such document.
pub fn document<T: DeserializeOwned>(shape: &str) -> Result<T, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_DOCUMENT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::local("cannot read standard input", &e))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(Failure::usage(format!(
            "the document on standard input is larger than {MAX_DOCUMENT} bytes"
        )));
    }
    serde_json::from_slice(&bytes).map_err(|e| {
        let e = osctl_api::Error::with_source(
            osctl_api::Code::InvalidArgument,
            "standard input is not the JSON document that is expected",
            &e,
        );
        Failure::Usage(e.hint(format!("its shape is {shape}")))
    })
}
