//! What a container looks like from the inside, and its start and end.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::harness::{BASE, Place, able, names};

const SLEEP: &str = "exec /bin/sleep 1000000";

#[test]
fn a_container_is_what_it_should_be() {
    if !able() {
        return;
    }
    let mut place = Place::new();
    let mut spec = place.spec(SLEEP);
    place.v2(&mut spec);
    let mut ct = place.start(&spec);
    assert!(ct.warnings.is_empty(), "{:?}", ct.warnings);

    assert_eq!(ct.say("hostname"), "box");
    assert_eq!(ct.say("id -u"), "0");
    println!("{}", ct.say("cat /proc/self/mountinfo; ls -la /dev /proc/1/fd; cat /proc/self/status; ls -l /sys/class/net/lo/"));
}
