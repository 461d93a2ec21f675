//! Tests of the table of routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;

const GET: &str = "/meshwork.orders.v1.OrderService/GetOrder";
const CREATE: &str = "/meshwork.orders.v1.OrderService/CreateOrder";
const DEAD_LETTERS: &str = "meshwork.admin.v1.DeadLetterService";

fn name(name: &str) -> UpstreamName {
    UpstreamName::new(name).unwrap()
}

fn names(upstreams: &[&str]) -> Arc<[UpstreamName]> {
    upstreams.iter().copied().map(name).collect()
}

fn method(package: &str, service: &str, name: &str) -> Method {
    Method {
        package: package.to_owned(),
        service: service.to_owned(),
        name: name.to_owned(),
        reads: name == "GetOrder",
    }
}

fn shop() -> Vec<Method> {
    vec![
        method("meshwork.users.v1", "UserService", "GetUser"),
        method("meshwork.orders.v1", "OrderService", "GetOrder"),
        method("meshwork.orders.v1", "OrderService", "CreateOrder"),
        method("meshwork.admin.v1", "ProjectionService", "GetProjection"),
        method("meshwork.admin.v1", "DeadLetterService", "ListDeadLetters"),
        method("meshwork.admin.v1", "CacheService", "GetCacheStats"),
        method("meshwork.admin.v1", "OtherService", "Get"),
        method("meshwork.orderss.v1", "OrderService", "GetOrder"),
        method("meshwork.orders", "OrderService", "GetOrder"),
        method("other.users.v1", "UserService", "GetUser"),
    ]
}

fn rule(service: &str, to: &[(&str, u32)]) -> Rule {
    let shares = to.iter().map(|(upstream, weight)| Share { upstream: name(upstream), weight: *weight });
    Rule {
        service: service.to_owned(),
        method: None,
        headers: Vec::new(),
        to: Weighted::new(shares.collect()),
        sticky: false,
        mirrors: Vec::new(),
    }
}

fn upstream(contracts: ContractsFrom, access: &[(&str, Admits)]) -> UpstreamSettings {
    let access = access.iter().map(|(name, admits)| ((*name).to_owned(), admits.clone())).collect();
    UpstreamSettings {
        target: "static:///127.0.0.1:1".to_owned(),
        contracts,
        services: BTreeSet::new(),
        access,
        http_paths: None,
        checks_health: true,
    }
}

fn settings(rules: Vec<Rule>) -> RouteSettings {
    let next = (name("orders-next"), upstream(ContractsFrom::Nowhere, &[]));
    RouteSettings { upstreams: BTreeMap::from([next]), rules: rules.into_iter().map(Arc::new).collect() }
}

fn table(rules: Vec<Rule>) -> Result<RouteTable, InvalidRoutes> {
    RouteTable::new(shop(), &BTreeSet::new(), &settings(rules), Vec::new())
}

fn offered(name: &str, admits: Option<Admits>) -> OfferedMethod {
    OfferedMethod { name: name.to_owned(), reads: false, admits }
}

fn contracts(services: &[(&str, &[OfferedMethod])]) -> BTreeMap<String, Vec<OfferedMethod>> {
    services.iter().map(|(name, methods)| ((*name).to_owned(), methods.to_vec())).collect()
}

#[test]
fn methods_go_to_the_service_of_their_package() {
    let table = table(Vec::new()).unwrap();
    let upstreams = |path: &str| table.find(path).map(|method| Arc::clone(&method.route.upstreams));
    let all = Upstream::ALL.map(Upstream::as_str);
    assert_eq!(upstreams("/meshwork.users.v1.UserService/GetUser"), Some(names(&["users"])));
    assert_eq!(upstreams(GET), Some(names(&["orders"])));
    assert_eq!(upstreams("/meshwork.admin.v1.ProjectionService/GetProjection"), Some(names(&["orders"])));
    assert_eq!(upstreams("/meshwork.admin.v1.DeadLetterService/ListDeadLetters"), Some(names(&all)));
    assert_eq!(upstreams("/meshwork.admin.v1.CacheService/GetCacheStats"), Some(names(&["users", "products"])));
    for path in [
        "/meshwork.users.v1.UserService/GetUsers",
        "/meshwork.users.v1.UserService/GetUser/",
        "meshwork.users.v1.UserService/GetUser",
        "/meshwork.admin.v1.OtherService/Get",
        "/meshwork.orderss.v1.OrderService/GetOrder",
        "/meshwork.orders.OrderService/GetOrder",
        "/other.users.v1.UserService/GetUser",
        "/",
        "",
    ] {
        assert_eq!(upstreams(path), None, "{path}");
    }
    let services: Vec<_> = table.services().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(
        services,
        [
            "meshwork.admin.v1.CacheService",
            DEAD_LETTERS,
            "meshwork.admin.v1.ProjectionService",
            "meshwork.orders.v1.OrderService",
            "meshwork.users.v1.UserService"
        ]
    );
}

