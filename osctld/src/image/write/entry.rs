//! Headers of one member of a tar stream: ustar, and pax for what that can't say.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use osctl_linux::beneath::Kind;
use tar::{EntryType, Header};

use super::BLOCK;
use crate::image::{acl, pax};
use crate::storage::Meta;

/// Largest number of the octal fields for ids.
const MAX_OCTAL_ID: u32 = 0o7_777_777;
/// Largest number of the octal fields for sizes and times.
const MAX_OCTAL_SIZE: u64 = 0o77_777_777_777;

/// Zeros that fill the last block of `size` bytes.
pub(super) fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; 512] = [0; 512];
    &ZEROS[..usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or(0)]
}

/// Header and extended header of one member.
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    pub(super) fn new(path: &Path, kind: Kind, meta: &Meta) -> Entry {
        let mut header = Header::new_ustar();
        header.set_entry_type(match kind {
            Kind::Dir => EntryType::Directory,
            Kind::Symlink => EntryType::Symlink,
            Kind::Char => EntryType::Char,
            Kind::Block => EntryType::Block,
            Kind::Fifo => EntryType::Fifo,
            Kind::File | Kind::Socket => EntryType::Regular,
        });
        header.set_mode(meta.mode);
        let mut entry = Entry {
            header,
            records: Vec::new(),
        };
        let mut name = path.as_os_str().as_bytes().to_vec();
        if kind == Kind::Dir && !name.ends_with(b"/") {
            name.push(b'/');
        }
        entry.path(&name);
        for (key, id) in [("uid", meta.uid), ("gid", meta.gid)] {
            if id > MAX_OCTAL_ID {
                entry.record(key, id.to_string().as_bytes());
            }
        }
        entry.header.set_uid(u64::from(meta.uid.min(MAX_OCTAL_ID)));
        entry.header.set_gid(u64::from(meta.gid.min(MAX_OCTAL_ID)));
        let (sec, nsec) = (meta.mtime.sec, meta.mtime.nsec);
        if nsec != 0 || !(0..MAX_OCTAL_SIZE as i64).contains(&sec) {
            entry.record("mtime", pax::format_time(sec, nsec).as_bytes());
        }
        let whole = u64::try_from(sec).unwrap_or(0).min(MAX_OCTAL_SIZE);
        entry.header.set_mtime(whole);
        for (name, value) in &meta.xattrs {
            entry.xattr(name.as_bytes(), value);
        }
        entry
    }

    fn record(&mut self, key: impl AsRef<[u8]>, value: &[u8]) {
        self.records.push((key.as_ref().to_vec(), value.to_vec()));
    }

    fn path(&mut self, name: &[u8]) {
        let fits = name.len() <= 100;
        let field = &mut self.header.as_old_mut().name;
        field.fill(0);
        let shown = &name[..name.len().min(100)];
        field[..shown.len()].copy_from_slice(shown);
        if !fits {
            self.record("path", name);
        }
    }

    pub(super) fn link(&mut self, target: &[u8]) {
        let fits = target.len() <= 100;
        let field = &mut self.header.as_old_mut().linkname;
        field.fill(0);
        let shown = &target[..target.len().min(100)];
        field[..shown.len()].copy_from_slice(shown);
        if !fits {
            self.record("linkpath", target);
        }
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) {
        let list = match name {
            b"system.posix_acl_access" => Some("SCHILY.acl.access"),
            b"system.posix_acl_default" => Some("SCHILY.acl.default"),
            _ => None,
        };
        if let Some(key) = list
            && let Some(text) = acl::to_text(value)
        {
            return self.record(key, text.as_bytes());
        }
        let mut key = b"SCHILY.xattr.".to_vec();
        for byte in name {
            match byte {
                b'=' => key.extend(b"%3D"),
                b'%' => key.extend(b"%25"),
                other => key.push(*other),
            }
        }
        self.record(key, value);
    }

    /// Makes the member a sparse file of `size` bytes, pax form 1.0.
    pub(super) fn sparse(&mut self, path: &Path, size: u64) {
        let name = path.as_os_str().as_bytes();
        self.records.retain(|(key, _)| key != b"path");
        self.record("GNU.sparse.major", b"1");
        self.record("GNU.sparse.minor", b"0");
        self.record("GNU.sparse.name", name);
        self.record("GNU.sparse.realsize", size.to_string().as_bytes());
        // Programs that don't know the form unpack the map and the parts under this name.
        let short = [b"GNUSparseFile.0/", name].concat();
        let field = &mut self.header.as_old_mut().name;
        field.fill(0);
        let shown = &short[..short.len().min(100)];
        field[..shown.len()].copy_from_slice(shown);
    }

    pub(super) fn write(mut self, out: &mut impl Write, size: u64) -> io::Result<()> {
        if size > MAX_OCTAL_SIZE {
            self.record("size", size.to_string().as_bytes());
        }
        self.header.set_size(size.min(MAX_OCTAL_SIZE));
        if !self.records.is_empty() {
            let mut block = Vec::new();
            for (key, value) in &self.records {
                pax::push(&mut block, key, value);
            }
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            header.set_path("PaxHeaders/x")?;
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(block.len() as u64);
            header.set_cksum();
            out.write_all(header.as_bytes())?;
            out.write_all(&block)?;
            out.write_all(padding(block.len() as u64))?;
        }
        self.header.set_cksum();
        out.write_all(self.header.as_bytes())
    }
}
