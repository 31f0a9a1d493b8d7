//! Many containers at once, again and again: nothing accumulates.

use std::sync::atomic::{AtomicUsize, Ordering};

use osctl_tests::{Host, host, processes};

/// How many containers there are at once.
const CONTAINERS: usize = 50;
/// How many clients work at once.
const CLIENTS: usize = 12;
/// Threads of the daemon that never end.
const LASTING_THREADS: usize = 4;
/// What the daemon may seem to keep of a container that is no more, bytes. It keeps nothing, but
/// the heap has holes: a few hundred kilobytes more or less, however many containers there were.
const KEPT: u64 = 32 * 1024;

fn each(host: &Host, work: impl Fn(&Host, &str) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= CONTAINERS {
                        break;
                    }
                    work(host, &format!("ct{n}"));
                }
            });
        }
    });
}

fn round(host: &Host) {
    host.minimal();
    each(host, |host, id| drop(host.new_ct(id)));
    each(host, |host, id| {
        host.ct(id).start();
    });
    each(host, |host, id| {
        let ct = host.ct(id);
        assert_eq!(ct.sh("hostname"), format!("{id}\n"));
    });
    assert_eq!(host.ids().len(), CONTAINERS);
    let mut first_ids: Vec<u32> = host
        .call(&osctl_api::container::List::default())
        .containers
        .iter()
        .map(|c| c.uid_map[0].host_id)
        .collect();
    first_ids.sort_unstable();
    first_ids.dedup();
    assert_eq!(first_ids.len(), CONTAINERS, "containers share id maps");
    each(host, |host, id| {
        let mode = if id.ends_with('3') {
            "kill"
        } else {
            "shutdown_or_kill"
        };
        host.ct(id).try_stop(mode, 60).unwrap();
    });
    each(host, |host, id| host.ct(id).try_delete(false).unwrap());
    assert!(host.ids().is_empty());
    host.assert_clean();
}

/// What the daemon has once the threads that blocked have ended, each with its stack.
fn memory(host: &Host) -> u64 {
    let pid = host.daemon_pid();
    osctl_tests::wait::until("threads that blocked end", || {
        processes::threads(pid) <= LASTING_THREADS
    });
    processes::anonymous_memory(pid)
}

#[test]
fn fifty_containers_come_and_go_four_times_and_nothing_is_left() {
    let host = host!("");
    let pid = host.daemon_pid();
    // The heap has its size when most of what happens at once has happened.
    round(&host);
    round(&host);
    let descriptors = processes::descriptors(pid);
    let before = memory(&host);
    round(&host);
    round(&host);
    osctl_tests::wait::until("descriptors are closed", || {
        processes::descriptors(pid) <= descriptors + 2
    });
    let now = memory(&host);
    let allowed = 2 * CONTAINERS as u64 * KEPT;
    assert!(
        now < before + allowed,
        "the daemon grew from {before} to {now} bytes"
    );
}
