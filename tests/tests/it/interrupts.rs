//! People who press Ctrl-C, and commands that are killed: terminal and daemon stay sane.

use std::time::Duration;

use nix::sys::signal::Signal;
use osctl_api::container::State;
use osctl_tests::pty::Terminal;
use osctl_tests::{Host, Rootfs, host, processes, wait};

const CTRL_C: &str = "\x03";

fn terminal(host: &Host, arguments: &[&str]) -> Terminal {
    Terminal::spawn(&host.osctl_command(arguments))
}

#[test]
fn ctrl_c_in_a_program_goes_to_the_program() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 1; done";
    let mut shell = terminal(&host, &["ct", "exec", "web1", "sh", "-c", script]);
    shell.read_until("ready");
    assert!(shell.is_raw(), "keys are not handed over");
    shell.write(CTRL_C);
    shell.read_until("caught");
    assert_eq!(shell.end().code(), Some(9));
    shell.assert_restored();
    let mut sleeping = terminal(
        &host,
        &[
            "ct",
            "exec",
            "web1",
            "sh",
            "-c",
            "echo ready; exec sleep 1000",
        ],
    );
    sleeping.read_until("ready");
    sleeping.write(CTRL_C);
    assert_eq!(sleeping.end().code(), Some(130));
    sleeping.assert_restored();
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_command_that_is_killed_or_told_to_end_gives_the_terminal_back() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut shell = terminal(
            &host,
            &[
                "ct",
                "exec",
                "web1",
                "sh",
                "-c",
                "echo ready; exec sleep 1000",
            ],
        );
        shell.read_until("ready");
        processes::signal(shell.pid(), signal);
        shell.end();
        shell.assert_restored();
    }
    wait::until("the programs are gone", || {
        !ct.sh("ps").contains("sleep 1000")
    });
    ct.delete();
    host.assert_clean();
}

#[test]
fn the_console_is_left_by_its_key_also_when_the_container_has_stopped() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let mut console = terminal(&host, &["ct", "console", "web1"]);
    // What is typed before the session is there is dropped.
    console.read_until("/ # ");
    console.write("echo on-$((40+2))\n");
    console.read_until("on-42");
    // Ctrl-C belongs to the guest here.
    console.write("nonsense");
    console.read_until("nonsense");
    console.write(CTRL_C);
    console.write("echo still-$((1+1))\n");
    console.read_until("still-2");
    console.write("\x01q");
    assert!(console.end().success());
    console.assert_restored();
    let mut console = terminal(&host, &["ct", "console", "web1"]);
    console.read_until("still-2");
    ct.kill();
    console.read_until("stopped");
    console.write("\x01q");
    console.end();
    console.assert_restored();
    ct.delete();
    host.assert_clean();
}

#[test]
fn ctrl_c_in_a_command_that_waits_ends_it_at_once() {
    let host = host!();
    let ct = host.new_ct("web1");
    for arguments in [
        &["monitor"][..],
        &["ct", "wait", "web1", "running"],
        &["ct", "monitor"],
    ] {
        let mut waiting = terminal(&host, arguments);
        // It has subscribed once the daemon has one more connection that stays.
        wait::pause(Duration::from_millis(200));
        waiting.write(CTRL_C);
        let status = waiting.end_within(Duration::from_secs(10));
        assert!(!status.success(), "{arguments:?}: {status}");
        waiting.assert_restored();
    }
    ct.start();
    ct.delete();
    host.assert_clean();
}

#[test]
fn ctrl_c_while_a_container_is_made_leaves_nothing() {
    let host = host!();
    let mut big = Rootfs::minimal();
    for n in 0..3000 {
        big = big.file(&format!("srv/{n}"), 0o644, &[0x41; 20_000]);
    }
    let image = host.path("big.tar");
    big.write(&image);
    for delay in [10, 60, 150, 300] {
        let mut making = terminal(
            &host,
            &[
                "ct",
                "new",
                "web1",
                "--from-archive",
                image.to_str().unwrap(),
            ],
        );
        wait::pause(Duration::from_millis(delay));
        making.write(CTRL_C);
        making.end();
        making.assert_restored();
        // What was asked for has either happened or not.
        wait::until("it is decided", || {
            let list = host.call(&osctl_api::container::List::default());
            list.containers.iter().all(|c| c.state == State::Stopped)
        });
        host.assert_clean();
        if !host.ids().is_empty() {
            host.ct("web1").start();
            host.ct("web1").delete();
        }
        host.assert_clean();
    }
}

