//! Archives made by hand, so that they can be wrong.

use std::io::Write;

use tar::{EntryType, Header};

use crate::image::pax;

#[derive(Default, Clone)]
pub(super) struct Builder {
    pub(super) bytes: Vec<u8>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder::default()
    }

    /// Any header with any name, and data.
    pub(super) fn raw(
        mut self,
        name: &[u8],
        kind: u8,
        data: &[u8],
        change: impl Fn(&mut Header),
    ) -> Builder {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len().min(100)]
            .copy_from_slice(&name[..name.len().min(100)]);
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        change(&mut header);
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.data(data)
    }

    pub(super) fn data(mut self, data: &[u8]) -> Builder {
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, name: &str, data: &[u8]) -> Builder {
        self.raw(name.as_bytes(), b'0', data, |_| {})
    }

    pub(super) fn dir(self, name: &str) -> Builder {
        self.raw(name.as_bytes(), b'5', b"", |h| h.set_mode(0o755))
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Builder {
        self.raw(name.as_bytes(), b'2', b"", |h| {
            h.set_link_name_literal(target).unwrap()
        })
    }

    pub(super) fn hard_link(self, name: &str, target: &str) -> Builder {
        self.raw(name.as_bytes(), b'1', b"", |h| {
            h.set_link_name_literal(target).unwrap()
        })
    }

    pub(super) fn device(self, name: &str, kind: u8, major: u32, minor: u32) -> Builder {
        self.raw(name.as_bytes(), kind, b"", |h| {
            h.set_device_major(major).unwrap();
            h.set_device_minor(minor).unwrap();
        })
    }

    /// An extended header for the next member.
    pub(super) fn pax(self, records: &[(&str, &[u8])]) -> Builder {
        self.extended(b'x', records)
    }

    pub(super) fn extended(self, kind: u8, records: &[(&str, &[u8])]) -> Builder {
        let mut block = Vec::new();
        for (key, value) in records {
            pax::push(&mut block, key.as_bytes(), value);
        }
        self.raw(b"PaxHeaders/x", kind, &block, |_| {})
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }

    /// A usual archive around a root file system.
    pub(super) fn archive(base_name: &str, base: &[u8]) -> Builder {
        Builder::new()
            .file("metadata.yml", b"---\ntype: full\nformat: tar\nuser:\ngroup:\ncontainer: x\ndatasets: []\nexported_at: 1\n")
            .dir("config")
            .file("config/container.yml", b"---\ndistribution: debian\nversion: 12\narch: x86_64\nother: [1]\n")
            .dir("rootfs")
            .file(base_name, base)
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}
