//! What a schedule of snapshots wants at a moment. Pure.
//!
//! Time is cut into slots: hours, days, weeks from Monday on, months, all of UTC. Of each slot one
//! snapshot is wanted, and it is due until there is one: so what was missed is made up for once.
//! What was made under a clock that was wrong is neither of this slot nor the reason to make none.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Unit, Zoned};
use osctl_api::snapshot::{Keep, Period};

use crate::storage::Snapshot;

/// The slot that a moment is in: its first second and that of the next one.
pub(super) fn slot(period: Period, now: i64) -> Option<(i64, i64)> {
    let now = Timestamp::from_second(now).ok()?.to_zoned(TimeZone::UTC);
    let begin = match period {
        Period::Hourly => now.round(floor(Unit::Hour)).ok()?,
        _ => now.start_of_day().ok()?,
    };
    let begin: Zoned = match period {
        Period::Hourly | Period::Daily => begin,
        Period::Weekly => {
            let days = begin.weekday().to_monday_zero_offset();
            begin.checked_sub(Span::new().days(days)).ok()?
        }
        Period::Monthly => begin.first_of_month().ok()?,
    };
    let length = match period {
        Period::Hourly => Span::new().hours(1),
        Period::Daily => Span::new().days(1),
        Period::Weekly => Span::new().days(7),
        Period::Monthly => Span::new().months(1),
    };
    let end = begin.checked_add(length).ok()?;
    Some((begin.timestamp().as_second(), end.timestamp().as_second()))
}

fn floor(unit: Unit) -> jiff::ZonedRound {
    jiff::ZonedRound::new()
        .smallest(unit)
        .mode(jiff::RoundMode::Floor)
}

/// What is to be done at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Todo {
    /// Periods that a snapshot is to be made for.
    pub(super) make: Vec<Period>,
    /// Names of snapshots that are to be destroyed, once those are made.
    pub(super) destroy: Vec<String>,
}

/// What a schedule wants at a moment, of all snapshots of a container.
pub(super) fn todo(keep: &Keep, snapshots: &[Snapshot], now: i64) -> Todo {
    let mut todo = Todo {
        make: Vec::new(),
        destroy: Vec::new(),
    };
    for (period, count) in keep.parts() {
        let mut of_period = of(period, snapshots);
        of_period.sort_by_key(|s| std::cmp::Reverse(s.order));
        let is_due = count > 0
            && slot(period, now).is_some_and(|(begin, end)| {
                let mut made = of_period.iter().map(|s| s.created as i64);
                !made.any(|made| (begin..end).contains(&made))
            });
        if is_due {
            todo.make.push(period);
        }
        let stay = (count as usize).saturating_sub(usize::from(is_due));
        let expired = of_period.iter().skip(stay);
        todo.destroy.extend(expired.map(|s| s.name.clone()));
    }
    todo
}

/// When something is due next, after a moment.
pub(super) fn next(keep: &Keep, now: i64) -> Option<i64> {
    let wanted = keep.parts().filter(|(_, count)| *count > 0);
    wanted
        .filter_map(|(period, _)| Some(slot(period, now)?.1))
        .min()
}

/// When the schedule destroys a snapshot that it has made, when it goes on as it is.
pub(super) fn expires(
    keep: &Keep,
    snapshots: &[Snapshot],
    which: &Snapshot,
    now: i64,
) -> Option<i64> {
    let period = period_of(which)?;
    let count = keep.count(period)?;
    let newer = of(period, snapshots)
        .iter()
        .filter(|s| s.order > which.order)
        .count();
    // One goes with each slot that begins, and it is its turn after those that are older.
    let slots = (count as usize).saturating_sub(newer).max(1);
    let mut at = now;
    for _ in 0..slots {
        at = slot(period, at)?.1;
    }
    Some(at)
}

/// A moment as the name of a snapshot.
pub(super) fn time(now: i64) -> String {
    Timestamp::from_second(now).unwrap_or_default().to_string()
}

/// The name of what a schedule makes at a moment.
pub(super) fn name(period: Period, now: i64) -> String {
    format!("{period}-{}", time(now))
}

fn period_of(snapshot: &Snapshot) -> Option<Period> {
    let named = snapshot.schedule.as_deref()?;
    Period::ALL.into_iter().find(|p| p.as_str() == named)
}

