//! What plans are made of which settings, and who finds which.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use proptest::prelude::*;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::limit::MethodCounts;
use super::method::PlannedAccess;
use super::{
    AddedContracts, CurrentPlans, Exemption, LaterPlans, MethodPlan, MethodSetting, MethodSettings, PlanInputs, Plans,
    StreamingMethods, Streams,
};
use crate::server::auth::{Access, AccessTable, Principal};
use crate::server::budget::Resource;
use crate::server::rate::{Rate, RateLimitLayer, RateLimiter, RateLimits, Rule};
use crate::server::router::Router;
use crate::server::{Domain, ServerError};

/// A service that its descriptors tell of.
#[derive(Clone)]
struct Orders;

/// A service without descriptors.
#[derive(Clone)]
struct Silent;

/// What answers for services elsewhere.
#[derive(Clone)]
struct Elsewhere;

macro_rules! answers {
    ($($service:ty),*) => {$(
        impl Service<Request<Body>> for $service {
            type Response = Response<Body>;
            type Error = Infallible;
            type Future = Ready<Result<Response<Body>, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, _: Request<Body>) -> Self::Future {
                ready(Ok(Status::ok("").into_http()))
            }
        }
    )*};
}

answers!(Orders, Silent, Elsewhere);

impl NamedService for Orders {
    const NAME: &'static str = "a.v1.Orders";
}

impl NamedService for Silent {
    const NAME: &'static str = "a.v1.Silent";
}

/// The methods of services that were added later, by their paths; all of them answer with a stream.
const ADDED: [&str; 8] = [
    "/b.v1.Far/Get",
    "/b.v1.Far/List",
    "/a.v1.Orders/Get",
    "/a.v1.Orders/More",
    "/a.v1.Silent/Get",
    "/a.v1.Absent/Get",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/Other",
];

/// A table that admits everybody to all that was added, but to `/b.v1.Far/List`, and to one that nothing describes.
fn open_table() -> AccessTable {
    let named = ADDED.iter().filter(|path| **path != "/b.v1.Far/List").chain(&["/b.v1.Far/Undescribed"]);
    named.fold(AccessTable::new(), |table, path| table.method(*path, Access::Public))
}

/// `a.v1.Orders` with `Get`, `List` (answers), `Put` (requests) and `Talk` (both); `a.v1.Absent`, that nothing here
/// answers, with `Get`.
fn set() -> Vec<u8> {
    let method = |name: &str, requests: bool, answers: bool| MethodDescriptorProto {
        name: Some(name.to_owned()),
        client_streaming: Some(requests),
        server_streaming: Some(answers),
        ..MethodDescriptorProto::default()
    };
    let service = |name: &str, method: Vec<MethodDescriptorProto>| ServiceDescriptorProto {
        name: Some(name.to_owned()),
        method,
        ..ServiceDescriptorProto::default()
    };
    let orders = [("Get", false, false), ("List", false, true), ("Put", true, false), ("Talk", true, true)];
    let orders = orders.map(|(name, requests, answers)| method(name, requests, answers)).to_vec();
    let file = FileDescriptorProto {
        package: Some("a.v1".to_owned()),
        service: vec![service("Orders", orders), service("Absent", vec![method("Get", false, false)])],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

fn router() -> Router {
    let mut router = Router::default();
    router.add(Orders);
    router.add(Silent);
    router
}

/// With a fallback that has `b.v1.Far`.
fn with_fallback() -> Router {
    let mut router = router();
    router.set_fallback(Elsewhere, |path| path.starts_with("/b.v1.Far/") || path == "/a.v1.Absent/Get");
    router
}

#[derive(Default)]
struct Parts {
    access: Option<AccessTable>,
    settings: MethodSettings,
    timeout: Option<Duration>,
    by_address: Option<RateLimits>,
    by_principal: Option<RateLimits>,
}

impl Parts {
    fn inputs(&self, router: &Router) -> PlanInputs {
        PlanInputs {
            sets: vec![set()],
            access: self.access.clone(),
            settings: self.settings.clone(),
            timeout: self.timeout,
            first_message: Duration::from_secs(10),
            max_message: 4 << 20,
            by_address: self.by_address.clone(),
            by_principal: self.by_principal.clone(),
            router: router.clone(),
        }
    }

    fn built(&self, router: &Router) -> Result<Plans, ServerError> {
        Plans::build(&self.inputs(router), None, &MethodCounts::default())
    }

    /// With contracts that were added later.
    fn with(&self, router: &Router, methods: &StreamingMethods, access: &AccessTable) -> Plans {
        let added = AddedContracts { methods, access };
        Plans::build(&self.inputs(router), Some(added), &MethodCounts::default()).unwrap()
    }

    fn plans(&self, router: &Router) -> Plans {
        self.built(router).unwrap()
    }
}

fn plan<'a>(plans: &'a Plans, path: &str) -> &'a MethodPlan {
    plans.get(plans.find(path))
}

