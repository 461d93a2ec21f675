//! The order of the layers, as one request meets them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use meshwork::server::auth::{Access, AccessTable, Authenticated, Authenticator, Principal};
use meshwork::server::rate::{Key, Rate, RateLimitLayer, RateLimiter, Rule};
use meshwork::server::{Budgets, CallEnd, CallObserver, Domain, IncomingCall, Peer, Resource};
use meshwork::{Server, deadline};
use tonic::{Code, Request};
use tower::layer::layer_fn;
use tower::util::MapRequest;

use crate::support::{Running, SLEEP, UNARY, calls, send, unary};

/// What was met, in its order, and what held there.
#[derive(Clone)]
struct Met {
    steps: Arc<Mutex<Vec<String>>>,
    load: Budgets,
}

impl Met {
    /// Notes a step; inside the deadline and inside the shedding it says so.
    fn note(&self, step: &str) {
        let deadline = if deadline::current().is_some() { ", in the deadline" } else { "" };
        let load = if self.load.in_use(Resource::Calls) > 0 { ", in the load" } else { "" };
        self.steps.lock().unwrap().push(format!("{step}{deadline}{load}"));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.steps.lock().unwrap())
    }

    /// A limit whose decisions are noted.
    fn limit(&self, name: &'static str, burst: u64, key: Key) -> RateLimitLayer {
        let met = self.clone();
        let limiter = RateLimiter::builder().on_decision(move |_, _| met.note(name)).in_process();
        let rule = Rule::new(name, Rate::new(burst, 1, Duration::from_secs(86_400)).unwrap()).key(key);
        RateLimitLayer::new(limiter, [rule], Domain::default())
    }
}

impl CallObserver for Met {
    fn began(&self, _: &IncomingCall<'_>) {
        self.note("telemetry");
    }

    fn ended(&self, _: &IncomingCall<'_>, _: &CallEnd) {
        self.steps.lock().unwrap().push("telemetry's end".to_owned());
    }
}

impl Authenticator for Met {
    fn authenticate(&self, headers: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        self.note("identity");
        assert!(!headers.contains_key("x-panic"), "as planned");
        Authenticated::Now(Ok(Some(Principal::new("anna", ["staff"]))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorded_request_meets_the_layers_in_their_order() {
    let met = Met { steps: Arc::default(), load: calls(1) };
    let handler = met.clone();
    let layer = layer_fn(move |routes| {
        let handler = handler.clone();
        MapRequest::new(routes, move |request: http::Request<tonic::body::Body>| {
            assert!(request.extensions().get::<Principal>().is_some_and(|principal| principal.has_role("staff")));
            handler.note("handler");
            request
        })
    });
    // As they are set here, they would be in another order.
    let builder = Server::builder()
        .budgets(met.load.clone())
        .limit_by_principal(met.limit("by principal", 2, Key::Principal))
        .access(AccessTable::new().method(UNARY, Access::Authenticated))
        .authenticator(Arc::new(met.clone()))
        .limit_by_address(met.limit("by address", 5, Key::Address))
        .timeout(Duration::from_secs(60))
        .observer(Arc::new(met.clone()));
    let server = Running::start_layered(builder.layer(layer));
    let channel = server.channel();
    let outside = ["telemetry", "by address, in the deadline", "identity, in the deadline"];
    let by_principal = "by principal, in the deadline";
    let whole = [&outside[..], &[by_principal, "handler, in the deadline, in the load", "telemetry's end"]].concat();

    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    assert_eq!(met.take(), whole);
    // Who may not call costs the limit of the principal nothing.
    assert_eq!(unary(&channel, SLEEP, "1").await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(met.take(), [&outside[..], &["telemetry's end"]].concat());
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    assert_eq!(met.take(), whole);
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(met.take(), [&outside[..], &[by_principal, "telemetry's end"]].concat());
    // The guard is around all but telemetry.
    let mut panics = Request::new("x".to_owned());
    panics.metadata_mut().insert("x-panic", "yes".parse().unwrap());
    assert_eq!(send(&channel, UNARY, panics).await.unwrap_err().code(), Code::Internal);
    assert_eq!(met.take(), [&outside[..], &["telemetry's end"]].concat());
    // The address has none left, and nobody asks who it is.
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(met.take(), ["telemetry", "by address, in the deadline", "telemetry's end"]);
}
