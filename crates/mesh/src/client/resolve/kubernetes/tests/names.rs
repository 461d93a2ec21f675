//! What a service may be called.

use crate::client::resolve::kubernetes::name::{Port, Service};

#[test]
fn a_service_has_a_namespace_and_a_port_or_leaves_them_out() {
    let of = |namespace: Option<&str>, port| Service {
        name: "orders".to_owned(),
        namespace: namespace.map(str::to_owned),
        port,
    };
    for (text, service) in [
        ("orders.shop:grpc", of(Some("shop"), Some(Port::Name("grpc".to_owned())))),
        ("orders.shop:8080", of(Some("shop"), Some(Port::Number(8080)))),
        ("orders.shop", of(Some("shop"), None)),
        ("orders:1a", of(None, Some(Port::Name("1a".to_owned())))),
        ("orders", of(None, None)),
    ] {
        let read = Service::parse(text).unwrap();
        assert_eq!(read, service, "{text}");
        assert_eq!(read.to_string(), text);
    }
}

#[test]
fn what_is_no_dns_label_is_refused_with_the_part_that_is_wrong() {
    let long = "a".repeat(64);
    for (text, part) in [
        ("", "its service"),
        ("Orders.shop", "\"Orders\" as the name of its service"),
        ("-orders.shop", "its service"),
        ("orders-.shop", "its service"),
        ("ord_ers.shop", "its service"),
        ("orders/x.shop", "its service"),
        (long.as_str(), "its service"),
        ("orders.", "its namespace"),
        ("orders.Shop:1", "its namespace"),
        ("orders.shop:", "its port"),
        ("orders.shop:gRPC", "its port"),
        ("orders.shop:1:2", "its port"),
        ("orders.shop:0", "from 1 to 65535"),
        ("orders.shop:65536", "from 1 to 65535"),
        ("orders.shop.svc.cluster.local:1", "the domain of the cluster is no part of it"),
        ("[::1]:1", "its port"),
    ] {
        let error = Service::parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
        assert!(error.contains(&format!("{text:?}")), "{error}");
    }
    assert!(Service::parse(&"a".repeat(63)).is_ok());
}
