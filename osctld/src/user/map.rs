//! Id maps: what the kernel takes, what may be mapped, and which ids of the host they cover.

use std::collections::BTreeMap;

use osctl_api::user::Mapping;

use crate::error::{Error, Result};
use crate::id_range::{HIGHEST_ID, LOWEST_ID, Span, Spans};

/// Most rows of a map that the kernel takes, see user_namespaces(7).
const MAX_ROWS: usize = 340;

/// Both maps of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maps {
    /// Map of user ids.
    pub uid: Vec<Mapping>,
    /// Map of group ids.
    pub gid: Vec<Mapping>,
}

impl Maps {
    /// The map of `span` from 0, for user and group ids.
    pub fn whole(span: Span) -> Maps {
        let map = vec![Mapping {
            ns_id: 0,
            host_id: span.first,
            count: span.last - span.first + 1,
        }];
        Maps {
            uid: map.clone(),
            gid: map,
        }
    }

    /// Checks both maps, wherever they come from.
    ///
    /// # Errors
    /// `InvalidArgument` naming the map and what is wrong with it.
    pub fn check(&self) -> Result<()> {
        check(&self.uid).map_err(|e| e.context("the map of user ids can't be used"))?;
        check(&self.gid).map_err(|e| e.context("the map of group ids can't be used"))
    }

    /// The host's user ids.
    pub fn host_uids(&self) -> Spans {
        Spans::new(self.uid.iter().map(host_span))
    }

    /// The host's group ids.
    pub fn host_gids(&self) -> Spans {
        Spans::new(self.gid.iter().map(host_span))
    }

    /// All spans of host ids, of users and groups.
    pub fn host_spans(&self) -> impl Iterator<Item = Span> {
        self.uid.iter().chain(&self.gid).map(host_span)
    }

    /// Ids that both use for the same kind of id: the first of each such span of `self`.
    pub fn overlap(&self, other: &Maps) -> Option<Overlap> {
        let within = |mine: &[Mapping], theirs: Spans| {
            let mut mine = mine.iter().map(host_span);
            mine.find(|s| theirs.overlap(*s).is_some())
        };
        if let Some(span) = within(&self.uid, other.host_uids()) {
            return Some(Overlap { kind: "user", span });
        }
        let span = within(&self.gid, other.host_gids())?;
        Some(Overlap {
            kind: "group",
            span,
        })
    }
}

/// Which ids are whose, for looking up one map among those of many users, which don't overlap each
/// other.
#[derive(Debug, Default)]
pub struct Owners {
    uids: BTreeMap<u32, (Span, usize)>,
    gids: BTreeMap<u32, (Span, usize)>,
}

impl Owners {
    /// Adds the maps of `owner`.
    pub fn add(&mut self, maps: &Maps, owner: usize) {
        let entry = |m: &Mapping| (m.host_id, (host_span(m), owner));
        self.uids.extend(maps.uid.iter().map(entry));
        self.gids.extend(maps.gid.iter().map(entry));
    }

    /// Where maps overlap with those of another, and who that is.
    pub fn overlap(&self, maps: &Maps) -> Option<(Overlap, usize)> {
        let find = |ids: &BTreeMap<u32, (Span, usize)>, map: &[Mapping], kind| {
            map.iter().map(host_span).find_map(|span| {
                let (taken, owner) = ids.range(..=span.last).next_back()?.1;
                (taken.last >= span.first).then_some((Overlap { kind, span }, *owner))
            })
        };
        find(&self.uids, &maps.uid, "user").or_else(|| find(&self.gids, &maps.gid, "group"))
    }
}

/// Where two users' maps overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// `user` or `group`.
    pub kind: &'static str,
    /// The row of the map that overlaps.
    pub span: Span,
}

impl std::fmt::Display for Overlap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ids {} to {}",
            self.kind, self.span.first, self.span.last
        )
    }
}

/// The host's ids of a row that was checked.
fn host_span(m: &Mapping) -> Span {
    Span {
        first: m.host_id,
        last: m.host_id.saturating_add(m.count.saturating_sub(1)),
    }
}

