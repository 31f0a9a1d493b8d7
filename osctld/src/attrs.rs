//! User attributes: what users and other programs note on objects.

use std::collections::BTreeMap;

use osctl_api::names::{AttrName, MAX_ATTR};

use crate::error::{Error, Result};

/// Most attributes of one object.
const MAX_ATTRS: usize = 256;

/// Sets and removes attributes.
///
/// # Errors
/// `InvalidArgument` when a value is too long or has control characters, or there are too many;
/// then `attrs` is to be thrown away.
pub fn change(
    attrs: &mut BTreeMap<String, String>,
    set: BTreeMap<AttrName, String>,
    unset: &[AttrName],
) -> Result<()> {
    for (name, value) in set {
        if value.len() > MAX_ATTR || value.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "the value of attribute {name} is longer than {MAX_ATTR} bytes or has control characters"
            )));
        }
        attrs.insert(name.into(), value);
    }
    for name in unset {
        attrs.remove(name.as_str());
    }
    if attrs.len() > MAX_ATTRS {
        return Err(Error::invalid(format!(
            "{} attributes are too many: at most {MAX_ATTRS}",
            attrs.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_their_number_are_bounded() {
        let one = |v: &str| BTreeMap::from([("a:b".parse().unwrap(), v.to_owned())]);
        let mut attrs = BTreeMap::new();
        change(&mut attrs, one("x"), &[]).unwrap();
        assert_eq!(attrs["a:b"], "x");
        assert!(change(&mut attrs.clone(), one("x\ny"), &[]).is_err());
        assert!(change(&mut attrs.clone(), one(&"x".repeat(5000)), &[]).is_err());
        change(&mut attrs, BTreeMap::new(), &["a:b".parse().unwrap()]).unwrap();
        assert!(attrs.is_empty());
        let many = (0..300).map(|n| (format!("a:{n}").parse().unwrap(), String::new()));
        assert!(change(&mut attrs, many.collect(), &[]).is_err());
    }
}
