//! Datasets of containers on every back end; one that has none says so.

use std::fs;

use super::super::*;
use super::{create, for_each, known, text};

/// Whether a back end has datasets.
fn has_datasets(s: &dyn Storage) -> bool {
    create(s, "probe", "").unwrap();
    match s.create_dataset("probe", "a") {
        Err(Error::Unsupported(_)) => {
            assert!(matches!(
                s.ensure_dataset("probe", "a"),
                Err(Error::Unsupported(_))
            ));
            assert!(matches!(
                s.discard_dataset("probe", "a"),
                Err(Error::Unsupported(_))
            ));
            assert!(matches!(
                s.dataset_space("probe"),
                Err(Error::Unsupported(_))
            ));
            assert_eq!(s.datasets("probe").unwrap(), [""]);
            false
        }
        made => {
            made.unwrap();
            true
        }
    }
}

#[test]
fn names_of_datasets_are_checked() {
    for_each(|s| {
        create(s, "a", "").unwrap();
        for bad in [
            "",
            "private",
            "x/private",
            "..",
            "x/../../b",
            "/x",
            "x@y",
            "-x",
            "x y",
        ] {
            let refused = |r: Result<()>| matches!(r, Err(Error::Name(_)));
            assert!(refused(s.create_dataset("a", bad)), "{bad:?}");
            assert!(refused(s.discard_dataset("a", bad)), "{bad:?}");
            assert!(refused(s.ensure_dataset("a", bad).map(drop)), "{bad:?}");
        }
    });
}

#[test]
fn datasets_go_where_the_container_goes() {
    for_each(|s| {
        if !has_datasets(s) {
            return;
        }
        create(s, "a", "of a").unwrap();
        s.complete("a").unwrap();
        assert!(matches!(
            s.create_dataset("a", "var/lib"),
            Err(Error::NoDataset { .. })
        ));
        assert!(matches!(
            s.create_dataset("none", "var"),
            Err(Error::NotFound(_))
        ));
        for name in ["var", "var/lib", "srv"] {
            s.create_dataset("a", name).unwrap();
            assert!(matches!(
                s.create_dataset("a", name),
                Err(Error::DatasetExists { .. })
            ));
        }
        assert_eq!(s.datasets("a").unwrap(), ["", "srv", "var", "var/lib"]);
        let at = s.ensure_dataset("a", "var/lib").unwrap();
        assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
        assert_eq!(mode_of(&at), (0o755, 0));
        fs::write(at.join("kept"), "of lib").unwrap();
        // The container sees nothing of it in its own.
        assert_eq!(names(&s.rootfs("a").unwrap()), ["etc"]);
        let space = s.dataset_space("a").unwrap();
        assert_eq!(
            space.keys().collect::<Vec<_>>(),
            ["", "srv", "var", "var/lib"]
        );
        assert!(space[""].used >= space["var"].used);
        assert!(
            s.space().unwrap()["a"].referenced >= space[""].referenced + space["var"].referenced
        );

        s.rename("a", "b").unwrap();
        let at = s.ensure_dataset("b", "var/lib").unwrap();
        assert!(at.starts_with(s.dataset("b").unwrap()), "{at:?}");
        assert_eq!(fs::read_to_string(at.join("kept")).unwrap(), "of lib");
        assert_eq!(text(s, "b"), "of a");
        assert!(s.recover(&known(&["b", "probe"])).is_empty());

        // Those below go along, also when they are in use.
        let held = fs::File::open(at.join("kept")).unwrap();
        s.discard_dataset("b", "var").unwrap();
        assert_eq!(s.datasets("b").unwrap(), ["", "srv"]);
        assert!(matches!(
            s.ensure_dataset("b", "var"),
            Err(Error::NoDataset { .. })
        ));
        assert!(matches!(
            s.discard_dataset("b", "var"),
            Err(Error::NoDataset { .. })
        ));
        s.create_dataset("b", "var").unwrap();
        let at = s.ensure_dataset("b", "var").unwrap();
        assert_eq!(fs::read_dir(at).unwrap().count(), 0);
        drop(held);
        s.trash("b").unwrap();
        s.trash("probe").unwrap();
        while !s.empty_trash(1000).unwrap().done {}
        assert!(s.list().unwrap().is_empty());
    });
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    entries
        .map(|e| e.file_name().into_string().unwrap())
        .collect()
}

fn mode_of(dir: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(dir).unwrap();
    (meta.mode() & 0o7777, meta.uid())
}
