//! What is in the kernel, as people see it.

use super::*;

#[test]
fn one_bridged_interface() {
    on_a_host(|| {
        let filters = Filters::open("test").unwrap();
        let web1 = bridged("web1", &["10.5.0.2/24", "fd00:5::2/64"]);
        filters.add(&web1, None).unwrap();
        assert!(ruleset().unwrap().contains(web1.host_name.as_str()));
        let web2 = routed("web2", &["192.0.2.5/32", "2001:db8::5/128"]);
        filters.add(&web2, None).unwrap();
        filters.remove(&web1.host_name).unwrap();
        filters.remove(&web2.host_name).unwrap();
        assert_eq!(ruleset().unwrap(), "");
    });
}
