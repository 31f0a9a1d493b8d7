//! A transaction: messages that the kernel carries out all together or not at all.

use nix::errno::Errno;
use osctl_api::net::IfName;

use super::Table;
use super::attr::Attrs;
use super::encode::{self, SetRef};
use super::error::{ADD_RULE, Error};
use super::message::{element, in_table, interface_element, message_header, of, set, user_comment};
use super::rule::{Rule, Statement, Verdict};
use super::set::{Kind, Range};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const DELETE_SET: u16 = 11;
const NEW_ELEMENTS: u16 = 12;
const DELETE_ELEMENTS: u16 = 14;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const TABLE_OWNER: u32 = 2;
const TABLE_PERSIST: u32 = 4;

const SET_ANONYMOUS: u32 = 1;
const SET_CONSTANT: u32 = 2;

// An attribute holds 64 KiB; an element with a verdict takes less than 100 bytes.
const ELEMENTS_OF_A_MESSAGE: usize = 400;

/// Whether nobody else may change a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Only the socket that made it may change it; it stays when the socket is closed, and can be
    /// taken over then (Linux 6.9).
    Owned,
    /// Everybody may change it.
    None,
}

/// What a chain at a hook is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// Filtering.
    Filter,
    /// Translating addresses.
    Nat,
}

/// Where packets come into a chain by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// What it is for.
    pub kind: HookKind,
    /// The hook's number: `NF_INET_*`, `NF_BR_*`, `NF_ARP_*`.
    pub number: u32,
    /// Its place among others, lowest first.
    pub priority: i32,
}

/// Messages of one transaction, in their order.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    // What each message does, for errors; the first belongs to sequence number 1.
    steps: Vec<String>,
    sets: u32,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}

