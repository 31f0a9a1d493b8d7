//! Limits of rates, measured with data that are sent and received.

use std::time::Duration;

use osctl_tests::network::{Namespace, tcp_rate};
use osctl_tests::networked_host;

/// How long queues may take to fill, and how long is measured then.
const WARM: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(3);
/// Above and below the limit: headers of frames count, but not as data.
const MARGIN: f64 = 0.1;

#[track_caller]
fn assert_rate(limit: f64, what: &str, from: &Namespace, to: &Namespace, ip: &str) {
    let rate = tcp_rate(from, to, ip.parse().unwrap(), WARM, TIME);
    let off = rate / limit - 1.0;
    println!("{what} {limit:.0}: {rate:.0} bit/s, {:+.1} %", off * 100.0);
    assert!(off.abs() <= MARGIN, "{what} {limit:.0}: {rate:.0} bit/s");
}

#[test]
fn rates_are_kept_within_a_tenth() {
    let host = networked_host!();
    let cts = ["1m", "10m", "100m"].map(|limit| {
        let ct = host.new_ct(&format!("ct{limit}"));
        host.osctl(&["ct", "netif", "new", "routed", &ct.id, "eth0"]);
        (limit, ct)
    });
    for (n, (limit, ct)) in cts.iter().enumerate() {
        let address = format!("192.0.2.{}", 10 + n);
        host.osctl(&["ct", "netif", "ip", "add", &ct.id, "eth0", &address]);
        ct.start();
        // While it runs.
        let set = ["ct", "netif", "set", &ct.id, "eth0", "--max-tx", limit];
        host.osctl(&[&set[..], &["--max-rx", limit]].concat());
    }
    let here = &host.network().host;
    std::thread::scope(|scope| {
        for (n, (limit, ct)) in cts.iter().enumerate() {
            let inside = ct.netns();
            scope.spawn(move || {
                let number = limit.trim_end_matches('m').parse::<f64>();
                let bits = number.unwrap() * 1e6;
                let address = format!("192.0.2.{}", 10 + n);
                assert_rate(bits, "max-rx", here, &inside, &address);
                assert_rate(bits, "max-tx", &inside, here, osctl_tests::network::HOST[0]);
            });
        }
    });
    for (_, ct) in cts {
        ct.kill();
        ct.delete();
    }
    host.assert_clean();
}
