//! Why a handler does what it does: its commits and events keep the call that it serves.

use std::task::{Context as Poller, Poll};

use futures_util::future::Either;
use http::{HeaderMap, Request};
use meshwork::server::auth::Principal;
use meshwork::server::{is_health_check, is_reflection};
use meshwork_events::Context;
use meshwork_sql::Carrying;
use tower::{Layer, Service};
use uuid::Uuid;

/// How many members a `tracestate` may have, as W3C bounds it.
const MAX_STATE_MEMBERS: usize = 32;

/// Has handlers run in the context of their call: caused by the method, on behalf of the principal that the server has found,
/// in the trace that the call's `traceparent` and `tracestate` name where they are well-formed (W3C Trace Context), and with a
/// correlation of its own. Health checks and reflection, which write nothing, have none.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContextLayer;

impl<S> Layer<S> for ContextLayer {
    type Service = ContextService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ContextService(inner)
    }
}

/// Handlers in the contexts of their calls; see [`ContextLayer`].
#[derive(Clone, Debug)]
pub struct ContextService<S>(S);

impl<S, B> Service<Request<B>> for ContextService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Carrying<S::Future>, S::Future>;

    fn poll_ready(&mut self, poller: &mut Poller<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(poller)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        if is_health_check(path) || is_reflection(path) {
            return Either::Right(self.0.call(request));
        }
        let context = of_call(&request);
        Either::Left(context.scope(self.0.call(request)))
    }
}

fn of_call<B>(request: &Request<B>) -> Context {
    let principal = request.extensions().get::<Principal>();
    let (trace_parent, trace_state) = trace(request.headers()).unwrap_or_default();
    Context {
        causation_id: request.uri().path().trim_start_matches('/').to_owned(),
        correlation_id: Uuid::new_v4().to_string(),
        trace_parent,
        trace_state,
        actor: principal.map_or_else(String::new, |principal| principal.subject().to_owned()),
    }
}

/// The trace that a call's headers name; `None` where they name none, or more than one.
fn trace(headers: &HeaderMap) -> Option<(String, String)> {
    let mut parents = headers.get_all("traceparent").iter();
    let (parent, None) = (parents.next()?, parents.next()) else { return None };
    Some((trace_parent(parent.to_str().ok()?)?, trace_state(headers).unwrap_or_default()))
}

/// A `traceparent` as its first version writes it; `None` when it isn't well-formed.
fn trace_parent(text: &str) -> Option<String> {
    let is_hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, digits: usize| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // A later version may tell more behind its flags.
    let is_version = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let is_whole = is_version && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2);
    is_whole.then(|| format!("00-{trace}-{parent}-{flags}"))
}

/// The `tracestate` of a call, of which there may be several; `None` when one isn't well-formed.
fn trace_state(headers: &HeaderMap) -> Option<String> {
    let mut state = String::new();
    let mut members = 0;
    for value in headers.get_all("tracestate") {
        for member in value.to_str().ok()?.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            let (key, value) = member.split_once('=')?;
            let is_key =
                key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'));
            members += 1;
            if !is_key || key.is_empty() || value.is_empty() || members > MAX_STATE_MEMBERS {
                return None;
            }
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(member);
        }
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::ServiceExt as _;
    use tower::service_fn;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn request(path: &str, headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    /// What a handler of this request finds.
    async fn found(request: Request<()>) -> Context {
        let handler = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Context::current()) });
        ContextLayer.layer(handler).oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_handler_finds_the_context_of_its_call() {
        let headers =
            [("traceparent", PARENT), ("tracestate", "a=1, b@c=2"), ("tracestate", ""), ("tracestate", "d=3")];
        let mut request = request("/shop.v1.Shop/Buy", &headers);
        request.extensions_mut().insert(Principal::new("users/42", ["customer"]));
        let context = found(request).await;
        assert!(Uuid::try_parse(&context.correlation_id).is_ok(), "{context:?}");
        let expected = Context {
            causation_id: "shop.v1.Shop/Buy".to_owned(),
            correlation_id: context.correlation_id.clone(),
            trace_parent: PARENT.to_owned(),
            trace_state: "a=1,b@c=2,d=3".to_owned(),
            actor: "users/42".to_owned(),
        };
        assert_eq!(context, expected);
    }

    #[tokio::test]
    async fn calls_of_strangers_have_no_actor_and_correlations_of_their_own() {
        let [one, other] = [found(request("/s/m", &[])).await, found(request("/s/m", &[])).await];
        assert_ne!(one.correlation_id, other.correlation_id);
        assert_eq!((one.actor, one.trace_parent, one.trace_state), Default::default());
    }

    #[tokio::test]
    async fn health_checks_and_reflection_have_none() {
        for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
            assert_eq!(found(request(path, &[])).await, Context::default());
        }
    }

    #[test]
    fn a_traceparent_is_well_formed_or_none() {
        assert_eq!(trace_parent(PARENT).as_deref(), Some(PARENT));
        let later = format!("cc{}-more-of-it", &PARENT[2..]);
        assert_eq!(trace_parent(&later).as_deref(), Some(PARENT));
        for bad in [
            "",
            "00",
            "nonsense",
            &format!("ff{}", &PARENT[2..]),
            &format!("0x{}", &PARENT[2..]),
            &format!("{PARENT}-more"),
            &format!("{PARENT}1"),
            &PARENT.to_uppercase(),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &PARENT.replace("00f067aa0ba902b7", "00f067aa0ba902b"),
        ] {
            assert_eq!(trace_parent(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_trace_that_is_not_well_formed_is_left_out() {
        for headers in [
            &[("traceparent", "nonsense"), ("tracestate", "a=1")][..],
            &[("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", "a=1")],
            &[("tracestate", "a=1")],
        ] {
            let context = found(request("/s/m", headers)).await;
            assert_eq!((context.trace_parent, context.trace_state), Default::default(), "{headers:?}");
        }
        let long = format!("a={}", "x".repeat(512));
        let many = vec!["a=1"; MAX_STATE_MEMBERS + 1].join(",");
        for state in ["nonsense", "A=1", "=1", "a=", "a=1,b", &long, &many] {
            let context = found(request("/s/m", &[("traceparent", PARENT), ("tracestate", state)])).await;
            assert_eq!((context.trace_parent.as_str(), context.trace_state.as_str()), (PARENT, ""), "{state}");
        }
    }
}