impl Batch {
    /// A batch that does nothing.
    pub fn new() -> Batch {
        let mut batch = Batch {
            bytes: Vec::with_capacity(4096),
            steps: Vec::new(),
            sets: 0,
        };
        batch.message(BATCH_BEGIN, REQUEST, 0, SUBSYSTEM, &[]);
        batch
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Makes the table, or takes it over.
    pub fn table(&mut self, table: &Table, protection: Protection) {
        let mut attrs = Attrs::new();
        attrs.text(1, &table.name);
        let flags = match protection {
            Protection::Owned => TABLE_OWNER | TABLE_PERSIST,
            Protection::None => 0,
        };
        attrs.u32(2, flags);
        self.step(
            NEW_TABLE,
            CREATE,
            table,
            &attrs,
            format!("make table {table}"),
        );
    }

    /// Deletes the table and all that is in it.
    pub fn delete_table(&mut self, table: &Table) {
        let mut attrs = Attrs::new();
        attrs.text(1, &table.name);
        self.step(
            DELETE_TABLE,
            0,
            table,
            &attrs,
            format!("delete table {table}"),
        );
    }

    /// Makes a chain that is jumped to, unless it is there.
    pub fn chain(&mut self, table: &Table, name: &str) {
        let attrs = in_table(table, 3, name);
        self.step(
            NEW_CHAIN,
            CREATE,
            table,
            &attrs,
            of("make chain", name, table),
        );
    }

    /// Makes a chain at a hook, unless it is there; what comes to its end is accepted.
    pub fn base_chain(&mut self, table: &Table, name: &str, hook: &Hook) {
        let mut attrs = in_table(table, 3, name);
        attrs.nested(4, |h| {
            h.u32(1, hook.number).bytes(2, &hook.priority.to_be_bytes());
        });
        attrs.text(
            7,
            match hook.kind {
                HookKind::Filter => "filter",
                HookKind::Nat => "nat",
            },
        );
        self.step(
            NEW_CHAIN,
            CREATE,
            table,
            &attrs,
            of("make chain", name, table),
        );
    }

    /// Deletes all rules of a chain.
    pub fn flush_chain(&mut self, table: &Table, name: &str) {
        let attrs = in_table(table, 2, name);
        self.step(
            DELETE_RULE,
            0,
            table,
            &attrs,
            of("empty chain", name, table),
        );
    }

    /// Deletes a chain and its rules; nothing may jump to it any more.
    pub fn delete_chain(&mut self, table: &Table, name: &str) {
        let attrs = in_table(table, 3, name);
        self.step(
            DELETE_CHAIN,
            0,
            table,
            &attrs,
            of("delete chain", name, table),
        );
    }

    /// Appends rules to a chain.
    pub fn rules(&mut self, table: &Table, chain: &str, rules: &[Rule]) {
        for rule in rules {
            self.rule(table, chain, rule);
        }
    }

    /// Makes a set or a map, unless it is there.
    pub fn set(&mut self, table: &Table, name: &str, kind: Kind) {
        self.make_set(table, name, kind, 0);
    }

    /// Deletes a set or a map; no rule may use it any more.
    pub fn delete_set(&mut self, table: &Table, name: &str) {
        let attrs = in_table(table, 2, name);
        self.step(DELETE_SET, 0, table, &attrs, of("delete set", name, table));
    }

    /// Deletes all elements of a set or a map.
    pub fn flush_set(&mut self, table: &Table, name: &str) {
        let attrs = in_table(table, 2, name);
        self.step(
            DELETE_ELEMENTS,
            0,
            table,
            &attrs,
            of("empty set", name, table),
        );
    }

    /// Adds ranges to a set of that kind; they must not overlap.
    pub fn add_ranges(&mut self, table: &Table, set: &str, kind: Kind, ranges: &[Range]) {
        self.elements(
            NEW_ELEMENTS,
            table,
            &SetRef {
                name: set,
                id: None,
            },
            kind,
            ranges,
        );
    }

    /// Deletes ranges from a set of that kind, as they were added.
    pub fn delete_ranges(&mut self, table: &Table, set: &str, kind: Kind, ranges: &[Range]) {
        self.elements(
            DELETE_ELEMENTS,
            table,
            &SetRef {
                name: set,
                id: None,
            },
            kind,
            ranges,
        );
    }

    /// Adds an interface to a set, or to a map with what becomes of its packets.
    pub fn add_interface(&mut self, table: &Table, set: &str, name: &IfName, to: Option<&Verdict>) {
        let attrs = interface_element(table, set, name, to);
        let step = format!("add {name} to set {set} of table {table}");
        self.step(NEW_ELEMENTS, CREATE, table, &attrs, step);
    }

    /// Deletes an interface from a set or a map.
    pub fn delete_interface(&mut self, table: &Table, set: &str, name: &IfName) {
        let attrs = interface_element(table, set, name, None);
        let step = format!("delete {name} from set {set} of table {table}");
        self.step(DELETE_ELEMENTS, 0, table, &attrs, step);
    }

    /// Its bytes, complete, and the sequence number whose confirmation means that all of it was
    /// done.
    pub(super) fn finish(&mut self) -> (&[u8], u32) {
        let last = self.sequence() - 1;
        // The flags of the last message; the marks of begin and end are not confirmed everywhere.
        let mut at = 0;
        let mut start = 0;
        while let Some(len) = self.bytes.get(at..at + 4) {
            start = at;
            at += u32::from_ne_bytes([len[0], len[1], len[2], len[3]]) as usize;
        }
        let flags = u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]]) | ACK;
        self.bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
        self.message(BATCH_END, REQUEST, 0, SUBSYSTEM, &[]);
        (&self.bytes, last)
    }

    /// The error that the kernel answered to the message of that sequence number.
    pub(super) fn refused(&self, sequence: u32, errno: Errno) -> Error {
        let step = (sequence as usize)
            .checked_sub(1)
            .and_then(|at| self.steps.get(at))
            .map_or("change nf_tables", String::as_str);
        Error::Refused {
            step: step.to_owned(),
            errno,
        }
    }

    fn rule(&mut self, table: &Table, chain: &str, rule: &Rule) {
        let mut own = Vec::new();
        for statement in &rule.statements {
            if let Statement::OneOf { kind, ranges, .. } = statement {
                own.push(self.own_set(table, *kind, ranges));
            }
        }
        let mut own = own.into_iter();
        let mut attrs = in_table(table, 2, chain);
        attrs.nested(4, |list| {
            for statement in &rule.statements {
                let id = match statement {
                    Statement::OneOf { .. } => own.next(),
                    _ => None,
                };
                let set = id.map(|id| SetRef {
                    name: OWN_SET,
                    id: Some(id),
                });
                encode::statement(list, statement, set.as_ref());
            }
        });
        if let Some(comment) = &rule.comment {
            attrs.bytes(7, &user_comment(comment));
        }
        let step = of(ADD_RULE, chain, table);
        self.step(NEW_RULE, CREATE | APPEND, table, &attrs, step);
    }

    fn own_set(&mut self, table: &Table, kind: Kind, ranges: &[Range]) -> u32 {
        let id = self.make_set(table, OWN_SET, kind, SET_ANONYMOUS | SET_CONSTANT);
        let set = SetRef {
            name: OWN_SET,
            id: Some(id),
        };
        self.elements(NEW_ELEMENTS, table, &set, kind, ranges);
        id
    }

    fn make_set(&mut self, table: &Table, name: &str, kind: Kind, flags: u32) -> u32 {
        self.sets += 1;
        let attrs = set(table, name, kind, flags, self.sets);
        self.step(NEW_SET, CREATE, table, &attrs, of("make set", name, table));
        self.sets
    }

    fn elements(
        &mut self,
        what: u16,
        table: &Table,
        set: &SetRef<'_>,
        kind: Kind,
        ranges: &[Range],
    ) {
        for some in ranges.chunks(ELEMENTS_OF_A_MESSAGE) {
            let mut attrs = in_table(table, 2, set.name);
            if let Some(id) = set.id {
                attrs.u32(4, id);
            }
            attrs.nested(3, |list| {
                for range in some {
                    element(list, kind, range);
                }
            });
            let flags = if what == NEW_ELEMENTS { CREATE } else { 0 };
            let step = of("change set", set.name, table);
            self.step(what, flags, table, &attrs, step);
        }
    }

    fn step(&mut self, what: u16, flags: u16, table: &Table, attrs: &Attrs, step: String) {
        self.steps.push(step);
        let kind = SUBSYSTEM << 8 | what;
        self.message(
            kind,
            REQUEST | flags,
            table.family.number(),
            0,
            attrs.as_slice(),
        );
    }

    fn sequence(&self) -> u32 {
        // Steps are counted from 1: the beginning has 0.
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX - 1) + 1
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attrs: &[u8]) {
        let sequence = match kind {
            BATCH_BEGIN => 0,
            BATCH_END => self.sequence(),
            _ => self.sequence() - 1,
        };
        let header = message_header(kind, flags, sequence, family, resource, attrs.len());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(attrs);
    }
}

// The kernel replaces %d by a number; the set is found by its number in the batch.
const OWN_SET: &str = "__set%d";
