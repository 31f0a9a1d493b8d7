//! State on the disk: what survives, what a broken file takes with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use osctl_api::daemon::{Healthcheck, History, Shutdown};
use osctl_api::{Code, container, group, id_range, pool};
use rustix::process::Signal;

use crate::harness::{Daemon, Home, able};

fn fill(daemon: &Daemon<'_>) {
    daemon.install("tank");
    for user in ["alice", "bob", "carol"] {
        daemon.new_user(user).unwrap();
    }
    daemon
        .call(group::New {
            group: "/a/b".parse().unwrap(),
            parents: true,
        })
        .unwrap();
    daemon
        .call(group::Set {
            group: "/a".parse().unwrap(),
            cpu_limit: Some(container::CpuLimit {
                percent: 50,
                period_us: None,
            }),
            memory_limit: None,
            attrs: [("test:x".parse().unwrap(), "1".to_owned())].into(),
        })
        .unwrap();
    daemon
        .call(pool::Set {
            pool: "tank".parse().unwrap(),
            parallel_start: Some(7),
            parallel_stop: None,
            attrs: Default::default(),
        })
        .unwrap();
}

fn show_group(daemon: &Daemon<'_>, path: &str) -> Result<group::Group, osctl_api::Error> {
    let group = path.parse().unwrap();
    daemon.call(group::Show { group })
}

fn range(daemon: &Daemon<'_>) -> Result<id_range::IdRange, osctl_api::Error> {
    let id_range = "default".parse().unwrap();
    daemon.call(id_range::Show { id_range })
}

#[test]
fn pools_come_back_however_the_daemon_ended() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    fill(&daemon);
    let users = serde_json::to_value(daemon.users()).unwrap();
    for signal in [Signal::TERM, Signal::KILL, Signal::INT] {
        let daemon = home_daemon(&home, signal);
        assert_eq!(serde_json::to_value(daemon.users()).unwrap(), users);
        let a = show_group(&daemon, "/a").unwrap();
        assert_eq!((a.cpu_limit, a.attrs.len()), (Some(50), 1));
        assert!(show_group(&daemon, "/a/b").is_ok());
        assert_eq!(range(&daemon).unwrap().allocated, 3);
        let tank = daemon.pool("tank");
        assert_eq!((tank.parallel_start, tank.parallel_stop), (7, 4));
        assert_eq!(tank.state, pool::State::Active);
        assert!(tank.problems.is_empty(), "{:?}", tank.problems);
    }
    drop(daemon);
}

/// Starts a daemon, ends it with a signal, and starts another.
fn home_daemon(home: &Home, signal: Signal) -> Daemon<'_> {
    // Whoever holds the directory goes first.
    if let Ok(pong) = osctl_api::client::Client::connect(&home.socket())
        .and_then(|mut c| c.call(&osctl_api::daemon::Ping {}))
    {
        let pid = rustix::process::Pid::from_raw(pong.pid as i32).unwrap();
        let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let mut wait = [rustix::event::PollFd::new(
            &fd,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        assert_eq!(rustix::event::poll(&mut wait, Some(&limit)).unwrap(), 1);
    }
    home.start()
}

#[test]
fn two_daemons_share_neither_a_run_directory_nor_a_pool() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.install("tank");
    let second = home.command().stderr(Stdio::piped()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another osctld runs in"), "{said}");
    daemon.assert_serves();

    let other_home = Home::new();
    let other = other_home.start();
    let taken = other.call(pool::Install {
        pool: "mine".parse().unwrap(),
        dir: Some(home.path("tank").display().to_string()),
        dataset: None,
    });
    assert_eq!(taken.unwrap_err().code, Code::Busy);
    assert!(other.call(pool::List::default()).unwrap().pools.is_empty());
    // Once it was let go of, another daemon may have it.
    let pool = "tank".parse().unwrap();
    let export = pool::Export {
        pool,
        force: false,
        no_stop_containers: false,
        if_imported: false,
    };
    daemon.call(export).unwrap();
    other
        .call(pool::Install {
            pool: "mine".parse().unwrap(),
            dir: Some(home.path("tank").display().to_string()),
            dataset: None,
        })
        .unwrap();
}

#[test]
fn a_directory_with_something_else_in_it_does_not_become_a_pool() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    fs::create_dir(home.path("full")).unwrap();
    fs::write(home.path("full/file"), "x").unwrap();
    for dir in [
        home.path("full").display().to_string(),
        "relative".to_owned(),
        "/proc".to_owned(),
        "/x\0y".to_owned(),
    ] {
        let pool = "tank".parse().unwrap();
        let e = daemon
            .call(pool::Install {
                pool,
                dir: Some(dir.clone()),
                dataset: None,
            })
            .unwrap_err();
        assert_eq!(e.code, Code::InvalidArgument, "{dir}: {e}");
    }
    daemon.install("tank");
    let inside = home.path("tank/ct/x").display().to_string();
    let pool = "other".parse().unwrap();
    let e = daemon
        .call(pool::Install {
            pool,
            dir: Some(inside),
            dataset: None,
        })
        .unwrap_err();
    assert_eq!(e.code, Code::AlreadyExists);
}