#[test]
fn callers_choose_among_the_upstreams_of_a_service_and_no_others() {
    let choose = |upstreams: &[&str], named: &[&str]| {
        let route = Route { upstreams: names(upstreams) };
        route.choose(named.iter().map(|name| name.as_bytes())).map(ToString::to_string)
    };
    let all = Upstream::ALL.map(Upstream::as_str);
    for upstream in all {
        assert_eq!(choose(&all, &[upstream]).as_deref(), Some(upstream));
    }
    let caches = ["users", "products"];
    assert_eq!(choose(&caches, &["products"]).as_deref(), Some("products"));
    for named in [&[][..], &["orders"], &["users", "products"]] {
        assert_eq!(choose(&caches, named), None, "{named:?}");
    }
    assert_eq!(choose(&["orders"], &[]).as_deref(), Some("orders"));
    assert_eq!(choose(&["orders"], &["orders"]).as_deref(), Some("orders"));
    for upstreams in [&all[..], &["orders"]] {
        for named in [&["gateway"][..], &[""], &["Orders"], &["orders "], &["orders,orders"], &["orders", "orders"]] {
            assert_eq!(choose(upstreams, named), None, "{named:?}");
        }
    }
    assert_eq!(choose(&all, &[]), None);
}

#[test]
fn rules_keep_their_order_and_are_for_their_methods() {
    let first =
        Rule { method: Some("CreateOrder".to_owned()), ..rule("meshwork.orders.v1.OrderService", &[("orders", 1)]) };
    let second = rule("meshwork.orders.v1.OrderService", &[("orders", 95), ("orders-next", 5)]);
    let table = table(vec![first.clone(), second.clone()]).unwrap();
    let rules =
        |path: &str| table.find(path).unwrap().rules.iter().map(|rule| (*rule.rule).clone()).collect::<Vec<_>>();
    assert_eq!(rules(CREATE), [first, second.clone()]);
    assert_eq!(rules(GET), [second]);
    assert_eq!(rules("/meshwork.users.v1.UserService/GetUser"), []);
}

#[test]
fn what_changes_something_is_mirrored_where_a_rule_says_so() {
    let mirror = |side_effects| MirrorRule {
        upstream: name("orders-next"),
        percent: Percent::new(100.0).unwrap(),
        keep_authorization: false,
        side_effects,
    };
    let mirrors = vec![mirror(false), mirror(true)];
    let table = table(vec![Rule { mirrors, ..rule("meshwork.orders.v1.OrderService", &[]) }]).unwrap();
    let mirrors = |path: &str| table.find(path).unwrap().rules[0].mirrors.clone();
    assert_eq!(mirrors(GET), [mirror(false), mirror(true)]);
    assert_eq!(mirrors(CREATE), [mirror(true)]);
}

#[test]
fn the_health_of_a_service_is_that_of_whom_all_its_calls_go_to() {
    let answering = |rules: Vec<Rule>| {
        let table = table(rules).unwrap();
        table.services().find(|(name, _)| *name == "meshwork.orders.v1.OrderService").unwrap().1
    };
    let orders = "meshwork.orders.v1.OrderService";
    assert_eq!(answering(vec![rule(orders, &[("orders-next", 1), ("orders", 0)])]), names(&["orders-next"]));
    let one = Rule { method: Some("GetOrder".to_owned()), ..rule(orders, &[("orders-next", 1)]) };
    let header = HeaderCondition { name: "x-canary".to_owned(), value: HeaderMatch::Present(true) };
    let some = Rule { headers: vec![header], ..rule(orders, &[("orders-next", 1)]) };
    assert_eq!(answering(vec![one, some]), names(&["orders"]));
    assert_eq!(answering(vec![rule(orders, &[])]), names(&["orders"]));
}

#[test]
fn rules_for_what_there_is_not_are_refused_by_their_key() {
    let orders = "meshwork.orders.v1.OrderService";
    let method = Rule { method: Some("GetOrders".to_owned()), ..rule(orders, &[("orders", 1)]) };
    for (wrong, key, problem) in [
        (
            rule("meshwork.orders.v1.Orders", &[("orders", 1)]),
            "routes[0].service",
            "no upstream has a service of that name",
        ),
        (rule(DEAD_LETTERS, &[("orders", 1)]), "routes[0].service", "by the metadata meshwork-service"),
        (method, "routes[0].method", "has no method of that name"),
        (
            rule(orders, &[("order", 1)]),
            "routes[0].to",
            "there are users, products, orders, notifications, orders-next",
        ),
    ] {
        let refused = table(vec![wrong]).unwrap_err();
        assert_eq!(refused.key, key, "{refused}");
        assert!(refused.problem.contains(problem), "{refused}");
    }
}