#[test]
fn descriptors_say_what_a_method_streams_and_of_which_budget_it_takes() {
    let plans = Parts::default().plans(&router());
    let streams = |requests, answers| Some(Streams { requests, answers });
    for (path, streams, resource) in [
        ("/a.v1.Orders/Get", streams(false, false), Some(Resource::Calls)),
        ("/a.v1.Orders/List", streams(false, true), Some(Resource::Streams)),
        ("/a.v1.Orders/Put", streams(true, false), Some(Resource::Streams)),
        ("/a.v1.Orders/Talk", streams(true, true), Some(Resource::Streams)),
        ("/a.v1.Orders/Unheard", None, Some(Resource::Calls)),
        ("/a.v1.Silent/Get", None, Some(Resource::Calls)),
        ("/c.v1.Any/Get", None, Some(Resource::Calls)),
        ("", None, Some(Resource::Calls)),
        ("/grpc.health.v1.Health/Check", streams(false, false), None),
        ("/grpc.health.v1.Health/List", streams(false, false), None),
        ("/grpc.health.v1.Health/Watch", streams(false, true), Some(Resource::Watches)),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", streams(true, true), Some(Resource::Watches)),
        ("/grpc.reflection.v1alpha.ServerReflection/Any", streams(true, true), Some(Resource::Watches)),
    ] {
        let plan = plan(&plans, path);
        assert_eq!((plan.streams, plan.resource), (streams, resource), "{path}");
    }
}

#[test]
fn a_method_has_one_plan_and_strangers_of_a_service_share_one() {
    let plans = Parts::default().plans(&router());
    assert_eq!(plans.find("/a.v1.Silent/One"), plans.find("/a.v1.Silent/Two"));
    assert_eq!(plans.find("/x.Y/One"), plans.find("/z"));
    let ids = ["/a.v1.Orders/Get", "/a.v1.Orders/List", "/a.v1.Orders/No", "/a.v1.Silent/No", "/x.Y/No"];
    let ids: Vec<_> = ids.iter().map(|path| plans.find(path)).collect();
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[at + 1..].contains(id));
    }
}

#[test]
fn s9_what_something_answers_and_no_table_names_is_closed() {
    let table = AccessTable::new().method("/a.v1.Orders/Get", Access::Public);
    let parts = Parts { access: Some(table), ..Parts::default() };
    let admitted = PlannedAccess::Admits(Access::Public);
    for (router, cases) in [
        (
            router(),
            [
                ("/a.v1.Orders/Get", admitted.clone(), true),
                // Forgotten in the table.
                ("/a.v1.Orders/List", PlannedAccess::Closed, false),
                // The service doesn't have it, and says so.
                ("/a.v1.Orders/Unheard", PlannedAccess::Absent, false),
                // A service that came from other descriptors.
                ("/a.v1.Silent/Get", PlannedAccess::Closed, false),
                // Nobody answers: UNIMPLEMENTED.
                ("/a.v1.Absent/Get", PlannedAccess::Absent, false),
                ("/b.v1.Far/Get", PlannedAccess::Absent, false),
                ("/", PlannedAccess::Absent, false),
            ],
        ),
        (
            with_fallback(),
            [
                ("/a.v1.Orders/Get", admitted, true),
                ("/a.v1.Orders/List", PlannedAccess::Closed, false),
                ("/a.v1.Orders/Unheard", PlannedAccess::Absent, false),
                ("/a.v1.Silent/Get", PlannedAccess::Closed, false),
                ("/a.v1.Absent/Get", PlannedAccess::AskFallback, false),
                ("/b.v1.Far/Get", PlannedAccess::AskFallback, false),
                ("/", PlannedAccess::AskFallback, true),
            ],
        ),
    ] {
        let plans = parts.plans(&router);
        let staff = Principal::new("users/anna", ["staff"]);
        for (path, access, admits) in cases {
            let plan = plan(&plans, path);
            assert_eq!(plan.access, access, "{path}");
            assert_eq!(plan.admits(path, None), admits, "{path}");
            assert_eq!(plan.admits(path, Some(&staff)), admits, "{path}");
        }
        for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
            assert!(plan(&plans, path).admits(path, None), "{path}");
        }
    }
}

