//! Daemons that die while containers go out as archives or come in.

use std::fs;
use std::path::PathBuf;

use osctl_api::container::State;
use osctl_tests::failpoints::{EXPORT, IMPORT};
use osctl_tests::host::POOL;
use osctl_tests::{Host, wait};

use super::{dies_at, remove_all, works};

fn files(host: &Host) -> usize {
    fs::read_dir(host.path("archives")).unwrap().count()
}

#[test]
fn a_daemon_that_dies_while_it_exports_leaves_a_container_that_runs_and_no_archive() {
    dies_at(
        EXPORT,
        |host| {
            remove_all(host, &["new"]);
            let _ = fs::remove_dir_all(host.path("archives"));
            fs::create_dir(host.path("archives")).unwrap();
            host.new_ct("new").start();
        },
        |host| {
            let to = host.path("archives/new.tar");
            let export = ["ct", "export", "new", to.to_str().unwrap()];
            host.try_osctl(&export).status.success()
        },
        |host, at| {
            let ct = host.ct("new");
            wait::until("it runs again", || ct.state() == State::Running);
            let archive = host.path("archives/new.tar");
            assert_eq!(files(host), usize::from(archive.exists()), "{at}");
            if archive.exists() {
                ct.delete();
                host.osctl(&["ct", "import", archive.to_str().unwrap()]);
            }
            works(&ct, at);
        },
    );
}

/// An archive with hooks and a group that is not there.
fn archive(host: &Host) -> PathBuf {
    let path = host.path("import.tar");
    if !path.exists() {
        host.osctl(&["group", "new", "/fresh"]);
        let ct = host.new_ct("new");
        host.osctl(&["ct", "chgrp", "new", "/fresh"]);
        let hooks = host.pool_dir(POOL).join("hook/ct/new");
        fs::create_dir_all(&hooks).unwrap();
        fs::write(hooks.join("pre-start"), "#!/bin/sh\n").unwrap();
        host.osctl(&["ct", "export", "new", path.to_str().unwrap()]);
        ct.delete();
        host.osctl(&["group", "del", "/fresh"]);
    }
    path
}

fn import(host: &Host) -> bool {
    let from = host.path("import.tar");
    let import = ["ct", "import", "--with-hooks", from.to_str().unwrap()];
    host.try_osctl(&import).status.success()
}

#[test]
fn a_daemon_that_dies_while_it_imports_leaves_a_container_or_nothing() {
    dies_at(
        IMPORT,
        |host| {
            archive(host);
        },
        import,
        |host, at| {
            let hooks = || {
                let all = fs::read_dir(host.pool_dir(POOL).join("hook/ct"));
                let all = all.into_iter().flatten().flatten();
                all.map(|e| e.file_name().into_string().unwrap())
                    .collect::<Vec<_>>()
            };
            let has_group = || {
                let groups = host.osctl(&["group", "ls", "-H", "-o", "name"]);
                groups.contains("/fresh")
            };
            // And it can be done again.
            for round in ["left", "again"] {
                let there = host.ids().iter().any(|id| id == "new");
                assert!(there || round == "left", "{at}");
                assert_eq!(has_group(), there, "{at}");
                match there {
                    true => {
                        assert_eq!(hooks(), ["new"], "{at}");
                        works(&host.ct("new"), at);
                        host.osctl(&["group", "del", "/fresh"]);
                    }
                    false => host.assert_clean(),
                }
                assert_eq!(hooks(), [""; 0], "{at}");
                if round == "left" {
                    assert!(import(host), "{at}");
                }
            }
        },
    );
}
