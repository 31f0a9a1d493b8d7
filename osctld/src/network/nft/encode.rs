//! Statements as the expressions that the kernel knows (`enum nft_*_attributes`).

use super::attr::Attrs;
use super::field::Load;
use super::rule::{Statement, Test, Verdict};

// The first of those of 4 bytes each; longer fields take some of them. There are 16.
const REGISTER: u32 = 8;
const VERDICT_REGISTER: u32 = 0;

const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const CMP_GTE: u32 = 5;
const LOOKUP_INVERTED: u32 = 1;
const FRAGMENT_HEADER: u8 = 44;
const REJECT_ICMPX: u32 = 2;
const REJECT_RESET: u32 = 1;
const ADMIN_PROHIBITED: u8 = 3;
const LOG_INFO: u32 = 6;
const MINUTE: u64 = 60;

/// A set that a rule looks into: by its name, and by its number when it was made in the same batch.
#[derive(Debug, Clone)]
pub(super) struct SetRef<'a> {
    pub(super) name: &'a str,
    pub(super) id: Option<u32>,
}

/// Appends the expressions of `statement`; `own` is the set that was made for a
/// [`Statement::OneOf`].
pub(super) fn statement(out: &mut Attrs, statement: &Statement, own: Option<&SetRef<'_>>) {
    match statement {
        Statement::Compare {
            load: from,
            mask,
            test,
            value,
        } => {
            load(out, *from, value.len());
            if let Some(mask) = mask {
                bitwise(out, mask);
            }
            compare(out, *test, value);
        }
        Statement::OneOf {
            load: from,
            kind,
            test,
            ..
        } => {
            load(out, *from, kind.key_len);
            if let Some(set) = own {
                lookup(out, set, *test, None);
            }
        }
        Statement::InSet { loads, set, test } => {
            // One after another, as the parts of a key are.
            let mut register = REGISTER;
            for (from, len) in loads {
                load_into(out, *from, *len, register);
                register += u32::try_from(len.div_ceil(4)).unwrap_or(4);
            }
            let set = SetRef {
                name: set,
                id: None,
            };
            lookup(out, &set, *test, None);
        }
        Statement::Map {
            load: from,
            len,
            map,
        } => {
            load(out, *from, *len);
            let map = SetRef {
                name: map,
                id: None,
            };
            lookup(out, &map, Test::Is, Some(VERDICT_REGISTER));
        }
        Statement::Counter => expression(out, "counter", |_| ()),
        Statement::Log { prefix, per_minute } => log(out, prefix, *per_minute),
        Statement::Reject => expression(out, "reject", |a| {
            a.u32(1, REJECT_ICMPX).bytes(2, &[ADMIN_PROHIBITED]);
        }),
        Statement::Reset => expression(out, "reject", |a| _ = a.u32(1, REJECT_RESET)),
        Statement::Masquerade => expression(out, "masq", |_| ()),
        Statement::Verdict(what) => expression(out, "immediate", |a| {
            a.u32(1, VERDICT_REGISTER)
                .nested(2, |data| verdict(data, what));
        }),
    }
}

/// A verdict as data (`NFTA_DATA_VERDICT`).
pub(super) fn verdict(out: &mut Attrs, verdict: &Verdict) {
    let (code, chain): (i32, _) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    out.nested(2, |v| {
        v.bytes(1, &code.to_be_bytes());
        if let Some(chain) = chain {
            v.text(2, chain);
        }
    });
}

fn expression(out: &mut Attrs, name: &str, fill: impl FnOnce(&mut Attrs)) {
    out.nested(1, |e| {
        e.text(1, name).nested(2, fill);
    });
}

fn load(out: &mut Attrs, from: Load, len: usize) {
    load_into(out, from, len, REGISTER);
}

fn load_into(out: &mut Attrs, from: Load, len: usize, register: u32) {
    // No field is longer than a register.
    let len = u32::try_from(len).unwrap_or(16);
    match from {
        Load::Meta(key) => expression(out, "meta", |a| _ = a.u32(1, register).u32(2, key)),
        Load::Connection(key) => expression(out, "ct", |a| _ = a.u32(1, register).u32(2, key)),
        Load::Payload { base, offset } => expression(out, "payload", |a| {
            a.u32(1, register).u32(2, base).u32(3, offset).u32(4, len);
        }),
        Load::Fragment { offset } => expression(out, "exthdr", |a| {
            a.u32(1, register)
                .bytes(2, &[FRAGMENT_HEADER])
                .u32(3, offset)
                .u32(4, len);
        }),
    }
}

fn value(out: &mut Attrs, kind: u16, value: &[u8]) {
    out.nested(kind, |d| _ = d.bytes(1, value));
}

fn bitwise(out: &mut Attrs, mask: &[u8]) {
    expression(out, "bitwise", |a| {
        let len = u32::try_from(mask.len()).unwrap_or(16);
        a.u32(1, REGISTER).u32(2, REGISTER).u32(3, len);
        value(a, 4, mask);
        value(a, 5, &vec![0; mask.len()]);
    });
}

fn compare(out: &mut Attrs, test: Test, with: &[u8]) {
    let operation = match test {
        Test::Is => CMP_EQ,
        Test::IsNot => CMP_NEQ,
        Test::AtLeast => CMP_GTE,
    };
    expression(out, "cmp", |a| {
        a.u32(1, REGISTER).u32(2, operation);
        value(a, 3, with);
    });
}

fn lookup(out: &mut Attrs, set: &SetRef<'_>, test: Test, into: Option<u32>) {
    expression(out, "lookup", |a| {
        a.text(1, set.name).u32(2, REGISTER);
        if let Some(register) = into {
            a.u32(3, register);
        }
        if let Some(id) = set.id {
            a.u32(4, id);
        }
        if test == Test::IsNot {
            a.u32(5, LOOKUP_INVERTED);
        }
    });
}

// A rule fits no more once the limit is reached, so this must be a rule of its own.
fn log(out: &mut Attrs, prefix: &str, per_minute: u32) {
    expression(out, "limit", |a| {
        a.u64(1, per_minute.into())
            .u64(2, MINUTE)
            .u32(3, per_minute)
            .u32(4, 0)
            .u32(5, 0);
    });
    expression(out, "log", |a| _ = a.text(2, prefix).u32(5, LOG_INFO));
}