#[test]
fn ctrl_c_while_a_container_starts_or_stops_leaves_it_in_a_state_that_can_be_left() {
    let host = host!();
    let ct = host.new_ct("web1");
    for delay in [0, 5, 15, 30] {
        let mut starting = terminal(&host, &["ct", "start", "web1"]);
        wait::pause(Duration::from_millis(delay));
        starting.write(CTRL_C);
        starting.end();
        starting.assert_restored();
        wait::until("it is decided", || {
            matches!(ct.state(), State::Running | State::Stopped)
        });
        ct.start();
        let mut stopping = terminal(&host, &["ct", "stop", "web1"]);
        wait::pause(Duration::from_millis(delay));
        stopping.write(CTRL_C);
        stopping.end();
        stopping.assert_restored();
        wait::until("it is decided", || {
            matches!(ct.state(), State::Running | State::Stopped)
        });
        ct.kill();
        host.assert_clean();
    }
    // A stop that nobody waits for any more does not kill later.
    let stubborn = "#!/bin/sh\ntrap '' HUP INT TERM USR1 USR2 PWR 34 35 36 37 38 39\nwhile :; do sleep 1000; done\n";
    let other = host.ct_of("web2", &Rootfs::minimal().init(stubborn));
    other.start();
    let mut stopping = terminal(&host, &["ct", "stop", "--timeout", "300", "web2"]);
    other.await_state(State::Stopping);
    stopping.write(CTRL_C);
    stopping.end();
    other.kill();
    other.delete();
    ct.delete();
    host.assert_clean();
}

#[test]
fn commands_of_which_only_the_client_is_killed_bother_nobody() {
    let host = host!();
    let pid = host.daemon_pid();
    let ct = host.new_ct("web1");
    ct.start();
    let before = processes::descriptors(pid);
    for arguments in [
        &["monitor"][..],
        &["ct", "wait", "web1", "stopped"],
        &["ct", "exec", "web1", "sleep", "1000"],
        &["ct", "console", "web1"],
    ] {
        let mut command = host.osctl_command(arguments);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut children: Vec<_> = (0..5).map(|_| processes::spawn(&mut command)).collect();
        wait::pause(Duration::from_millis(150));
        for child in &mut children {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }
    wait::until("descriptors are closed", || {
        processes::descriptors(pid) <= before + 2
    });
    wait::until("the programs are gone", || {
        !ct.sh("ps").contains("sleep 1000")
    });
    assert_eq!(ct.state(), State::Running);
    ct.delete();
    host.assert_clean();
}

#[test]
fn exit_statuses_of_the_command_line_are_what_it_says() {
    let host = host!();
    let ct = host.new_ct("web1");
    let code = |arguments: &[&str]| host.try_osctl(arguments).status.code().unwrap();
    assert_eq!(code(&["ct", "ls"]), 0);
    assert_eq!(code(&["ct", "start", "nobody"]), 1);
    assert_eq!(code(&["ct", "nothing"]), 2);
    assert_eq!(code(&["ct", "exec", "web1", "true"]), 125);
    ct.start();
    assert_eq!(code(&["ct", "exec", "web1", "sh", "-c", "exit 42"]), 42);
    assert_eq!(code(&["ct", "exec", "web1", "sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(code(&["ct", "exec", "web1", "nothing-like-that"]), 127);
    assert_eq!(code(&["ct", "exec", "web1", "/etc/hosts"]), 126);
    ct.delete();
    host.stop_daemon();
    assert_eq!(code(&["ct", "ls"]), 3);
}
