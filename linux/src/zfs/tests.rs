use super::*;

#[test]
fn errors_name_the_call_and_the_code() {
    let error = Error::errno(call("lzc_destroy", &["tank/a"]), Errno::EBUSY);
    assert_eq!(error.to_string(), "lzc_destroy(tank/a): EBUSY");
    assert!(error.is(Errno::EBUSY) && !error.is(Errno::EEXIST));
    let own = Error::new(call("lzc_receive", &["t/a@b"]), Code::from_raw(1040));
    assert_eq!(
        own.to_string(),
        "lzc_receive(t/a@b): the stream ends too early"
    );
    let new = Error::new(String::new(), Code::from_raw(9999));
    assert_eq!(new.to_string(), ": error 9999");
    let each = (0..5).map(|i| (format!("t@{i}"), 17)).collect();
    let snapshot = call("lzc_snapshot", &["t@0", "t@1", "t@2", "t@3"]);
    let several = Error::with_each(snapshot, Code::from_raw(17), each);
    assert_eq!(
        several.to_string(),
        "lzc_snapshot(t@0, t@1, t@2, … 4): EEXIST (t@0: EEXIST, t@1: EEXIST, t@2: EEXIST, … 5)"
    );
}

#[test]
fn a_host_without_zfs_says_so() {
    let empty = tempfile::tempdir().unwrap();
    let text = sys::load(Some(empty.path())).unwrap_err();
    assert!(text.contains("libzfs_core.so.3"), "{text}");
    let missing = Missing::new(text);
    assert!(missing.to_string().starts_with("this host has no ZFS: "));
    // Whatever is there: an answer, and none that takes the process with it.
    match Zfs::load() {
        Ok(zfs) => assert!(!zfs.exists("no-such-pool/at-all").unwrap()),
        Err(e) => assert!(e.to_string().starts_with("this host has no ZFS: "), "{e}"),
    }
}