#[test]
fn the_table_says_whom_a_method_admits_and_without_one_everybody_calls_everything() {
    let table = AccessTable::new()
        .method("/a.v1.Orders/Get", Access::roles(["staff"]))
        .method("/b.v1.Far/Get", Access::Authenticated);
    let (path, far) = ("/a.v1.Orders/Get", "/b.v1.Far/Get");
    let plans = Parts { access: Some(table), ..Parts::default() }.plans(&with_fallback());
    let (staff, customer) = (Principal::new("users/anna", ["staff"]), Principal::new("users/ben", ["customer"]));
    let admits = |path: &str, principal| plan(&plans, path).admits(path, principal);
    assert_eq!([admits(path, None), admits(path, Some(&customer)), admits(path, Some(&staff))], [false, false, true]);
    assert_eq!([admits(far, None), admits(far, Some(&customer))], [false, true]);
    assert_eq!(plan(&plans, path).admitted(), Some(&Access::roles(["staff"])));
    assert_eq!(plan(&plans, "/a.v1.Silent/Get").admitted(), None);

    let open = Parts::default().plans(&with_fallback());
    for path in [path, far, "/a.v1.Silent/Get", "/a.v1.Orders/List", "/"] {
        assert!(plan(&open, path).admits(path, None), "{path}");
    }
}

#[test]
fn routes_are_those_of_the_router() {
    let plans = Parts::default().plans(&router());
    for (path, routed) in [
        ("/a.v1.Orders/Get", true),
        ("/a.v1.Orders/Unheard", true),
        ("/a.v1.Silent/Get", true),
        ("/a.v1.Absent/Get", false),
        ("/grpc.health.v1.Health/Check", false),
        ("/", false),
    ] {
        assert_eq!(plan(&plans, path).route.is_some(), routed, "{path}");
    }
    let plans = Parts::default().plans(&with_fallback());
    for path in ["/a.v1.Absent/Get", "/", "/c.v1.Any/Get"] {
        assert!(plan(&plans, path).route.is_some(), "{path}");
    }
}

#[test]
fn settings_hold_for_their_methods_and_the_shorter_timeout_counts() {
    let seconds = Duration::from_secs;
    let few = MethodSetting { max_concurrent_calls: Some(1), ..MethodSetting::default() };
    let own = MethodSetting {
        timeout: Some(seconds(5)),
        max_request_message_bytes: Some(8 << 20),
        first_message: Some(seconds(2)),
        max_concurrent_calls: None,
    };
    let settings = MethodSettings::new()
        .others(MethodSetting { timeout: Some(Duration::MAX), ..few })
        .service("a.v1.Orders", few)
        .method("/a.v1.Orders/Get", own);
    let mut parts = Parts { settings, timeout: Some(seconds(7)), ..Parts::default() };
    let plans = parts.plans(&router());
    let get = plan(&plans, "/a.v1.Orders/Get");
    assert_eq!((get.timeout, get.first_message, get.max_message), (Some(seconds(5)), seconds(2), 8 << 20));
    assert!(get.calls.is_none());
    let list = plan(&plans, "/a.v1.Orders/List");
    assert_eq!((list.timeout, list.first_message, list.max_message), (Some(seconds(7)), seconds(10), 4 << 20));
    // Each has a count of its own.
    let _place = list.calls.as_ref().unwrap().take().unwrap();
    assert!(list.calls.as_ref().unwrap().take().is_none());
    assert!(plan(&plans, "/a.v1.Orders/Talk").calls.as_ref().unwrap().take().is_some());
    // What all others are held to, probes are not.
    for path in ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"] {
        assert!(plan(&plans, path).calls.is_none(), "{path}");
        assert_eq!(plan(&plans, path).timeout, Some(seconds(7)), "{path}");
    }
    parts.timeout = None;
    let plans = parts.plans(&router());
    assert_eq!(plan(&plans, "/a.v1.Orders/List").timeout, None);
    let never = plan(&plans, "/a.v1.Silent/Any").timeout.unwrap();
    assert!(std::time::Instant::now().checked_add(never).is_some());
}

