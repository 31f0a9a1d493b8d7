//! Transfers onto what is there already, on every back end.

use super::super::transfer::{Along, Transfer};
use super::super::*;
use super::{create, for_each, text};

#[test]
fn what_was_there_before_a_transfer_stays() {
    for_each(|s| {
        create(s, "a", "of a").unwrap();
        s.complete("a").unwrap();
        create(s, "b", "of b").unwrap();
        s.complete("b").unwrap();
        let zfs = s.backend() == "zfs";
        if zfs {
            for id in ["a", "b"] {
                s.snapshot(id, "kept", None).unwrap();
            }
        }
        let onto = Transfer {
            from: s,
            id: "a",
            to: s,
            new: "b",
        };
        let snapshot = zfs.then_some("kept");
        for along in [Along::Nothing, Along::Snapshots] {
            let copied = onto.copy(snapshot, along, Watch::none());
            assert!(matches!(copied, Err(Error::Exists(id)) if id == "b"));
        }
        // Nor does what goes on from a snapshot write to what is complete.
        if zfs {
            s.snapshot("a", "later", None).unwrap();
            let updated = onto.update("kept", "later", Along::Nothing, Watch::none());
            assert!(matches!(updated, Err(Error::Exists(id)) if id == "b"));
            let kept: Vec<String> = s
                .snapshots("b")
                .unwrap()
                .into_iter()
                .map(|s| s.name)
                .collect();
            assert_eq!(kept, ["kept"]);
        }
        assert_eq!(text(s, "b"), "of b");
        assert!(!s.is_new("b").unwrap());
        assert!(s.trashed().unwrap().is_empty());
    });
}

#[test]
fn a_transfer_that_fails_leaves_nothing() {
    for_each(|s| {
        create(s, "a", "of a").unwrap();
        assert!(s.is_new("a").unwrap() && !s.is_new("b").unwrap());
        s.complete("a").unwrap();
        assert!(!s.is_new("a").unwrap());
        let transfer = Transfer {
            from: s,
            id: "a",
            to: s,
            new: "b",
        };
        let cancelled = Watch::new(&|| true, &|_, _| {});
        let zfs = s.backend() == "zfs";
        if zfs {
            s.snapshot("a", "now", None).unwrap();
        }
        let copied = transfer.copy(zfs.then_some("now"), Along::Nothing, cancelled);
        assert!(copied.is_err());
        assert_eq!(s.list().unwrap(), ["a"]);
    });
}
