//! POSIX access control lists: the text that archives carry and the bytes that the kernel takes.

/// Version of the kernel's form (`POSIX_ACL_XATTR_VERSION`).
const VERSION: u32 = 2;
/// Id of entries that have none.
const NO_ID: u32 = u32::MAX;
/// More entries than any file system keeps.
const MAX_ENTRIES: usize = 4096;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

fn permissions(text: &str) -> Option<u16> {
    // A comment or an effective permission may follow.
    let text = text.split_whitespace().next()?;
    let mut bits = 0;
    for c in text.chars() {
        bits |= match c {
            'r' => 4,
            'w' => 2,
            'x' | 'X' => 1,
            '-' => 0,
            _ => return None,
        };
    }
    Some(bits)
}

/// The kernel's bytes for a text like `user::rw-,user:lisa:r--:1000,group::r--,mask::r--,other::-`.
///
/// Named entries need a number, as name or as fourth field: names mean something only where the
/// archive was made. `None`: an empty list.
pub(super) fn from_text(text: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "an access control list is no text")?;
    let mut entries = Vec::new();
    for entry in text.split([',', '\n']) {
        let entry = entry.trim();
        let entry = entry.strip_prefix("default:").unwrap_or(entry);
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        entries.push(parse(entry)?);
        if entries.len() > MAX_ENTRIES {
            return Err("an access control list is too long".into());
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    let named = entries.iter().any(|(tag, ..)| [USER, GROUP].contains(tag));
    if named && !entries.iter().any(|(tag, ..)| *tag == MASK) {
        let union = entries
            .iter()
            .filter(|(tag, ..)| [USER, GROUP, GROUP_OBJ].contains(tag))
            .fold(0, |bits, (_, _, more)| bits | more);
        entries.push((MASK, NO_ID, union));
    }
    // The kernel wants this order and checks the rest.
    entries.sort();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, bits) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(bits.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    Ok(Some(bytes))
}

fn parse(entry: &str) -> Result<(u16, u32, u16), String> {
    let bad = || format!("an access control list has an entry {entry:?}");
    let fields: Vec<&str> = entry.split(':').collect();
    let (kind, name, bits, number) = match fields[..] {
        // `other:r--` and `mask:r--` are found as well.
        [kind, bits] => (kind, "", bits, None),
        [kind, name, bits] => (kind, name, bits, None),
        [kind, name, bits, number] => (kind, name, bits, Some(number)),
        _ => return Err(bad()),
    };
    let bits = permissions(bits).ok_or_else(bad)?;
    let tag = match (kind, name.is_empty()) {
        ("user" | "u", true) => USER_OBJ,
        ("user" | "u", false) => USER,
        ("group" | "g", true) => GROUP_OBJ,
        ("group" | "g", false) => GROUP,
        ("mask" | "m", true) => MASK,
        ("other" | "o", true) => OTHER,
        _ => return Err(bad()),
    };
    let id = if name.is_empty() {
        NO_ID
    } else {
        let number = number.unwrap_or(name);
        match number.parse::<u32>() {
            Ok(id) if id != NO_ID => id,
            _ => {
                return Err(format!(
                    "an access control list names {name:?} without a number"
                ));
            }
        }
    };
    Ok((tag, id, bits))
}

/// The text for the kernel's bytes; `None` when they are no list.
pub(super) fn to_text(bytes: &[u8]) -> Option<String> {
    let (version, entries) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || entries.len() % 8 != 0 {
        return None;
    }
    let mut text = Vec::new();
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let bits = u16::from_le_bytes([entry[2], entry[3]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let letter = |bit, c| if bits & bit != 0 { c } else { '-' };
        let bits: String = [letter(4, 'r'), letter(2, 'w'), letter(1, 'x')]
            .into_iter()
            .collect();
        text.push(match tag {
            USER_OBJ => format!("user::{bits}"),
            USER => format!("user:{id}:{bits}"),
            GROUP_OBJ => format!("group::{bits}"),
            GROUP => format!("group:{id}:{bits}"),
            MASK => format!("mask::{bits}"),
            OTHER => format!("other::{bits}"),
            _ => return None,
        });
    }
    Some(text.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes() {
        let bytes = crate::storage::zoo::acl(1000);
        let text = "user::rw-,user:1000:r--,group::r--,mask::rw-,other::---";
        assert_eq!(to_text(&bytes).unwrap(), text);
        assert_eq!(from_text(text.as_bytes()).unwrap().unwrap(), bytes);
        for same in [
            "other::---\nmask::rw-\nuser:lisa:r--:1000\nuser::rw-\ngroup::r--\n",
            "default:user::rw-,default:user:1000:r,default:group::r--,default:mask::rw,default:other::-",
            "u::rw-,u:1000:r--,g::r--,m::rw-,o::-\t#effective:r--",
        ] {
            assert_eq!(
                from_text(same.as_bytes()).unwrap().unwrap(),
                bytes,
                "{same}"
            );
        }
        // Without a mask: what the group class has.
        let text = from_text(b"user::rw-,group::r--,group:7:-wx,other::---")
            .unwrap()
            .unwrap();
        let text = to_text(&text).unwrap();
        assert_eq!(
            text,
            "user::rw-,group::r--,group:7:-wx,mask::rwx,other::---"
        );
    }

    #[test]
    fn bad_lists_are_refused() {
        assert_eq!(from_text(b"").unwrap(), None);
        for bad in [
            "user:lisa:r--",
            "user::rwz",
            "user",
            "a:b:c:d:e",
            "mask:5:r--",
            "owner::r--",
            "user:4294967295:r--",
            "user:-1:r--",
            "user::",
        ] {
            assert!(from_text(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(from_text(b"\xff").is_err());
        let long = "user:1:r,".repeat(10_000);
        assert!(from_text(long.as_bytes()).is_err());
        for bad in [
            &b""[..],
            &[2, 0, 0],
            &[1, 0, 0, 0],
            &[2, 0, 0, 0, 1],
            &[2, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9],
        ] {
            assert_eq!(to_text(bad), None);
        }
    }
}
