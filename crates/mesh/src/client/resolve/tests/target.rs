use super::resolve;
use crate::client::resolve::Target;

/// The canonical form and the authority of a target.
fn read(target: &str) -> (String, String) {
    let target = Target::parse(target).unwrap_or_else(|error| panic!("{error}"));
    (target.to_string(), target.authority().to_string())
}

fn refused(target: &str) -> String {
    match Target::parse(target) {
        Ok(target) => panic!("{target:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn names_are_dns_with_or_without_saying_it() {
    for (target, canonical, authority) in [
        ("dns:///users:50051", "dns:///users:50051", "users:50051"),
        ("dns:users:50051", "dns:///users:50051", "users:50051"),
        ("users:50051", "dns:///users:50051", "users:50051"),
        ("users", "dns:///users:443", "users:443"),
        ("DNS:///users:1", "dns:///users:1", "users:1"),
        (
            "users.default.svc.cluster.local:1",
            "dns:///users.default.svc.cluster.local:1",
            "users.default.svc.cluster.local:1",
        ),
        ("dns://10.0.0.2/users:1", "dns://10.0.0.2:53/users:1", "users:1"),
        ("dns://[::1]:5353/users:1", "dns://[::1]:5353/users:1", "users:1"),
        ("127.0.0.1:1", "dns:///127.0.0.1:1", "127.0.0.1:1"),
        ("[::1]:1", "dns:///[::1]:1", "[::1]:1"),
        ("dns:///[::1]", "dns:///[::1]:443", "[::1]:443"),
    ] {
        assert_eq!(read(target), (canonical.into(), authority.into()), "{target}");
        assert!(!Target::parse(target).expect("read").is_tls());
    }
}

#[test]
fn urls_are_dns_and_https_asks_for_tls() {
    for (target, canonical, tls) in [
        ("http://users:50051", "dns:///users:50051", false),
        ("http://users", "dns:///users:80", false),
        ("http://[::1]:50051/", "dns:///[::1]:50051", false),
        ("https://users", "dns:///users:443", true),
        ("HTTPS://users:8443/", "dns:///users:8443", true),
    ] {
        let read = Target::parse(target).expect("a target");
        assert_eq!((read.to_string().as_str(), read.is_tls()), (canonical, tls), "{target}");
    }
}

#[test]
fn lists_and_sockets() {
    for (target, canonical, authority) in [
        ("static:///a:1,b:2", "static:///a:1,b:2", "a:1"),
        ("static:a:1,a:1,b:2", "static:///a:1,b:2", "a:1"),
        ("static:///127.0.0.1:1,[::1]:2", "static:///127.0.0.1:1,[::1]:2", "127.0.0.1:1"),
        ("ipv4:10.0.0.1:1,10.0.0.2", "ipv4:10.0.0.1:1,10.0.0.2:443", "10.0.0.1:1"),
        ("ipv6:[::1]:1,::2", "ipv6:[::1]:1,[::2]:443", "[::1]:1"),
        ("unix:run/users.sock", "unix:run/users.sock", "localhost"),
        ("unix:/run/users.sock", "unix:/run/users.sock", "localhost"),
        ("unix:///run/users.sock", "unix:/run/users.sock", "localhost"),
    ] {
        assert_eq!(read(target), (canonical.into(), authority.into()), "{target}");
    }
}

#[test]
fn the_canonical_form_is_a_target_of_the_same_meaning() {
    for target in
        ["users:1", "dns://1.1.1.1/users:1", "static:///a:1,b:2", "ipv6:::2,[::1]:1", "unix:///run/a.sock", "[::1]:1"]
    {
        let parsed = Target::parse(target).expect("a target");
        assert_eq!(Target::parse(&parsed.to_string()).expect("its canonical form"), parsed);
    }
}

#[test]
fn each_refusal_says_what_would_be_right() {
    for (target, hint) in [
        ("", "should look like dns:///host:port"),
        ("dns://users:50051", "three slashes, as in dns:///users:50051"),
        ("static://a:1", "three slashes, as in static:///a:1"),
        ("static://x/a:1", "as in static:///a:1,b:2"),
        ("static:///a", "without a port, as in a:50051"),
        ("static:///a:1,", "as in users:50051"),
        ("xds:///users", "there is dns, static, ipv4, ipv6, unix, k8s, http and https"),
        ("a:1,b:2", "static:///a:1,b:2"),
        ("users:http", "a port is a number from 1 to 65535"),
        ("users:0", "a port is a number from 1 to 65535"),
        ("users:65536", "a port is a number from 1 to 65535"),
        ("::1:50051", "in brackets: [::1]:port"),
        ("[::1", "a [ without its ]"),
        ("[::1]x", "[::1]:port"),
        ("[users]:1", "no IPv6 address"),
        ("us ers:1", "as in users:50051"),
        (":1", "as in users:50051"),
        ("http://users/api", "it ends after users"),
        ("https://", "as in users:50051"),
        ("dns://dns.example/users:1", "must be an address"),
        ("ipv4:users:1", "static:///a:1,b:2 takes names too"),
        ("ipv4:[::1]:1", "no ipv4 address"),
        ("ipv6:127.0.0.1:1", "no ipv6 address"),
        ("unix:", "unix:///run/users.sock"),
        ("unix://run/users.sock", "unix:///run/users.sock"),
    ] {
        let error = refused(target);
        assert!(error.contains(hint) && error.contains(&format!("{target:?}")), "{target}: {error}");
    }
}

#[cfg(feature = "kubernetes")]
#[test]
fn services_of_kubernetes_have_their_name_without_the_port_as_authority() {
    for (target, canonical, authority) in [
        ("k8s:///orders.shop:grpc", "k8s:///orders.shop:grpc", "orders.shop"),
        ("k8s:orders.shop:8080", "k8s:///orders.shop:8080", "orders.shop"),
        ("K8S:///orders.shop", "k8s:///orders.shop", "orders.shop"),
        ("k8s:///orders:grpc", "k8s:///orders:grpc", "orders"),
    ] {
        assert_eq!(read(target), (canonical.into(), authority.into()), "{target}");
        let parsed = Target::parse(target).expect("a target");
        assert_eq!(Target::parse(canonical).expect("its canonical form"), parsed);
        assert!(!parsed.is_tls());
        assert!(parsed.into_resolver().is_some());
    }
}

#[cfg(feature = "kubernetes")]
#[test]
fn what_is_no_service_of_kubernetes_is_refused_with_what_would_be_right() {
    for (target, hint) in [
        ("k8s://orders.shop:grpc", "three slashes, as in k8s:///orders.shop:grpc"),
        ("k8s://cluster/orders.shop:grpc", "as in k8s:///orders.shop:grpc"),
        ("k8s:8080", "dns:///k8s:8080"),
        ("k8s:///", "the name of its service"),
        ("k8s:///orders.shop.svc:grpc", "the domain of the cluster is no part of it"),
        ("k8s:///Orders.shop:grpc", "as in orders.shop:grpc"),
        ("k8s:///orders.shop:0", "a number from 1 to 65535, or a name"),
        ("k8s:///orders.shop/x:1", "the name of its namespace"),
    ] {
        let error = refused(target);
        assert!(error.contains(hint) && error.contains(&format!("{target:?}")), "{target}: {error}");
    }
}

#[test]
fn a_target_for_a_resolver_of_ones_own_has_its_last_part_as_authority() {
    let target = Target::opaque("zk://zookeeper/services/users");
    assert_eq!((target.to_string().as_str(), target.authority().as_str()), ("zk://zookeeper/services/users", "users"));
    assert!(target.into_resolver().is_none());
    assert_eq!(Target::opaque("zk:///").authority().as_str(), "localhost");
}

#[tokio::test]
async fn c12_each_server_of_a_list_has_its_own_authority() {
    for (target, expected) in [
        ("static:///127.0.0.1:2,127.0.0.2:1", vec![Some("127.0.0.1:2"), Some("127.0.0.2:1")]),
        ("ipv6:[::1]:1,::2", vec![Some("[::1]:1"), Some("[::2]:443")]),
        ("127.0.0.1:1", vec![None]),
        ("unix:///run/a.sock", vec![None]),
    ] {
        let resolver = Target::parse(target).expect("a target").into_resolver().expect("a resolver");
        let resolution = resolver.resolve().await.expect("addresses");
        let authorities = resolution.endpoints.iter().map(|endpoint| endpoint.get_authority().map(|one| one.as_str()));
        assert_eq!(authorities.collect::<Vec<_>>(), expected, "{target}");
    }
}

#[tokio::test]
async fn addresses_and_sockets_need_no_query() {
    for (target, expected) in [
        ("127.0.0.1:1", vec!["127.0.0.1:1"]),
        ("dns:///[::1]:1", vec!["[::1]:1"]),
        ("static:///127.0.0.1:2,127.0.0.1:1", vec!["127.0.0.1:2", "127.0.0.1:1"]),
        ("ipv4:127.0.0.1:1", vec!["127.0.0.1:1"]),
        ("unix:///run/a.sock", vec!["unix:/run/a.sock"]),
    ] {
        let resolver = Target::parse(target).expect("a target").into_resolver().expect("a resolver");
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(resolve(&*resolver).await, Ok((expected, None)), "{target}");
    }
}
