//! The native part of a filter, compiled by seccompiler.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::{
    Error, Machine, link,
    rules::{RULES, Rule, When},
};

type Filter = BTreeMap<i64, Vec<SeccompRule>>;

/// seccompiler's name of a machine.
pub(super) fn target(machine: Machine) -> TargetArch {
    match machine {
        Machine::X86_64 => TargetArch::x86_64,
        Machine::Aarch64 => TargetArch::aarch64,
    }
}

/// The built-in rules. A filter of seccompiler has one answer, so there is one per error number,
/// and what one allows is passed on to the next.
pub(super) fn default(machine: Machine) -> Result<BpfProgram, Error> {
    let mut by_errno = BTreeMap::<u16, Filter>::new();
    for rule in RULES {
        let number = match machine {
            Machine::X86_64 => rule.numbers.x86_64,
            Machine::Aarch64 => rule.numbers.aarch64,
        };
        if let Some(number) = number {
            let conditions = conditions(rule).map_err(Error::Default)?;
            let filter = by_errno.entry(rule.errno).or_default();
            filter.insert(i64::from(number), conditions);
        }
    }
    let compile = |(errno, filter)| {
        let deny = SeccompAction::Errno(u32::from(errno));
        SeccompFilter::new(filter, SeccompAction::Allow, deny, target(machine))?.try_into()
    };
    let programs = by_errno.into_iter().map(compile);
    let programs: Vec<_> = programs.collect::<Result<_, _>>().map_err(Error::Default)?;
    Ok(link::chain(programs))
}

/// The alternatives under which a call is denied; none means always.
fn conditions(rule: &Rule) -> Result<Vec<SeccompRule>, BackendError> {
    let low = SeccompCmpArgLen::Dword;
    let test = |arg, op, value: u32| SeccompCondition::new(arg, low.clone(), op, value.into());
    match rule.when {
        When::Always => Ok(Vec::new()),
        When::Bits(arg, mask) => (0..32)
            .map(|bit| 1 << bit)
            .filter(|bit| mask & bit != 0)
            .map(|bit| test(arg, SeccompCmpOp::MaskedEq(bit.into()), bit))
            .map(|condition| SeccompRule::new(vec![condition?]))
            .collect(),
        When::OneOf(arg, values) => values
            .iter()
            .map(|v| SeccompRule::new(vec![test(arg, SeccompCmpOp::Eq, *v)?]))
            .collect(),
        When::NoneOf(arg, values) => {
            let all = values.iter().map(|v| test(arg, SeccompCmpOp::Ne, *v));
            Ok(vec![SeccompRule::new(all.collect::<Result<_, _>>()?)?])
        }
    }
}
