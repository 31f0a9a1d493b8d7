//! Which pools are coming or going, and by which operation.

use std::collections::BTreeMap;
use std::sync::Arc;

use osctl_api::names::Name;

use crate::error::{Error, Result};
use crate::sync::Mutex;

/// Names of pools that are taken.
#[derive(Debug, Default)]
pub(super) struct Claims(Arc<Mutex<BTreeMap<Name, &'static str>>>);

/// Has the name of a pool until it is dropped.
#[derive(Debug)]
#[must_use = "it holds only as long as it is kept"]
pub struct Claim {
    claims: Arc<Mutex<BTreeMap<Name, &'static str>>>,
    name: Name,
}

impl Claims {
    pub(super) fn take(&self, name: &Name, operation: &'static str) -> Result<Claim> {
        let mut claims = self.0.lock();
        if let Some(holder) = claims.get(name.as_str()) {
            return Err(Error::busy(format!("pool {name} is held by `{holder}`")));
        }
        claims.insert(name.clone(), operation);
        Ok(Claim {
            claims: self.0.clone(),
            name: name.clone(),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(self.name.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_until_it_is_let_go() {
        let claims = Claims::default();
        let name: Name = "tank".parse().unwrap();
        let claim = claims.take(&name, "pool import").unwrap();
        let e = claims.take(&name, "pool export").unwrap_err();
        assert!(e.to_string().contains("`pool import`"), "{e}");
        drop(claim);
        assert!(claims.take(&name, "pool export").is_ok());
    }
}