type Break = fn(&Path);

/// Ways in which a state file can be broken.
const BREAKS: [(&str, Break); 7] = [
    ("truncated", |p| {
        let text = fs::read(p).unwrap();
        fs::write(p, &text[..text.len() / 2]).unwrap();
    }),
    ("empty", |p| fs::write(p, "").unwrap()),
    ("zeros", |p| fs::write(p, [0; 512]).unwrap()),
    ("of the future", |p| {
        let text = fs::read_to_string(p).unwrap();
        fs::write(p, text.replace("\"version\": 1", "\"version\": 999")).unwrap();
    }),
    ("a directory", |p| {
        fs::remove_file(p).unwrap();
        fs::create_dir(p).unwrap();
    }),
    ("a symbolic link", |p| {
        fs::remove_file(p).unwrap();
        symlink("/etc/passwd", p).unwrap();
    }),
    ("too large", |p| fs::write(p, vec![b' '; 3 << 20]).unwrap()),
];

#[test]
fn a_broken_file_takes_nothing_else_with_it() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    fill(&daemon);
    daemon.terminate();
    let copy = home.path("good");
    assert!(
        Command::new("cp")
            .arg("-a")
            .arg(home.path("tank"))
            .arg(&copy)
            .status()
            .unwrap()
            .success()
    );
    for (how, break_it) in BREAKS {
        for file in [
            "user/bob.json",
            "id-range/default.json",
            "group/a.json",
            "pool/config.json",
        ] {
            let path = home.conf("tank", file);
            break_it(&path);
            let daemon = home.start();
            let tank = daemon.pool("tank");
            assert_eq!(tank.problems.len(), 1, "{file} {how}: {:?}", tank.problems);
            let health = daemon
                .call(Healthcheck {
                    pools: Vec::new(),
                    all: true,
                })
                .unwrap();
            let sick = health.entities.iter().find(|s| s.kind == "pool").unwrap();
            assert_eq!(sick.problems, tank.problems, "{file} {how}");
            check_rest(&daemon, file, how);
            daemon.terminate();
            assert!(fs::remove_dir_all(home.path("tank")).is_ok());
            assert!(
                Command::new("cp")
                    .arg("-a")
                    .arg(&copy)
                    .arg(home.path("tank"))
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
}

fn check_rest(daemon: &Daemon<'_>, file: &str, how: &str) {
    let expected = if file.starts_with("user") { 2 } else { 3 };
    assert_eq!(daemon.users().len(), expected, "{file} {how}");
    match file {
        "id-range/default.json" => {
            // What is broken is neither used nor replaced.
            assert_eq!(range(daemon).unwrap_err().code, Code::NotFound);
            assert_eq!(daemon.new_user("dave").unwrap_err().code, Code::NotFound);
            let new = id_range::New {
                id_range: "default".parse().unwrap(),
                start_id: 1_000_000,
                block_size: 65536,
                block_count: 10,
            };
            assert_eq!(
                daemon.call(new).unwrap_err().code,
                Code::AlreadyExists,
                "{how}"
            );
        }
        "user/bob.json" => {
            // Its ids stay its own, and its name.
            assert_eq!(range(daemon).unwrap().allocated, 3, "{how}");
            assert_eq!(
                daemon.new_user("bob").unwrap_err().code,
                Code::AlreadyExists
            );
            let dave = daemon.new_user("dave").unwrap();
            assert_eq!(dave.uid_map[0].host_id, 1_000_000 + 3 * 65536, "{how}");
        }
        "group/a.json" => {
            assert!(show_group(daemon, "/a/b").is_ok(), "{how}");
            assert_eq!(show_group(daemon, "/a").unwrap().cpu_limit, None);
        }
        _ => assert_eq!(daemon.pool("tank").parallel_start, 2, "{how}"),
    }
}

#[test]
fn a_broken_pool_takes_no_other_with_it() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    for name in ["one", "two", "three"] {
        daemon.install(name);
    }
    daemon.terminate();
    fs::rename(home.path("two"), home.path("elsewhere")).unwrap();
    fs::remove_dir_all(home.path("three/conf")).unwrap();
    fs::write(home.path("three/conf"), "no directory").unwrap();
    let daemon = home.start();
    let pools = daemon.call(pool::List::default()).unwrap().pools;
    assert_eq!(pools.len(), 1);
    let health = daemon.call(Healthcheck::default()).unwrap();
    let problems = &health.entities[0].problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems
            .iter()
            .any(|p| p.contains("cannot import pool two"))
    );
    // It can be brought back without a restart.
    fs::rename(home.path("elsewhere"), home.path("two")).unwrap();
    let import = pool::Import {
        pool: Some("two".parse().unwrap()),
        all: false,
        no_autostart: false,
    };
    daemon.call(import).unwrap();
    let health = daemon.call(Healthcheck::default()).unwrap();
    assert_eq!(health.entities[0].problems.len(), 1);
}

