//! What a container can do while it is copied or exported live, and who is waited for when the host
//! goes down meanwhile.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use osctl_api::Code;
use osctl_api::container::State;
use osctl_api::pool::Import;
use osctl_tests::host::POOL;
use osctl_tests::{Ct, Host, Rootfs, host, wait};
use serde_json::json;

/// Leaves a word when it is asked to shut down.
const POLITE: &str = "#!/bin/sh\ntrap 'echo bye > /bye; poweroff -f' USR1 USR2 PWR\n\
    trap 'reboot -f' TERM\nwhile :; do sleep 1000 & wait $!; done\n";

/// What a shutdown may take on a busy machine; a guest has 300 s.
const SOON: Duration = Duration::from_secs(40);

fn polite(host: &Host) -> Ct<'_> {
    let noise: Vec<u8> = (0..1u64 << 16)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect();
    let image = Rootfs::minimal().init(POLITE).file("noise", 0o644, &noise);
    host.ct_of("web1", &image)
}

fn spawn(host: &Host, words: &[&str], output: Stdio) -> Child {
    let mut command = host.osctl_command(words);
    command.stdin(Stdio::null());
    command.stdout(output).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Has the host go down; its guest was asked to, and what took long was not waited for.
fn shut_down(host: &Host, ct: &Ct<'_>) {
    let rootfs = ct.rootfs();
    assert!(!rootfs.join("bye").exists());
    let begun = Instant::now();
    host.osctl(&["shutdown", "--force"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(fs::read_to_string(rootfs.join("bye")).unwrap(), "bye\n");
    host.osctl(&["shutdown", "--abort"]);
    host.json::<Import>(json!({ "pool": POOL }));
    assert_eq!(ct.state(), State::Stopped);
}

#[test]
fn a_guest_reboots_and_stops_while_it_is_exported() {
    let host = host!();
    let ct = polite(&host);
    ct.start();
    let to = host.path("slow.tar");
    // It takes minutes.
    let words = [
        "ct",
        "export",
        "--no-consistent",
        "--limit",
        "1k",
        "web1",
        to.to_str().unwrap(),
    ];
    let begin = || spawn(&host, &words, Stdio::null());
    let mut export = begin();
    let held = || {
        let set = ct.try_set(json!({ "hostname": "web1.example.org" }));
        set.is_err_and(|e| e.code == Code::Busy)
    };
    wait::until("it is held", || {
        // One that comes while it is being changed is refused.
        if export.try_wait().unwrap().is_some() {
            let _ = fs::remove_file(&to);
            export = begin();
        }
        held()
    });
    let first = ct.init_pid();
    ct.last_words("kill -TERM 1; sleep 30");
    wait::until("the guest rebooted", || {
        ct.show().init_pid.is_some_and(|pid| pid != first) && ct.state() == State::Running
    });
    ct.kill();
    assert_eq!(ct.state(), State::Stopped);
    ct.start();
    assert!(held(), "it can be changed while it is exported");
    assert!(export.try_wait().unwrap().is_none(), "its export is over");
    shut_down(&host, &ct);
    assert!(!export.wait().unwrap().success());
    ct.delete();
    host.assert_clean();
}

#[test]
fn nobody_waits_for_a_pipe_that_is_not_read_when_the_host_goes_down() {
    let host = host!();
    let ct = polite(&host);
    ct.start();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let words = ["ct", "export", "--no-consistent", "web1", "-"];
    let mut export = spawn(&host, &words, writer.into());
    // It is complete, and more than the pipe takes.
    reader.read_exact(&mut [0]).unwrap();
    shut_down(&host, &ct);
    drop(reader);
    assert!(!export.wait().unwrap().success());
    // Nothing holds it any more.
    ct.start();
    let to = File::create(host.path("done.tar")).unwrap();
    let mut export = spawn(&host, &words, to.into());
    assert!(export.wait().unwrap().success());
    ct.delete();
    host.assert_clean();
}
