//! Ids: never given away twice, whatever crashes when.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use osctl_api::id_range::{self, TableFilter};
use osctl_api::{Code, user};

use crate::harness::{Daemon, Home, able, new_user};

fn delete(daemon: &Daemon<'_>, user: &str) -> Result<(), osctl_api::Error> {
    let user = user.parse().unwrap();
    daemon.call(user::Delete { user }).map(drop)
}

fn allocated(daemon: &Daemon<'_>) -> Vec<id_range::Blocks> {
    daemon
        .call(id_range::TableList {
            id_range: "tank:default".parse().unwrap(),
            filter: TableFilter::Allocated,
        })
        .unwrap()
        .rows
}

/// No two users share an id, and what is allocated is what users have.
fn check(daemon: &Daemon<'_>, when: &str) {
    let users = daemon.users();
    for (i, a) in users.iter().enumerate() {
        for b in &users[i + 1..] {
            for (x, y) in a
                .uid_map
                .iter()
                .flat_map(|x| b.uid_map.iter().map(move |y| (x, y)))
            {
                let apart = x.host_id + x.count <= y.host_id || y.host_id + y.count <= x.host_id;
                assert!(apart, "{when}: {x} of {} and {y} of {}", a.name, b.name);
            }
        }
    }
    let mut mine: Vec<(u32, String)> = users
        .iter()
        .filter(|u| u.pool.as_str() == "tank" && u.id_range.is_some())
        .map(|u| (u.uid_map[0].host_id, u.name.to_string()))
        .collect();
    mine.sort();
    let rows = allocated(daemon);
    let table: Vec<(u32, String)> = rows
        .into_iter()
        .map(|r| (r.first_id, r.owner.unwrap_or_default()))
        .collect();
    assert_eq!(mine, table, "{when}");
}

#[test]
fn a_crash_between_any_two_steps_leaks_no_ids_and_gives_none_twice() {
    if !able() {
        return;
    }
    for point in [
        "store.write",
        "store.rename",
        "store.sync-dir",
        "id-range.allocated",
        "user.reserved",
        "store.write:2",
        "store.rename:2",
        "store.sync-dir:2",
        "user.written",
    ] {
        crash(point, |d| d.new_user("new").map(drop));
    }
    for point in [
        "store.marked",
        "user.marked",
        "store.write",
        "store.rename",
        "store.sync-dir",
        "user.freed",
    ] {
        crash(point, |d| delete(d, "two"));
    }
}

fn crash(point: &str, operation: impl Fn(&Daemon<'_>) -> Result<(), osctl_api::Error>) {
    let home = Home::new();
    let daemon = home.start();
    daemon.install("tank");
    for name in ["one", "two", "three"] {
        daemon.new_user(name).unwrap();
    }
    daemon.terminate();
    let daemon = home.start_with(|c: &mut Command| {
        c.env("OSCTLD_FAILPOINT", point);
    });
    assert_eq!(
        operation(&daemon).unwrap_err().code,
        Code::Unavailable,
        "{point}"
    );
    assert!(daemon.wait().signal().is_some(), "{point}");
    let daemon = home.start();
    check(&daemon, point);
    let problems = daemon.pool("tank").problems;
    assert!(problems.is_empty(), "{point}: {problems:?}");
    // What was interrupted can be done again, or was done.
    match operation(&daemon) {
        Ok(()) => {}
        Err(e) => assert!(
            matches!(e.code, Code::AlreadyExists | Code::NotFound),
            "{point}: {e}"
        ),
    }
    daemon.new_user("more").unwrap();
    check(&daemon, point);
}

#[test]
fn a_second_pool_with_the_same_range_takes_other_blocks() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.install("tank");
    daemon.install("other");
    for n in 0..4 {
        daemon.new_user(&format!("tank:t{n}")).unwrap();
        daemon.new_user(&format!("other:o{n}")).unwrap();
    }
    check(&daemon, "two pools");
    let mut first: Vec<u32> = daemon
        .users()
        .iter()
        .map(|u| u.uid_map[0].host_id)
        .collect();
    first.sort_unstable();
    let expected: Vec<u32> = (0..8).map(|n| 1_000_000 + n * 65536).collect();
    assert_eq!(first, expected);
    // A block that the other pool has can't be had by name either.
    let mut by_index = new_user("tank:x");
    by_index.id_range_block_index = Some(1);
    assert_eq!(daemon.call(by_index).unwrap_err().code, Code::InvalidState);
    for map in ["0:1000000:65536", "0:1100000:10"] {
        let mut by_hand = new_user("tank:x");
        by_hand.map = vec![map.parse().unwrap()];
        assert_eq!(
            daemon.call(by_hand).unwrap_err().code,
            Code::InvalidState,
            "{map}"
        );
    }
    let mut by_hand = new_user("tank:x");
    by_hand.map = vec!["0:500000:65536".parse().unwrap()];
    daemon.call(by_hand).unwrap();
}