#[test]
fn what_a_file_describes_is_offered_with_the_access_of_the_file_or_of_its_options() {
    let internal = Admits::Kinds([CallerKind::Service].into());
    let methods = [
        offered("Get", Some(Admits::Anyone)),
        offered("Report", Some(Admits::Anyone)),
        offered("Sync", Some(internal.clone())),
        offered("Open", None),
    ];
    let contracts = contracts(&[("w.Weather", &methods)]);
    let access = [("w.Weather/Report", Admits::SignedIn)];
    let known = |settings: &UpstreamSettings| {
        let offer = Offer::new(&name("weather"), settings, Some(&contracts)).unwrap();
        match offer.services.get("w.Weather") {
            Some(OfferedService::Known(methods)) => methods.clone(),
            other => panic!("{other:?}"),
        }
    };
    let by_file = known(&upstream(ContractsFrom::File, &access));
    assert_eq!(
        by_file,
        [offered("Get", Some(Admits::Anyone)), offered("Report", Some(Admits::SignedIn)), offered("Open", None)]
    );
    // Who says itself what it is has no say in whom it admits.
    let by_reflection = known(&upstream(ContractsFrom::Reflection, &access));
    assert_eq!(
        by_reflection,
        [offered("Get", None), offered("Report", Some(Admits::SignedIn)), offered("Sync", None), offered("Open", None)]
    );
    let named = known(&upstream(ContractsFrom::File, &[("w.Weather/Sync", internal.clone())]));
    assert!(named.contains(&offered("Sync", Some(internal))), "{named:?}");
}

#[test]
fn names_that_a_file_of_contracts_lacks_are_refused_and_those_of_reflection_are_told() {
    let contracts = contracts(&[("w.Weather", &[offered("Get", None)])]);
    for (access, services, key) in [
        ("w.Weather/Gett", None, "upstreams.weather.access"),
        ("w.Weathers", None, "upstreams.weather.access"),
        ("w.Weather", Some("w.Tides"), "upstreams.weather.services"),
    ] {
        let mut settings = upstream(ContractsFrom::File, &[(access, Admits::Anyone)]);
        settings.services.extend(services.map(str::to_owned));
        let refused = Offer::new(&name("weather"), &settings, Some(&contracts)).unwrap_err();
        assert_eq!(refused.key, key, "{refused}");
        settings.contracts = ContractsFrom::Reflection;
        Offer::new(&name("weather"), &settings, Some(&contracts)).unwrap();
        assert_eq!(Offer::unknown(&settings, &contracts).len(), 1);
    }
}

#[test]
fn services_are_pending_until_their_upstream_has_told_them() {
    let weather =
        upstream(ContractsFrom::Reflection, &[("w.Weather", Admits::Anyone), ("w.Tides/Get", Admits::SignedIn)]);
    let contracts = contracts(&[("w.Weather", &[offered("Get", None)]), ("w.Other", &[offered("Get", None)])]);
    let table = |contracts| {
        let offer = Offer::new(&name("weather"), &weather, contracts).unwrap();
        RouteTable::new(shop(), &BTreeSet::new(), &RouteSettings::default(), vec![offer]).unwrap()
    };
    let before = table(None);
    for path in ["/w.Weather/Get", "/w.Weather/Any", "/w.Tides/Get"] {
        assert_eq!(before.find(path), None);
        assert_eq!(before.pending(path), Some(&name("weather")), "{path}");
    }
    assert_eq!(before.pending("/w.Other/Get"), None);
    let health = |table: &RouteTable, service: &str| table.services().find(|(name, _)| *name == service).unwrap().1;
    assert_eq!(health(&before, "w.Weather"), names(&[]));
    assert_eq!(before.access().count(), 0);

    let after = table(Some(&contracts));
    let method = after.find("/w.Weather/Get").unwrap();
    assert!(method.is_added && method.admits == Some(Admits::Anyone));
    assert_eq!(after.pending("/w.Weather/Get"), None);
    assert_eq!(after.pending("/w.Tides/Get"), Some(&name("weather")), "its server hasn't told of it");
    assert_eq!(health(&after, "w.Weather"), names(&["weather"]));
    assert_eq!(after.access().collect::<Vec<_>>(), [("/w.Weather/Get", &Admits::Anyone)]);
    assert_eq!(after.added_services(), ["w.Weather"], "what nobody opens isn't offered");
}

#[test]
fn nobody_takes_the_name_of_a_service_that_is_there() {
    let offer = |upstream: &str, service: &str| Offer {
        upstream: name(upstream),
        services: [(service.to_owned(), OfferedService::Pending)].into(),
    };
    let table = |offers| {
        let reserved = BTreeSet::from(["meshwork.orders.v1.OrderService".to_owned()]);
        RouteTable::new(shop(), &reserved, &RouteSettings::default(), offers)
    };
    let refused = table(vec![offer("weather", "meshwork.orders.v1.OrderService")]).unwrap_err();
    assert!(
        refused.key == "upstreams.weather" && refused.problem.contains("which the gateway has already"),
        "{refused}"
    );
    let refused = table(vec![offer("weather", "w.Weather"), offer("tides", "w.Weather")]).unwrap_err();
    assert!(refused.key == "upstreams.tides" && refused.problem.contains("so does weather"), "{refused}");
}
