//! Filters while they change: nothing leaks, nothing is left, others can't take them away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::bridged::{OWN4, VICTIM4, attacker, lab};
use super::frames::{ipv4, udp};
use super::*;
use crate::network::filter::{Filtered, Others};
use crate::network::firewall::{Firewall, Verdict};
use crate::network::nft::{Batch, Family, Foreign, Monitor, Protection, Socket, Table};

fn alone(wanted: &Wanted) -> Vec<Filtered> {
    vec![Filtered {
        wanted: wanted.clone(),
        firewall: None,
    }]
}

fn many(count: usize) -> Vec<Wanted> {
    (0..count)
        .map(|n| {
            let ip = format!("10.6.{}.{}/16", n / 200, n % 200 + 1);
            let ip6 = format!("fd00:6::{:x}/64", n + 1);
            bridged(&format!("c{n}"), &[&ip, &ip6])
        })
        .collect()
}

// How often each kind of frame was heard until `done`, and a while after.
fn count(wire: &Wire, kinds: [&[u8]; 2], done: &AtomicBool) -> [usize; 2] {
    let mut heard = [0, 0];
    loop {
        let finished = done.load(Ordering::Acquire);
        while let Some(frame) = wire.hear(Duration::from_millis(100)) {
            for (count, kind) in heard.iter_mut().zip(kinds) {
                *count += usize::from(frame == kind);
            }
        }
        if finished {
            return heard;
        }
    }
}

#[test]
fn nothing_leaks_while_filters_change() {
    on_a_host(|| {
        let wanted = attacker(false);
        let mut other = wanted.clone();
        other.addresses.push("10.5.0.44/24".parse().unwrap());
        let neighbours = many(3);
        let mut filters = Filters::open("test").unwrap();
        filters.add(&wanted, None).unwrap();
        let lab = lab(&wanted);
        let spoofed = lab.ip(&ipv4(VICTIM4, OWN4, 17, &udp(1, 9, b"spoofed")));
        let good = lab.ip(&ipv4(OWN4, VICTIM4, 17, &udp(1, 9, b"good")));
        let (done, heard) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let blaster = scope.spawn(|| {
                let mut sent = 0;
                while !done.load(Ordering::Acquire) {
                    lab.attacker.send(&spoofed);
                    lab.attacker.send(&spoofed);
                    lab.attacker.send(&good);
                    sent += 1;
                    // No more at once than the listener's buffer takes.
                    if sent % 16 == 0 {
                        std::thread::park_timeout(Duration::from_micros(500));
                    }
                }
                sent
            });
            let listener = scope.spawn(|| count(&lab.victim, [&spoofed, &good], &heard));
            for round in 0..40 {
                filters.add(&other, None).unwrap();
                filters.add(&neighbours[round % 3], None).unwrap();
                filters.add(&wanted, None).unwrap();
                filters.remove(&neighbours[round % 3].host_name).unwrap();
                filters.rebuild(Others::Go, || alone(&other)).unwrap();
                // Another daemon takes over.
                drop(filters);
                filters = Filters::open("test").unwrap();
                filters.rebuild(Others::Go, || alone(&wanted)).unwrap();
                filters.restore().unwrap();
            }
            done.store(true, Ordering::Release);
            let sent = blaster.join().unwrap();
            heard.store(true, Ordering::Release);
            let [leaked, passed] = listener.join().unwrap();
            assert_eq!(leaked, 0, "of {sent} spoofed ones");
            // On a busy machine the listener's buffer overflows.
            assert!(passed * 10 > sent * 9, "{passed} of {sent} good ones");
        });
    });
}

#[test]
fn what_a_daemon_before_left_is_cleared() {
    on_a_host(|| {
        let all = many(3);
        let filters = Filters::open("test").unwrap();
        for one in &all {
            filters.add(one, None).unwrap();
        }
        let gone = routed("gone", &["192.0.2.5/32"]);
        filters.add(&gone, None).unwrap();
        filters
            .set("office", &["192.0.2.0/24".parse().unwrap()])
            .unwrap();
        drop(filters);
        let filters = Filters::open("test").unwrap();
        filters.rebuild(Others::Go, || alone(&all[1])).unwrap();
        assert_eq!(filters.names(), [all[1].host_name.clone()]);
        let fresh = ruleset().unwrap_or_default();
        for other in [&all[0], &all[2], &gone] {
            assert!(!fresh.contains(other.host_name.as_str()), "{fresh}");
        }
        assert!(
            !fresh.contains("office") && !fresh.contains("table inet"),
            "{fresh}"
        );
        // The same as one that was never anything else.
        drop(filters);
        let filters = Filters::open("test").unwrap();
        filters.rebuild(Others::Go, Vec::new).unwrap();
        assert_eq!(ruleset().unwrap_or_default(), "");
        filters.add(&all[1], None).unwrap();
        assert_eq!(ruleset().unwrap_or_default(), fresh);
    });
}

