//! A rule as data: conditions on fields, then what is done.
//!
//! Every condition loads its fields anew, from the first register on, so there is no register to keep
//! track of.

use super::field::{Field, Load, Value};
use super::set::{Kind, Range};

/// What becomes of a packet, for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes this hook's chain.
    Accept,
    /// It ends here.
    Drop,
    /// Back to where this chain was jumped to from.
    Return,
    /// On in that chain, then here again.
    Jump(String),
    /// On in that chain, then where this one would return to.
    Goto(String),
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// It is so.
    Is,
    /// It is not so.
    IsNot,
    /// It is that or, byte by byte, above it.
    AtLeast,
}

/// One part of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// A field, its bits outside `mask` cleared, compared with a value.
    Compare {
        /// The field.
        load: Load,
        /// Which bits count; all when absent.
        mask: Option<Vec<u8>>,
        /// How.
        test: Test,
        /// With what.
        value: Vec<u8>,
    },
    /// A field that is, or is not, in a set of the rule's own.
    OneOf {
        /// The field.
        load: Load,
        /// Of what the set is.
        kind: Kind,
        /// What is in it.
        ranges: Vec<Range>,
        /// Whether it must be in it.
        test: Test,
    },
    /// A field, or some together, that are, or are not, in a named set.
    InSet {
        /// The fields and their lengths.
        loads: Vec<(Load, usize)>,
        /// The set.
        set: String,
        /// Whether it must be in it.
        test: Test,
    },
    /// The verdict that a map has for a field; when it has none, the rule does not fit.
    Map {
        /// The field.
        load: Load,
        /// Its length.
        len: usize,
        /// The map.
        map: String,
    },
    /// Counts packets and bytes.
    Counter,
    /// A line in the kernel's log, so many a minute at most.
    Log {
        /// How it begins.
        prefix: String,
        /// How many a minute.
        per_minute: u32,
    },
    /// The sender is told that this is prohibited, and the packet ends.
    Reject,
    /// The sender's TCP connection is reset, and the packet ends.
    Reset,
    /// The source becomes an address of the interface that it leaves by.
    Masquerade,
    /// What becomes of it.
    Verdict(Verdict),
}

/// A rule: when all conditions hold, its statements are carried out, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub(super) statements: Vec<Statement>,
    pub(super) comment: Option<String>,
}

impl Rule {
    /// A rule that fits every packet and does nothing.
    pub fn new() -> Rule {
        Rule::default()
    }

    /// Its parts.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// What people see beside it in `nft list ruleset`, at most 30 letters.
    #[must_use]
    pub fn comment(mut self, text: &str) -> Rule {
        self.comment = Some(text.chars().take(30).collect());
        self
    }

    /// Fits when the field is `value`.
    #[must_use]
    pub fn is<T: Value>(self, field: Field<T>, value: T) -> Rule {
        self.compare(field, Test::Is, &value)
    }

    /// Fits when the field is something else than `value`.
    #[must_use]
    pub fn is_not<T: Value>(self, field: Field<T>, value: T) -> Rule {
        self.compare(field, Test::IsNot, &value)
    }

    /// Fits when the packet has the field, whatever is in it.
    #[must_use]
    pub fn has<T: Value>(self, field: Field<T>) -> Rule {
        self.push(Statement::Compare {
            load: field.load,
            mask: None,
            test: Test::AtLeast,
            value: vec![0; T::LEN],
        })
    }

    /// Fits when the bits of `mask` in the field are `value`.
    #[must_use]
    pub fn bits_are<T: Value>(self, field: Field<T>, mask: T, value: T) -> Rule {
        self.bits(field, Test::Is, &mask, &value)
    }

    /// Fits when the bits of `mask` in the field are something else than `value`.
    #[must_use]
    pub fn bits_are_not<T: Value>(self, field: Field<T>, mask: T, value: T) -> Rule {
        self.bits(field, Test::IsNot, &mask, &value)
    }