#[test]
fn a_setting_for_a_method_that_its_service_lacks_is_an_error() {
    let built = |path: &str| {
        let settings = MethodSettings::new().method(path, MethodSetting::default());
        Parts { settings, ..Parts::default() }.built(&router()).err()
    };
    for path in ["/a.v1.Orders/Gte", "/a.v1.Absent/Put", "a.v1.Orders/Get", "/a.v1.Orders", ""] {
        match built(path) {
            Some(ServerError::UnknownMethod(unknown)) => assert_eq!(unknown, path),
            other => panic!("{path}: {other:?}"),
        }
    }
    for path in ["/a.v1.Orders/Get", "/a.v1.Silent/Any", "/c.v1.Other/Any", "/grpc.health.v1.Health/Check"] {
        assert!(built(path).is_none(), "{path}");
    }
}

#[test]
fn descriptors_that_are_none_are_an_error() {
    let inputs = PlanInputs { sets: vec![set(), vec![0xff; 8]], ..Parts::default().inputs(&router()) };
    let built = Plans::build(&inputs, None, &MethodCounts::default());
    assert!(matches!(built.err(), Some(ServerError::Descriptors(_))));
}

fn limits(rules: [Rule; 3]) -> RateLimits {
    RateLimitLayer::new(RateLimiter::in_process(), rules, Domain::default()).limits().unwrap().clone()
}

#[tokio::test]
async fn rules_are_planned_and_asked_by_path_for_methods_without_a_plan() {
    let rule = |name: &'static str| Rule::new(name, Rate::per_second(1, 1.0).unwrap());
    let by_address =
        limits([rule("all"), rule("get").methods(["a.v1.Orders/Get"]), rule("quiet").methods(["a.v1.Silent/Get"])]);
    let parts = Parts { by_address: Some(by_address), ..Parts::default() };
    let plans = parts.plans(&router());
    for (path, expected) in [
        ("/a.v1.Orders/Get", &[0, 1][..]),
        ("/a.v1.Orders/List", &[0]),
        ("/a.v1.Silent/Get", &[0, 2]),
        ("/a.v1.Silent/Put", &[0]),
        ("/x.Y/Z", &[0]),
        ("/grpc.health.v1.Health/Check", &[]),
        ("/grpc.health.v1.Health/Any", &[]),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[0]),
    ] {
        assert_eq!(plan(&plans, path).by_address.of(path).as_slice(), expected, "{path}");
        assert!(plan(&plans, path).by_principal.of(path).is_empty(), "{path}");
    }
}

proptest! {
    #[test]
    fn s9_no_path_that_a_service_or_the_fallback_has_is_open_by_being_unknown(
        service in "(a\\.v1\\.Orders|a\\.v1\\.Silent|b\\.v1\\.Far|[a-c.]{0,6})",
        method in "(Get|List|[A-Za-z/]{0,6})",
    ) {
        let path = format!("/{service}/{method}");
        let router = with_fallback();
        let plans = Parts { access: Some(AccessTable::new()), ..Parts::default() }.plans(&router);
        let plan = plan(&plans, &path);
        let has = router.route(&path).is_some_and(|route| route.has(&path));
        prop_assert_eq!(plan.admits(&path, None), !has);
        prop_assert_eq!(plan.exemption, Exemption::None);
    }
    #[test]
    fn what_is_added_changes_nothing_of_a_service_that_is_there(
        service in "(a\\.v1\\.Orders|a\\.v1\\.Silent|a\\.v1\\.Absent|grpc\\.health\\.v1\\.Health)",
        method in "(Get|List|More|Check|[A-Za-z/]{0,6})",
        has_table in any::<bool>(),
    ) {
        let path = format!("/{service}/{method}");
        let access = has_table.then(|| AccessTable::new().method("/a.v1.Orders/List", Access::Authenticated));
        let (parts, router) = (Parts { access, ..Parts::default() }, with_fallback());
        let (before, after) = (parts.plans(&router), parts.with(&router, &ADDED.into_iter().collect(), &open_table()));
        let (before, after) = (plan(&before, &path), plan(&after, &path));
        prop_assert_eq!(&before.access, &after.access);
        prop_assert_eq!((before.streams, before.resource), (after.streams, after.resource));
        prop_assert_eq!(before.exemption, after.exemption);
    }
}

