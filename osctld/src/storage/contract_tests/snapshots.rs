//! The contract of snapshots.

use super::*;

/// Runs on each back end that has snapshots; the others must say so.
fn with_snapshots(test: impl Fn(&dyn Storage)) {
    for_each(|s| {
        create(s, "a", "first").unwrap();
        s.complete("a").unwrap();
        match s.snapshot("a", "one", None) {
            Ok(()) => test(s),
            Err(Error::Unsupported(why)) => {
                assert!(why.contains("ZFS"), "{why}");
                assert!(s.snapshots("a").unwrap().is_empty());
                assert!(s.all_snapshots().unwrap().is_empty());
                assert!(matches!(
                    s.snapshot("b", "x", None),
                    Err(Error::NotFound(_))
                ));
                assert_eq!(s.datasets("a").unwrap(), [""]);
            }
            Err(e) => panic!("{}", super::super::text(&e)),
        }
    });
}

fn write(s: &dyn Storage, id: &str, text: &str) {
    let tree = s.open_rootfs(id).unwrap();
    let flags = nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_TRUNC;
    let file = tree.open("etc/text", flags, 0).unwrap();
    std::io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
}

fn names(s: &dyn Storage, id: &str) -> Vec<String> {
    let snapshots = s.snapshots(id).unwrap();
    snapshots.into_iter().map(|s| s.name).collect()
}

fn seen(s: &dyn Storage, id: &str, name: &str) -> String {
    let tree = s.open_snapshot(id, "", name).unwrap();
    String::from_utf8(tree.read("etc/text", 100).unwrap()).unwrap()
}

#[test]
fn snapshots_are_made_listed_read_and_destroyed() {
    with_snapshots(|s| {
        write(s, "a", "second");
        s.snapshot("a", "two", Some("daily")).unwrap();
        write(s, "a", "third");
        create(s, "b", "other").unwrap();
        assert_eq!(names(s, "a"), ["one", "two"]);
        assert!(names(s, "b").is_empty());
        assert_eq!(
            (seen(s, "a", "one"), seen(s, "a", "two")),
            ("first".into(), "second".into())
        );
        assert_eq!(text(s, "a"), "third");

        let all = s.all_snapshots().unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(all["a"], s.snapshots("a").unwrap());
        let [one, two] = all["a"].as_slice() else {
            panic!("{all:?}");
        };
        assert!(one.order < two.order && one.created <= two.created && one.referenced > 0);
        assert_eq!(
            (&one.schedule, &two.schedule),
            (&None, &Some("daily".into()))
        );
        assert!(two.clones.is_empty() && two.mounted.is_none() && !two.is_temporary());

        let again = s.snapshot("a", "one", None);
        assert!(
            matches!(again, Err(Error::SnapshotExists { .. })),
            "{again:?}"
        );
        for name in ["", "../x", "a@b", "-x", "x y"] {
            assert!(matches!(
                s.snapshot("a", name, None),
                Err(Error::SnapshotName(_))
            ));
            assert!(matches!(
                s.open_snapshot("a", "", name),
                Err(Error::SnapshotName(_))
            ));
            assert!(matches!(
                s.destroy_snapshot("a", name),
                Err(Error::SnapshotName(_))
            ));
        }
        for dataset in ["..", "../b", "x/..", "/", "b@one"] {
            assert!(s.open_snapshot("a", dataset, "one").is_err(), "{dataset}");
        }
        assert!(matches!(s.snapshots("none"), Err(Error::NotFound(_))));
        assert!(matches!(
            s.snapshot("none", "x", None),
            Err(Error::NotFound(_))
        ));
        let none = s.destroy_snapshot("a", "none");
        assert!(matches!(none, Err(Error::NoSnapshot { .. })), "{none:?}");
        assert!(s.open_snapshot("a", "", "none").is_err());

        // They go along with a rename, and with the container.
        s.rename("a", "c").unwrap();
        assert_eq!(
            (names(s, "c"), seen(s, "c", "one")),
            (vec!["one".into(), "two".into()], "first".into())
        );
        s.destroy_snapshot("c", "one").unwrap();
        assert_eq!(names(s, "c"), ["two"]);
        s.trash("c").unwrap();
        assert!(s.all_snapshots().unwrap().is_empty());
        while s.empty_trash(1000).unwrap().removed > 0 {}
        assert!(s.empty_trash(1000).unwrap().done);
    });
}

#[test]
fn what_is_read_of_a_snapshot_can_not_be_written() {
    with_snapshots(|s| {
        if s.backend() == "fake" {
            return;
        }
        let tree = s.open_snapshot("a", "", "one").unwrap();
        let e = tree.create_new("etc/new", 0o600).unwrap_err();
        assert_eq!(e.errno(), nix::errno::Errno::EROFS);
        // What is open is in use; it is not afterwards.
        let used = s.destroy_snapshot("a", "one");
        assert!(matches!(used, Err(Error::InUse(_))), "{used:?}");
        drop(tree);
        s.destroy_snapshot("a", "one").unwrap();
    });
}

