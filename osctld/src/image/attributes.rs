//! What the extended headers of a member say about it, above all its extended attributes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::{Error, Result, acl, pax};
use crate::storage::is_kept_xattr;

/// Extended attributes of one file; the kernel lists fewer.
const MAX_XATTRS: usize = 2000;
/// Warnings about one member.
const MAX_WARNINGS: usize = 10;
/// Largest value of an extended attribute, as the kernel has it.
const MAX_XATTR: usize = 64 << 10;

/// Records of extended headers: a later one replaces an earlier one of the same key.
pub(super) struct Attributes {
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    pub(super) fn new(records: Vec<(Vec<u8>, Vec<u8>)>) -> Attributes {
        Attributes { records }
    }

    /// The value of `key`, unless it is empty, which takes a record back.
    pub(super) fn text(&self, key: &str) -> Option<&[u8]> {
        let found = self.records.iter().rev().find(|(k, _)| k == key.as_bytes());
        found
            .map(|(_, value)| value.as_slice())
            .filter(|value| !value.is_empty())
    }

    /// The parts of pax form 0.0, which repeats two keys.
    pub(super) fn sparse_pairs(&self) -> std::result::Result<Vec<(u64, u64)>, &'static str> {
        const BAD: &str = "a sparse map has a number that is none";
        let of = |key: &'static [u8]| self.records.iter().filter(move |(k, _)| k == key);
        let offsets = of(b"GNU.sparse.offset").map(|(_, v)| pax::decimal(v).ok_or(BAD));
        let lengths = of(b"GNU.sparse.numbytes").map(|(_, v)| pax::decimal(v).ok_or(BAD));
        if offsets.clone().count() != lengths.clone().count() {
            return Err("a sparse map is not of pairs");
        }
        offsets
            .zip(lengths)
            .map(|(offset, length)| Ok((offset?, length?)))
            .collect()
    }

    /// The extended attributes that are kept, sorted; those of the host are an error.
    pub(super) fn xattrs(
        &self,
        path: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<(OsString, Vec<u8>)>> {
        let mut all = BTreeMap::new();
        for (key, value) in &self.records {
            let Some((name, value)) = attribute(key, value).or_else(|problem| match problem {
                Problem::Bad(problem) => Err(Error::member(path, problem)),
                Problem::Warning(text) => {
                    if warnings.len() < MAX_WARNINGS {
                        warnings.push(format!("{:?}: {text}; left out", super::shown(path)));
                    }
                    Ok(None)
                }
            })?
            else {
                continue;
            };
            if name.starts_with(b"trusted.") {
                let name = super::shown(&name);
                let problem = format!("has {name:?}, which belongs to the host");
                return Err(Error::member(path, problem));
            }
            let name = OsString::from_vec(name);
            if !is_kept_xattr(&name) {
                continue;
            }
            if name.len() > 255 || value.len() > MAX_XATTR || name.as_encoded_bytes().contains(&0) {
                return Err(Error::member(path, "has an attribute that is too long"));
            }
            all.insert(name, value);
            if all.len() > MAX_XATTRS {
                return Err(Error::member(path, "has too many attributes"));
            }
        }
        Ok(all.into_iter().collect())
    }
}

type NamedValue = (Vec<u8>, Vec<u8>);

enum Problem {
    Bad(&'static str),
    Warning(String),
}

/// Name and value of the extended attribute that a record is about.
fn attribute(key: &[u8], value: &[u8]) -> std::result::Result<Option<NamedValue>, Problem> {
    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        return Ok(Some((unescape(name), value.to_vec())));
    }
    if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
        let value = base64(value).ok_or(Problem::Bad("has an attribute that is not base64"))?;
        return Ok(Some((unescape(name), value)));
    }
    let name: &[u8] = match key {
        b"SCHILY.acl.access" => b"system.posix_acl_access",
        b"SCHILY.acl.default" => b"system.posix_acl_default",
        _ => return Ok(None),
    };
    let list = acl::from_text(value).map_err(Problem::Warning)?;
    Ok(list.map(|list| (name.to_vec(), list)))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

/// Undoes `%3D`, by which writers keep `=` out of keys, and other bytes written so.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%'
            && let [high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    out
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.iter().filter(|b| !b.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_escapes() {
        for (text, value) in [
            ("", &b""[..]),
            ("QQ==", b"A"),
            ("QUI", b"AB"),
            ("QUJD", b"ABC"),
            ("/+8=", b"\xff\xef"),
        ] {
            assert_eq!(base64(text.as_bytes()).unwrap(), value, "{text}");
        }
        assert_eq!(base64(b"Q*"), None);
        assert_eq!(unescape(b"a%3Db%25%zz%"), b"a=b%%zz%");
    }
}