#[test]
fn s9_what_is_added_is_under_its_own_table_with_and_without_one_of_the_server() {
    let answers = Some(Streams { requests: false, answers: true });
    let cases = [
        ("/b.v1.Far/Get", PlannedAccess::Admits(Access::Public), answers),
        // Described and not named: closed, whether or not the fallback says that it has it.
        ("/b.v1.Far/List", PlannedAccess::Closed, answers),
        ("/b.v1.Far/Undescribed", PlannedAccess::Admits(Access::Public), None),
        ("/b.v1.Far/Unheard", PlannedAccess::AskFallback, None),
        ("/c.v1.Any/Get", PlannedAccess::AskFallback, None),
        ("/", PlannedAccess::AskFallback, None),
    ];
    for access in [None, Some(AccessTable::new())] {
        let parts = Parts { access, ..Parts::default() };
        let plans = parts.with(&with_fallback(), &ADDED.into_iter().collect(), &open_table());
        for (path, access, streams) in &cases {
            let plan = plan(&plans, path);
            assert_eq!((&plan.access, plan.streams), (access, *streams), "{path}");
        }
    }
    // The server's own table goes before it.
    let own = AccessTable::new().method("/b.v1.Far/Get", Access::Authenticated);
    let plans = Parts { access: Some(own), ..Parts::default() };
    let plans = plans.with(&with_fallback(), &ADDED.into_iter().collect(), &open_table());
    assert_eq!(plan(&plans, "/b.v1.Far/Get").access, PlannedAccess::Admits(Access::Authenticated));
    // Where nothing answers, nothing is opened.
    let plans = Parts::default().with(&router(), &StreamingMethods::default(), &AccessTable::new());
    assert_eq!(plan(&plans, "/b.v1.Far/Get").access, PlannedAccess::Absent);
    assert_eq!(plan(&plans, "/a.v1.Silent/Get").access, PlannedAccess::Open);
}

#[test]
fn settings_hold_for_what_is_added_and_a_count_goes_on_with_other_plans() {
    let one = MethodSetting { max_concurrent_calls: Some(1), ..MethodSetting::default() };
    let parts = Parts { settings: MethodSettings::new().service("b.v1.Far", one), ..Parts::default() };
    let (inputs, counts) = (parts.inputs(&with_fallback()), MethodCounts::default());
    let (methods, access) = (ADDED.into_iter().collect::<StreamingMethods>(), open_table());
    let build = || Plans::build(&inputs, Some(AddedContracts { methods: &methods, access: &access }), &counts).unwrap();
    let first = build();
    let place = plan(&first, "/b.v1.Far/Get").calls.as_ref().unwrap().take().unwrap();
    drop(first);
    let without = Plans::build(&inputs, None, &counts).unwrap();
    assert!(plan(&without, "/b.v1.Far/Get").calls.as_ref().unwrap().take().is_some(), "of what its service has beside");
    drop(without);
    let second = build();
    let calls = plan(&second, "/b.v1.Far/Get").calls.as_ref().unwrap();
    assert!(calls.take().is_none(), "the call of the first plans is in flight");
    assert!(plan(&second, "/b.v1.Far/List").calls.as_ref().unwrap().take().is_some());
    drop(place);
    assert!(calls.take().is_some());
}

#[test]
fn a_call_goes_on_by_the_plans_that_it_began_with() {
    let parts = Parts { access: Some(AccessTable::new()), ..Parts::default() };
    let (router, methods) = (with_fallback(), ADDED.into_iter().collect::<StreamingMethods>());
    let later = Arc::<LaterPlans>::default();
    let plans = CurrentPlans::changing(parts.plans(&router), Arc::clone(&later));
    let path = "/b.v1.Far/Get";
    let first = plans.find(path);
    later.store(Some(Arc::new(parts.with(&router, &methods, &open_table()))));
    let second = plans.find(path);
    later.store(Some(Arc::new(parts.with(&router, &StreamingMethods::default(), &AccessTable::new()))));
    let third = plans.find(path);
    let access = [&first, &second, &third].map(|call| plans.get(call).access.clone());
    assert_eq!(access, [PlannedAccess::AskFallback, PlannedAccess::Admits(Access::Public), PlannedAccess::AskFallback]);
}