#[test]
fn without_the_list_of_pools_the_daemon_still_serves() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.install("tank");
    daemon.terminate();
    let list = home.path("run/state/pools.json");
    let good = fs::read(&list).unwrap();
    for (how, break_it) in BREAKS {
        break_it(&list);
        let daemon = home.start();
        let health = daemon.call(Healthcheck::default()).unwrap();
        assert!(!health.entities[0].problems.is_empty(), "{how}");
        let install = pool::Install {
            pool: "new".parse().unwrap(),
            dir: Some(home.path("new").display().to_string()),
            dataset: None,
        };
        assert_eq!(
            daemon.call(install).unwrap_err().code,
            Code::Backend,
            "{how}"
        );
        assert!(!home.path("new").exists(), "{how}");
        // Repairing the file is enough.
        if list.is_dir() {
            fs::remove_dir(&list).unwrap();
        } else {
            fs::remove_file(&list).unwrap();
        }
        fs::write(&list, &good).unwrap();
        let import = pool::Import {
            pool: None,
            all: true,
            no_autostart: false,
        };
        assert_eq!(daemon.call(import).unwrap().pools.len(), 1, "{how}");
        daemon.terminate();
    }
}

#[test]
fn a_shutdown_exports_all_and_leaves_a_marker() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.install("one");
    daemon.install("two");
    daemon.call(Shutdown::default()).unwrap();
    assert!(daemon.call(pool::List::default()).unwrap().pools.is_empty());
    let marker = home.path("run/shutdown");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&marker).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o100);
    let abort = || Shutdown {
        message: None,
        abort: true,
    };
    daemon.call(abort()).unwrap();
    assert!(!marker.exists());
    assert_eq!(daemon.call(abort()).unwrap_err().code, Code::InvalidState);
}

#[test]
fn history_tells_what_was_done_without_secrets() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.install("tank");
    let mut client = daemon
        .client()
        .with_cli("osctl ct passwd web root hunter2".to_owned());
    let passwd = container::Passwd {
        id: "tank:web".parse().unwrap(),
        user: "root".to_owned(),
        password: "hunter2".to_owned(),
    };
    assert!(client.call(&passwd).is_err());
    let mut client = daemon.client().with_cli("osctl user new alice".to_owned());
    client.call(&crate::harness::new_user("alice")).unwrap();
    // Reading leaves nothing.
    daemon.users();
    let read = || daemon.call(History::default()).unwrap().entries;
    let entries = read();
    let methods: Vec<&str> = entries.iter().map(|e| e.method.as_str()).collect();
    assert_eq!(methods, ["PoolInstall", "ContainerPasswd", "UserNew"]);
    assert!(entries[1].error.is_some());
    assert_eq!(entries[2].cli.as_deref(), Some("osctl user new alice"));
    let file = fs::read_to_string(home.path("tank/log/history.jsonl")).unwrap();
    assert!(!file.contains("hunter2") && !home.log().contains("hunter2"));
    // A line that can't be read takes no other with it.
    fs::write(
        home.path("tank/log/history.jsonl"),
        format!("garbage\n{file}"),
    )
    .unwrap();
    assert_eq!(read().len(), 3);
}
