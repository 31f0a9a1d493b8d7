//! Lists of names and values, as `libzfs_core` takes and gives them.

use std::ffi::{CStr, CString, c_int};
use std::ptr;

use nix::errno::Errno;

use super::sys::{Functions, RawList, RawPair};

const UNIQUE_NAMES: u32 = 1;
const TYPE_INT32: c_int = 5;
const TYPE_UINT64: c_int = 8;

/// The value of a property that is given to something new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, or a choice by its number.
    Number(u64),
    /// A text; all user properties are.
    Text(String),
}

/// A list of ours, freed when it is dropped.
pub(super) struct List<'a> {
    lib: &'a Functions,
    raw: *mut RawList,
}

/// Text for the library; one with NUL in it is no name of anything.
pub(super) fn c_string(text: &str) -> Result<CString, Errno> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

fn done(code: c_int) -> Result<(), Errno> {
    match code {
        0 => Ok(()),
        code => Err(Errno::from_raw(code)),
    }
}

impl<'a> List<'a> {
    pub(super) fn new(lib: &'a Functions) -> Result<List<'a>, Errno> {
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer can be written to, and is our list's when the call succeeds.
        done(unsafe { (lib.nvlist_alloc)(&mut raw, UNIQUE_NAMES, 0) })?;
        Ok(List { lib, raw })
    }

    /// What the library has made for us, or nothing.
    pub(super) fn given(lib: &'a Functions, raw: *mut RawList) -> Option<List<'a>> {
        (!raw.is_null()).then_some(List { lib, raw })
    }

    pub(super) fn names<S: AsRef<str>>(lib: &'a Functions, names: &[S]) -> Result<List<'a>, Errno> {
        let list = List::new(lib)?;
        for name in names {
            let name = c_string(name.as_ref())?;
            // SAFETY: the list is ours; the name is copied.
            done(unsafe { (lib.nvlist_add_boolean)(list.raw, name.as_ptr()) })?;
        }
        Ok(list)
    }

    pub(super) fn values(lib: &'a Functions, values: &[(&str, Value)]) -> Result<Self, Errno> {
        let list = List::new(lib)?;
        for (name, value) in values {
            match value {
                Value::Number(number) => {
                    let name = c_string(name)?;
                    // SAFETY: the list is ours; the name is copied.
                    done(unsafe { (lib.nvlist_add_uint64)(list.raw, name.as_ptr(), *number) })?;
                }
                Value::Text(text) => list.add_text(name, text)?,
            }
        }
        Ok(list)
    }

    pub(super) fn add_text(&self, name: &str, text: &str) -> Result<(), Errno> {
        let (name, text) = (c_string(name)?, c_string(text)?);
        // SAFETY: the list is ours; name and text are copied.
        done(unsafe { (self.lib.nvlist_add_string)(self.raw, name.as_ptr(), text.as_ptr()) })
    }

    pub(super) fn add_list(&self, name: &str, list: &List<'_>) -> Result<(), Errno> {
        let name = c_string(name)?;
        // SAFETY: both lists are ours; name and list are copied.
        done(unsafe { (self.lib.nvlist_add_nvlist)(self.raw, name.as_ptr(), list.raw) })
    }

    /// For a call that reads it.
    pub(super) fn as_ptr(&self) -> *mut RawList {
        self.raw
    }

    /// Names with their numbers; a name that has another value has the number 0.
    pub(super) fn numbers(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        let mut pair: *mut RawPair = ptr::null_mut();
        loop {
            // SAFETY: the list is ours, and the pair one of it, or null.
            pair = unsafe { (self.lib.nvlist_next_nvpair)(self.raw, pair) };
            if pair.is_null() {
                return all;
            }
            // SAFETY: a name ends with NUL and lives as long as the list.
            let name = unsafe { CStr::from_ptr((self.lib.nvpair_name)(pair)) };
            all.push((name.to_string_lossy().into_owned(), self.number(pair)));
        }
    }

    fn number(&self, pair: *mut RawPair) -> u64 {
        let (mut small, mut large) = (0i32, 0u64);
        // SAFETY: the pair is one of our list.
        match unsafe { (self.lib.nvpair_type)(pair) } {
            TYPE_INT32 => {
                // SAFETY: its value is of this type, which the call checks.
                unsafe { (self.lib.nvpair_value_int32)(pair, &mut small) };
                u64::from(small.unsigned_abs())
            }
            TYPE_UINT64 => {
                // SAFETY: its value is of this type, which the call checks.
                unsafe { (self.lib.nvpair_value_uint64)(pair, &mut large) };
                large
            }
            _ => 0,
        }
    }
}

impl Drop for List<'_> {
    fn drop(&mut self) {
        // SAFETY: the list is ours, and nobody has it after us.
        unsafe { (self.lib.nvlist_free)(self.raw) };
    }
}