fn ns_span(m: &Mapping) -> Span {
    Span {
        first: m.ns_id,
        last: m.ns_id.saturating_add(m.count.saturating_sub(1)),
    }
}

fn check(map: &[Mapping]) -> Result<()> {
    if map.is_empty() || map.len() > MAX_ROWS {
        return Err(Error::invalid(format!(
            "it has {} rows, and the kernel takes 1 to {MAX_ROWS}",
            map.len()
        )));
    }
    for m in map {
        let fits = |first: u32| first.checked_add(m.count).is_some();
        if m.count == 0 || !fits(m.ns_id) || !fits(m.host_id) {
            return Err(Error::invalid(format!(
                "row {m} is empty or beyond 32 bits"
            )));
        }
        if m.host_id < LOWEST_ID || host_span(m).last > HIGHEST_ID {
            return Err(Error::invalid(format!(
                "row {m} has ids of the host that are less than {LOWEST_ID}, which belong to the host itself"
            )));
        }
    }
    if !map.iter().any(|m| m.ns_id == 0) {
        return Err(Error::invalid("it has no row for id 0, root"));
    }
    disjoint(map, ns_span, "inside the container")?;
    disjoint(map, host_span, "on the host")
}

fn disjoint(map: &[Mapping], span: fn(&Mapping) -> Span, side: &str) -> Result<()> {
    let mut spans: Vec<Span> = map.iter().map(span).collect();
    spans.sort_unstable();
    match spans.windows(2).find(|w| w[1].first <= w[0].last) {
        Some(w) => Err(Error::invalid(format!(
            "id {} {side} is in two rows",
            w[1].first
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(uid: &[&str], gid: &[&str]) -> Maps {
        let parse = |rows: &[&str]| rows.iter().map(|r| r.parse().unwrap()).collect();
        Maps {
            uid: parse(uid),
            gid: parse(gid),
        }
    }

    #[test]
    fn maps_that_the_kernel_or_the_host_can_not_bear_are_refused() {
        let good = "0:100000:65536";
        assert!(maps(&[good], &[good]).check().is_ok());
        for bad in [
            &[][..],
            &["1:100000:65536"],
            &["0:65535:65536"],
            &["0:0:1"],
            &[good, "65535:300000:2"],
            &[good, "65536:165535:10"],
        ] {
            assert!(maps(bad, &[good]).check().is_err(), "{bad:?}");
            assert!(maps(&[good], bad).check().is_err(), "{bad:?}");
        }
        // A document can hold what the parser of the command line refuses.
        let mut m = maps(&[good], &[good]);
        m.uid[0].count = u32::MAX;
        assert!(m.check().is_err());
        m.uid[0].count = 0;
        assert!(m.check().is_err());
        let many: Vec<Mapping> = (0..341)
            .map(|n| Mapping {
                ns_id: n,
                host_id: 100_000 + n,
                count: 1,
            })
            .collect();
        m.uid = many[..340].to_vec();
        assert!(m.check().is_ok());
        m.uid = many;
        assert!(m.check().is_err());
    }

    #[test]
    fn user_ids_and_group_ids_are_different_things() {
        let a = maps(&["0:100000:65536"], &["0:200000:65536"]);
        let b = maps(&["0:200000:65536"], &["0:100000:65536"]);
        assert_eq!(a.overlap(&b), None);
        let c = maps(&["0:400000:65536"], &["0:265535:65536"]);
        assert_eq!(a.overlap(&c).unwrap().kind, "group");
        assert!(a.overlap(&a).is_some());
        let mut owners = Owners::default();
        owners.add(&b, 7);
        assert!(owners.overlap(&a).is_none());
        owners.add(&a, 8);
        let (overlap, owner) = owners.overlap(&c).unwrap();
        assert_eq!((overlap.kind, owner), ("group", 8));
        assert_eq!(owners.overlap(&b).unwrap().1, 7);
    }
}