#[test]
fn what_comes_while_all_is_made_anew_is_not_lost() {
    on_a_host(|| {
        let all = many(2);
        let filters = Filters::open("test").unwrap();
        std::thread::scope(|scope| {
            let mut adding = None;
            let (filters, other) = (&filters, &all[1]);
            filters
                .rebuild(Others::Go, || {
                    adding = Some(scope.spawn(|| filters.add(other, None).unwrap()));
                    alone(&all[0])
                })
                .unwrap();
            adding.unwrap().join().unwrap();
        });
        assert_eq!(filters.names().len(), 2);
        let Some(ruleset) = ruleset() else { return };
        for one in &all {
            assert!(ruleset.contains(one.host_name.as_str()), "{ruleset}");
        }
    });
}

#[test]
fn others_can_not_flush_them_or_it_is_noticed() {
    on_a_host(|| {
        let web1 = bridged("web1", &["10.5.0.2/24"]);
        let filters = Filters::open("test").unwrap();
        filters.add(&web1, None).unwrap();
        let Some(before) = ruleset() else { return };
        let flushed = Command::new("nft").args(["flush", "ruleset"]).status();
        assert!(flushed.unwrap().success());
        let after = ruleset().unwrap();
        println!("tables survive: {}", before == after);
        filters.restore().unwrap();
        assert_eq!(ruleset().unwrap(), before);
    });
}

#[test]
fn a_table_that_is_gone_is_made_again_by_the_next_change() {
    on_a_host(|| {
        let all = many(3);
        // A table of somebody else's that nobody owns, with nothing of ours in it.
        let mut socket = Socket::open().unwrap();
        let table = Table::new(Family::Bridge, "test");
        let mut batch = Batch::new();
        batch.table(&table, Protection::None);
        batch.chain(&table, "strange");
        socket.transact(batch).unwrap();
        let filters = Filters::open("test").unwrap();
        filters.add(&all[0], None).unwrap();
        let Some(before) = ruleset() else { return };
        let deleted = Command::new("nft")
            .args(["delete", "table", "bridge", "test"])
            .status();
        assert!(deleted.unwrap().success(), "it can't be owned: {before}");
        filters.add(&all[1], None).unwrap();
        let now = ruleset().unwrap();
        for one in &all[..2] {
            assert!(now.contains(one.host_name.as_str()), "{now}");
        }
        assert!(!before.contains("strange"), "{before}");
    });
}

#[test]
fn the_monitor_hears_of_others_only() {
    on_a_host(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _guard = runtime.enter();
        let (mut ours, mut theirs) = (Socket::open().unwrap(), Socket::open().unwrap());
        let monitor = Monitor::open("test", &[ours.port()]).unwrap();
        let heard = |limit| {
            let changed = async { tokio::time::timeout(limit, monitor.changed()).await };
            runtime.block_on(changed).ok().map(|c| c.unwrap())
        };
        let (table, other) = (
            Table::new(Family::Inet, "test"),
            Table::new(Family::Inet, "other"),
        );
        let make = |socket: &mut Socket, table: &Table| {
            let mut batch = Batch::new();
            batch.table(table, Protection::None);
            batch.chain(table, "one");
            socket.transact(batch).unwrap();
        };
        make(&mut ours, &table);
        make(&mut theirs, &other);
        assert_eq!(heard(Duration::from_millis(50)), None);
        let mut batch = Batch::new();
        batch.flush_chain(&table, "one");
        batch.delete_table(&table);
        theirs.transact(batch).unwrap();
        assert_eq!(heard(Duration::from_secs(10)), Some(Foreign::Ours));
    });
}

#[test]
fn one_more_costs_the_same_with_many() {
    on_a_host(|| {
        let open = Firewall {
            rules: Vec::new(),
            incoming: Verdict::Allow,
            outgoing: Verdict::Allow,
        };
        for firewall in [None, Some(&open)] {
            let filters = Filters::open("test").unwrap();
            let all = many(501);
            let best = |one: &Wanted| {
                let once = || {
                    let start = Instant::now();
                    filters.add(one, firewall).unwrap();
                    let added = start.elapsed();
                    let start = Instant::now();
                    filters.remove(&one.host_name).unwrap();
                    (added, start.elapsed())
                };
                let all: Vec<_> = (0..20).map(|_| once()).collect();
                let added = all.iter().map(|t| t.0).min().unwrap();
                (added, all.iter().map(|t| t.1).min().unwrap())
            };
            filters.add(&all[0], firewall).unwrap();
            let few = best(&all[500]);
            let start = Instant::now();
            for one in &all[1..500] {
                filters.add(one, firewall).unwrap();
            }
            let each = start.elapsed() / 499;
            let lots = best(&all[500]);
            let with = if firewall.is_some() {
                "with firewalls"
            } else {
                "without"
            };
            println!(
                "{with}, adding and removing: {few:?} beside 1, {lots:?} beside 500, {each:?} on average"
            );
            let start = Instant::now();
            filters.restore().unwrap();
            println!("all made again: {:?}", start.elapsed());
            let most = few.0 * 4 + Duration::from_millis(1);
            assert!(lots.0 < most, "{few:?} → {lots:?}");
        }
    });
}