#[test]
fn a_rollback_loses_newer_snapshots_only_when_told() {
    with_snapshots(|s| {
        write(s, "a", "second");
        s.rollback("a", "one", Newer::Keep).unwrap();
        assert_eq!(text(s, "a"), "first");
        s.snapshot("a", "two", None).unwrap();
        s.snapshot("a", "osctl-x", None).unwrap();
        write(s, "a", "third");
        let refused = s.rollback("a", "one", Newer::Keep).unwrap_err();
        assert!(
            matches!(&refused, Error::Newer { newer, .. } if newer == &["two"]),
            "{refused:?}"
        );
        assert_eq!((text(s, "a"), names(s, "a").len()), ("third".into(), 3));
        s.rollback("a", "one", Newer::Lose).unwrap();
        assert_eq!(
            (text(s, "a"), names(s, "a")),
            ("first".into(), vec!["one".into()])
        );
        let none = s.rollback("a", "two", Newer::Lose);
        assert!(matches!(none, Err(Error::NoSnapshot { .. })), "{none:?}");
        // Nothing is left to be finished.
        write(s, "a", "fourth");
        s.recover(&known(&["a"]));
        assert_eq!(text(s, "a"), "fourth");
    });
}

#[test]
fn a_clone_keeps_what_it_is_made_of() {
    with_snapshots(|s| {
        write(s, "a", "second");
        s.snapshot("a", "two", None).unwrap();
        s.clone_snapshot("a", "two", "b").unwrap();
        assert_eq!(text(s, "b"), "second");
        write(s, "b", "of b");
        assert_eq!(
            (text(s, "a"), seen(s, "a", "two")),
            ("second".into(), "second".into())
        );
        assert!(names(s, "b").is_empty());
        let taken = s.clone_snapshot("a", "two", "b");
        assert!(matches!(taken, Err(Error::Exists(_))), "{taken:?}");
        let none = s.clone_snapshot("a", "none", "c");
        assert!(matches!(none, Err(Error::NoSnapshot { .. })), "{none:?}");
        assert!(!s.exists("c").unwrap());

        // Neither destroyed nor lost by a rollback.
        assert_eq!(s.snapshots("a").unwrap()[1].clones, ["b"]);
        for result in [
            s.destroy_snapshot("a", "two"),
            s.rollback("a", "one", Newer::Lose),
        ] {
            assert!(
                matches!(&result, Err(Error::InUse(why)) if why.contains("the clone b")),
                "{result:?}"
            );
        }
        assert_eq!(names(s, "a"), ["one", "two"]);

        // New until it has a configuration; what it is made of may go before it.
        s.clone_snapshot("a", "one", "c").unwrap();
        s.complete("b").unwrap();
        s.recover(&known(&["a", "b"]));
        assert_eq!(s.list().unwrap(), ["a", "b"]);
        s.trash("a").unwrap();
        while s.empty_trash(1000).unwrap().removed > 0 {}
        assert_eq!(
            (s.list().unwrap(), text(s, "b")),
            (vec!["b".into()], "of b".into())
        );
        s.trash("b").unwrap();
        while s.empty_trash(1000).unwrap().removed > 0 {}
        let emptied = s.empty_trash(1000).unwrap();
        assert!(emptied.done && emptied.errors.is_empty(), "{emptied:?}");
    });
}

#[test]
fn mounted_snapshots() {
    with_snapshots(|s| {
        assert!(!s.unmount_snapshot("a", "one").unwrap());
        let path = s.mount_snapshot("a", "one").unwrap();
        assert_eq!(s.mount_snapshot("a", "one").unwrap(), path);
        assert_eq!(
            std::fs::read_to_string(path.join("etc/text")).unwrap(),
            "first"
        );
        let mounted = s.snapshots("a").unwrap()[0].mounted.clone().unwrap();
        assert!(path.starts_with(mounted) && path.starts_with(s.path()));
        let used = s.destroy_snapshot("a", "one");
        assert!(
            matches!(&used, Err(Error::InUse(why)) if why.contains("mounted")),
            "{used:?}"
        );
        // It outlives the daemon.
        s.recover(&known(&["a"]));
        assert!(path.join("etc/text").exists());
        assert!(s.unmount_snapshot("a", "one").unwrap());
        assert_eq!(s.snapshots("a").unwrap()[0].mounted, None);
        s.destroy_snapshot("a", "one").unwrap();
        let none = s.mount_snapshot("a", "one");
        assert!(matches!(none, Err(Error::NoSnapshot { .. })), "{none:?}");
    });
}

#[test]
fn temporary_snapshots_end_with_their_operation() {
    with_snapshots(|s| {
        s.snapshot("a", "osctl-copy-1", None).unwrap();
        assert!(s.snapshots("a").unwrap()[1].is_temporary());
        let notes = s.recover(&known(&["a"]));
        assert_eq!(names(s, "a"), ["one"], "{notes:?}");
    });
}