    /// Fits when the field is in one of `ranges`: of one value it is a comparison, of more a set of
    /// the rule's own.
    #[must_use]
    pub fn one_of<T: Value>(self, field: Field<T>, ranges: Vec<Range>) -> Rule {
        match ranges.as_slice() {
            [one] if one.is_single() => {
                let value = one.first().to_vec();
                self.push(Statement::Compare {
                    load: field.load,
                    mask: None,
                    test: Test::Is,
                    value,
                })
            }
            _ => self.push(Statement::OneOf {
                load: field.load,
                kind: Kind::intervals::<T>(),
                ranges,
                test: Test::Is,
            }),
        }
    }

    /// Fits when the field is in none of `ranges`, of which there is at least one.
    #[must_use]
    pub fn none_of<T: Value>(self, field: Field<T>, ranges: Vec<Range>) -> Rule {
        self.push(Statement::OneOf {
            load: field.load,
            kind: Kind::intervals::<T>(),
            ranges,
            test: Test::IsNot,
        })
    }

    /// Fits when the field is in the named set.
    #[must_use]
    pub fn is_in<T: Value>(self, field: Field<T>, set: &str) -> Rule {
        self.in_set(field, set, Test::Is)
    }

    /// Fits when the field is not in the named set.
    #[must_use]
    pub fn is_not_in<T: Value>(self, field: Field<T>, set: &str) -> Rule {
        self.in_set(field, set, Test::IsNot)
    }

    /// Fits when both fields are in the named set together.
    #[must_use]
    pub fn are_in<A: Value, B: Value>(self, fields: (Field<A>, Field<B>), set: &str) -> Rule {
        self.pair_in_set(fields, set, Test::Is)
    }

    /// Fits when both fields are not in the named set together.
    #[must_use]
    pub fn are_not_in<A: Value, B: Value>(self, fields: (Field<A>, Field<B>), set: &str) -> Rule {
        self.pair_in_set(fields, set, Test::IsNot)
    }

    /// Does what the named map says about the field.
    #[must_use]
    pub fn map<T: Value>(self, field: Field<T>, map: &str) -> Rule {
        self.push(Statement::Map {
            load: field.load,
            len: T::LEN,
            map: map.to_owned(),
        })
    }

    /// Counts.
    #[must_use]
    pub fn counter(self) -> Rule {
        self.push(Statement::Counter)
    }

    /// Does one more thing.
    #[must_use]
    pub fn then(self, statement: Statement) -> Rule {
        self.push(statement)
    }

    /// Lets it pass.
    #[must_use]
    pub fn accept(self) -> Rule {
        self.verdict(Verdict::Accept)
    }

    /// Ends it.
    #[must_use]
    pub fn drop(self) -> Rule {
        self.verdict(Verdict::Drop)
    }

    /// Returns to the chain above.
    #[must_use]
    pub fn back(self) -> Rule {
        self.verdict(Verdict::Return)
    }

    /// Goes through `chain` and comes back.
    #[must_use]
    pub fn jump(self, chain: &str) -> Rule {
        self.verdict(Verdict::Jump(chain.to_owned()))
    }

    /// Goes on in `chain`.
    #[must_use]
    pub fn goto(self, chain: &str) -> Rule {
        self.verdict(Verdict::Goto(chain.to_owned()))
    }

    /// With that verdict.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Rule {
        self.push(Statement::Verdict(verdict))
    }

    fn push(mut self, statement: Statement) -> Rule {
        self.statements.push(statement);
        self
    }

    fn compare<T: Value>(self, field: Field<T>, test: Test, value: &T) -> Rule {
        self.push(Statement::Compare {
            load: field.load,
            mask: None,
            test,
            value: value.octets(),
        })
    }

    fn bits<T: Value>(self, field: Field<T>, test: Test, mask: &T, value: &T) -> Rule {
        self.push(Statement::Compare {
            load: field.load,
            mask: Some(mask.octets()),
            test,
            value: value.octets(),
        })
    }

    fn in_set<T: Value>(self, field: Field<T>, set: &str, test: Test) -> Rule {
        self.push(Statement::InSet {
            loads: vec![(field.load, T::LEN)],
            set: set.to_owned(),
            test,
        })
    }

    fn pair_in_set<A: Value, B: Value>(
        self,
        (a, b): (Field<A>, Field<B>),
        set: &str,
        test: Test,
    ) -> Rule {
        self.push(Statement::InSet {
            loads: vec![(a.load, A::LEN), (b.load, B::LEN)],
            set: set.to_owned(),
            test,
        })
    }
}