fn of(period: Period, snapshots: &[Snapshot]) -> Vec<&Snapshot> {
    let of_period = snapshots.iter().filter(|s| period_of(s) == Some(period));
    of_period.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    fn snapshot(order: u64, created: i64, schedule: Option<Period>) -> Snapshot {
        Snapshot {
            name: schedule.map_or_else(|| format!("own-{order}"), |p| format!("{p}-{order}")),
            order,
            created: created as u64,
            used: 0,
            referenced: 0,
            schedule: schedule.map(|p| p.to_string()),
            clones: Vec::new(),
            mounted: None,
        }
    }

    #[test]
    fn slots() {
        let now = at("2026-11-21T12:34:56Z");
        for (period, begin, end) in [
            (
                Period::Hourly,
                "2026-11-21T12:00:00Z",
                "2026-11-21T13:00:00Z",
            ),
            (
                Period::Daily,
                "2026-11-21T00:00:00Z",
                "2026-11-22T00:00:00Z",
            ),
            (
                Period::Weekly,
                "2026-11-16T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                Period::Monthly,
                "2026-11-01T00:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
        ] {
            assert_eq!(slot(period, now), Some((at(begin), at(end))), "{period}");
            // Its first second is in it, that of the next is not.
            assert_eq!(slot(period, at(begin)), Some((at(begin), at(end))));
            assert_eq!(slot(period, at(end)).unwrap().0, at(end));
        }
        assert_eq!(slot(Period::Hourly, i64::MAX), None);
    }

    #[test]
    fn what_was_missed_is_made_up_for_once() {
        let keep = "hourly=2,daily=1".parse().unwrap();
        let now = at("2026-11-21T12:34:56Z");
        let none = todo(&keep, &[], now);
        assert_eq!(none.make, [Period::Hourly, Period::Daily]);
        let old = [
            snapshot(1, at("2026-11-20T07:00:00Z"), Some(Period::Hourly)),
            snapshot(2, at("2026-11-20T08:00:00Z"), Some(Period::Hourly)),
            snapshot(3, at("2026-11-21T00:00:00Z"), Some(Period::Daily)),
            snapshot(4, at("2026-11-21T12:00:00Z"), None),
        ];
        let late = todo(&keep, &old, now);
        assert_eq!(late.make, [Period::Hourly]);
        assert_eq!(late.destroy, ["hourly-1"]);
        assert_eq!(next(&keep, now), Some(at("2026-11-21T13:00:00Z")));
        assert_eq!(
            next(&"daily=1,hourly=0".parse().unwrap(), now),
            Some(at("2026-11-22T00:00:00Z"))
        );
        assert_eq!(name(Period::Daily, now), "daily-2026-11-21T12:34:56Z");
    }

    #[test]
    fn a_clock_that_was_wrong_stops_nothing() {
        let keep = "hourly=24".parse().unwrap();
        let future = [snapshot(
            9,
            at("2030-01-01T00:00:00Z"),
            Some(Period::Hourly),
        )];
        assert_eq!(
            todo(&keep, &future, at("2026-11-21T12:00:00Z")).make,
            [Period::Hourly]
        );
    }

    #[test]
    fn none_are_kept_of_what_is_not_wanted_any_more() {
        let all = [
            snapshot(1, 0, Some(Period::Hourly)),
            snapshot(2, 0, Some(Period::Daily)),
            snapshot(3, 0, None),
        ];
        let found = todo(&"hourly=0".parse().unwrap(), &all, 10);
        assert_eq!(
            (found.make, found.destroy),
            (vec![], vec!["hourly-1".to_owned()])
        );
    }

    #[test]
    fn when_they_expire() {
        let keep = "hourly=2".parse().unwrap();
        let now = at("2026-11-21T12:34:56Z");
        let all = [
            snapshot(1, at("2026-11-21T11:00:00Z"), Some(Period::Hourly)),
            snapshot(2, at("2026-11-21T12:00:00Z"), Some(Period::Hourly)),
            snapshot(3, now, None),
        ];
        assert_eq!(
            expires(&keep, &all, &all[0], now),
            Some(at("2026-11-21T13:00:00Z"))
        );
        assert_eq!(
            expires(&keep, &all, &all[1], now),
            Some(at("2026-11-21T14:00:00Z"))
        );
        assert_eq!(expires(&keep, &all, &all[2], now), None);
    }

    proptest! {
        /// However the clock jumps and whatever users do: users' own stay, each period has at most
        /// as many as it keeps, what is made is the last to go, and nothing is made twice.
        #[test]
        fn schedules_keep_their_promises(
            hourly in 0u32..6, daily in 0u32..4, monthly in 0u32..3,
            steps in prop::collection::vec((-40_000i64..400_000, any::<bool>()), 1..60),
        ) {
            let keep: Keep = format!("hourly={hourly},daily={daily},monthly={monthly}").parse().unwrap();
            let mut all: Vec<Snapshot> = Vec::new();
            let (mut now, mut order, mut users) = (at("2026-01-30T22:10:00Z"), 0, 0);
            for (step, by_user) in steps {
                now += step;
                if by_user {
                    order += 1;
                    users += 1;
                    all.push(snapshot(order, now, None));
                }
                let wanted = todo(&keep, &all, now);
                for period in &wanted.make {
                    order += 1;
                    all.push(snapshot(order, now, Some(*period)));
                }
                let before = all.clone();
                all.retain(|s| !wanted.destroy.contains(&s.name));
                prop_assert_eq!(all.iter().filter(|s| s.schedule.is_none()).count(), users);
                for (period, count) in keep.parts() {
                    let kept = of(period, &all);
                    prop_assert!(kept.len() <= count as usize);
                    // None that is gone is newer than one that is there.
                    let oldest = kept.iter().map(|s| s.order).min();
                    let gone = of(period, &before).into_iter().filter(|s| !all.contains(s));
                    prop_assert!(gone.map(|s| s.order).max() < oldest || oldest.is_none());
                    let here = slot(period, now).unwrap();
                    let made = kept.iter().any(|s| (here.0..here.1).contains(&(s.created as i64)));
                    prop_assert!(made || count == 0);
                }
                let again = todo(&keep, &all, now);
                prop_assert!(again.make.is_empty() && again.destroy.is_empty(), "{again:?}");
                prop_assert!(next(&keep, now).is_none_or(|t| t > now && t <= now + 32 * 86_400));
            }
        }
    }
}