#[test]
fn users_that_come_with_ids_of_others_are_marked() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.install("tank");
    daemon.new_user("tank:a").unwrap();
    daemon.new_user("tank:b").unwrap();
    daemon.terminate();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(home.path("tank"))
        .arg(home.path("copy"))
        .status();
    assert!(copied.unwrap().success());
    let daemon = home.start();
    daemon.install("copy");
    let problems = |d: &Daemon<'_>, pool: &str| d.pool(pool).problems;
    assert_eq!(problems(&daemon, "copy").len(), 2);
    assert!(problems(&daemon, "copy")[0].contains("overlap those of user tank:a"));
    assert!(problems(&daemon, "tank").is_empty());
    // It doesn't depend on the order in which the disk answers.
    drop(daemon);
    let daemon = home.start();
    assert_eq!(problems(&daemon, "copy").len(), 0);
    assert_eq!(problems(&daemon, "tank").len(), 2);
    // The mark goes with its reason.
    delete(&daemon, "copy:a").unwrap();
    assert_eq!(problems(&daemon, "tank").len(), 1);
    let export = osctl_api::pool::Export {
        pool: "copy".parse().unwrap(),
        force: false,
        no_stop_containers: false,
        if_imported: false,
    };
    daemon.call(export).unwrap();
    assert!(problems(&daemon, "tank").is_empty());
}

#[test]
fn blocks_by_index_and_maps_within_them() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.install("tank");
    let range = || "tank:default".parse().unwrap();
    let allocate = |index, count, owner: &str| {
        daemon.call(id_range::Allocate {
            id_range: range(),
            block_count: count,
            block_index: index,
            owner: Some(owner.parse().unwrap()),
        })
    };
    assert_eq!(allocate(Some(5), 2, "site").unwrap().block_index, 5);
    assert_eq!(
        allocate(Some(6), 1, "x").unwrap_err().code,
        Code::InvalidState
    );
    assert_eq!(allocate(None, 6, "big").unwrap().block_index, 7);
    // A user of what was allocated by hand: it spans all of it, and leaves it when it goes.
    let mut by_index = new_user("a");
    by_index.id_range_block_index = Some(6);
    let a = daemon.call(by_index.clone()).unwrap();
    assert_eq!(
        (a.uid_map[0].host_id, a.uid_map[0].count),
        (1_000_000 + 5 * 65536, 2 * 65536)
    );
    by_index.user = "b".parse().unwrap();
    assert_eq!(daemon.call(by_index).unwrap_err().code, Code::InvalidState);
    let free = |index, owner: Option<&str>| {
        daemon.call(id_range::Free {
            id_range: range(),
            block_index: index,
            owner: owner.map(|o| o.parse().unwrap()),
        })
    };
    assert_eq!(free(Some(5), None).unwrap_err().code, Code::InvalidState);
    delete(&daemon, "a").unwrap();
    assert_eq!(allocated(&daemon).len(), 2);
    // Maps within an allocation, apart from each other.
    let within = |name: &str, map: &str| {
        let mut new = new_user(name);
        new.id_range_block_index = Some(5);
        new.map = vec![map.parse().unwrap()];
        daemon.call(new)
    };
    let first = 1_000_000 + 5 * 65536;
    within("c", &format!("0:{first}:1000")).unwrap();
    within("d", &format!("0:{}:1000", first + 1000)).unwrap();
    let e = within("e", &format!("0:{}:1000", first + 1999)).unwrap_err();
    assert_eq!(e.code, Code::InvalidState);
    let e = within("e", &format!("0:{}:1000", first + 2 * 65536 - 10)).unwrap_err();
    assert_eq!(e.code, Code::InvalidArgument);
    delete(&daemon, "c").unwrap();
    delete(&daemon, "d").unwrap();
    free(None, Some("site")).unwrap();
    assert_eq!(free(None, Some("site")).unwrap_err().code, Code::NotFound);
    free(Some(7), None).unwrap();
    let id_range = range();
    daemon.call(id_range::Delete { id_range }).unwrap();
    assert_eq!(daemon.new_user("z").unwrap_err().code, Code::NotFound);
}

#[test]
fn many_at_once_get_ids_of_their_own() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.install("tank");
    std::thread::scope(|scope| {
        for n in 0..40 {
            let daemon = &daemon;
            scope.spawn(move || {
                // Each name is asked for twice.
                let made = daemon.new_user(&format!("u{}", n / 2));
                if let Err(e) = made {
                    assert_eq!(e.code, Code::AlreadyExists);
                }
            });
        }
    });
    assert_eq!(daemon.users().len(), 20);
    check(&daemon, "many at once");
}
