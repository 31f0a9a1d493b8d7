//! The console: output, input, replay, the bounded log, and clients and guests that misbehave.

use std::fs;
use std::os::fd::AsFd;

use osctl_linux::seqpacket;
use osctl_runtime::control::{CONSOLE_DATA, CONSOLE_RESIZE};

use crate::harness::{Place, able, read_until};

#[test]
fn input_output_replay_and_size() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec =
        place.spec("echo begin; while read x; do echo got-$x; stty size; done; sleep 1000");
    spec.console.log = Some(place.dir.path().join("console.log"));
    spec.console.max_bytes = 4096;
    let mut ct = place.start(&spec);
    let first = ct.console();
    read_until(&first, "begin");
    let send = |client: &std::os::fd::OwnedFd, kind: u8, bytes: &[u8]| {
        let packet = [&[kind], bytes].concat();
        seqpacket::send(client.as_fd(), &packet, &[], false).unwrap();
    };
    send(&first, CONSOLE_RESIZE, &[50, 0, 0x2c, 1]);
    send(&first, CONSOLE_DATA, b"one\n");
    read_until(&first, "got-one\r\n50 300\r\n");

    let second = ct.console();
    let replayed = read_until(&second, "50 300");
    assert!(replayed.contains("begin"), "{replayed}");
    send(&second, CONSOLE_DATA, b"two\n");
    read_until(&first, "got-two");
    read_until(&second, "got-two");
    assert_eq!(ct.status().console_clients, 2);

    // Rubbish costs the client its connection, and only that.
    send(&second, 9, b"rubbish");
    ct.until(|status| status.console_clients == 1);
    send(&first, CONSOLE_DATA, b"three\n");
    read_until(&first, "got-three");
    let log = fs::read_to_string(spec.console.log.as_ref().unwrap()).unwrap();
    assert!(log.contains("begin") && log.contains("got-three"), "{log}");
}

#[test]
fn a_flood_blocks_nobody_and_stays_within_bounds() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec("yes 0123456789 | head -c 5000000; echo the-end; exec sleep 1000000");
    let log = place.dir.path().join("console.log");
    spec.console.log = Some(log.clone());
    spec.console.max_bytes = 10_000;
    let mut ct = place.start(&spec);
    // This one never reads.
    let _slow = ct.console();
    assert_eq!(ct.say("echo responsive"), "responsive");
    let last = ct.console();
    read_until(&last, "the-end");
    let size = fs::metadata(&log).unwrap().len();
    assert!((1000..=10_000).contains(&size), "{size}");
    assert!(fs::read_to_string(&log).unwrap().ends_with("the-end\r\n"));
}

#[test]
fn a_console_that_the_guest_closes_works_again_when_opened() {
    if !able() {
        return;
    }
    let place = Place::new();
    let script = "exec </dev/null >/dev/null 2>&1; while :; do sleep 1000; done";
    let mut ct = place.run(script);
    let before = cpu_ticks(ct.child.id());
    assert_eq!(
        ct.say("echo via-console > /dev/console; sleep 0.3; echo ok"),
        "ok"
    );
    read_until(&ct.console(), "via-console");
    let used = cpu_ticks(ct.child.id()) - before;
    assert!(used < 10, "the supervisor spins: {used} ticks");
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
