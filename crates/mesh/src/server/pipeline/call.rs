//! The path of a call: every step in its order, in one future.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::noop_waker_ref;
use http::request::Parts;
use http::{Request, Response};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::answer::{AnswerBody, Bounds};
use super::bounded::Bounded;
use super::context::ConnectionContext;
use super::end::ServerEnd;
use super::guard::{ActiveCall, Arrival, Places};
use super::handlers::{HandlerService, Handlers};
use super::origin::CallOrigin;
use super::recording::{CountedBody, Recording};
use super::reflection::ReflectionRule;
use super::request::{refuse_foreign, refuse_large};
use super::state::Pipeline;
use super::time::{CallExpiry, CallTime};
use crate::deadline::{ExpiryStatus as _, of_incoming};
use crate::outcome::grpc_status;
use crate::server::Domain;
use crate::server::arriving::{ArrivalRules, ArrivalWait, Arrived, Arriving, RequestPart, undecodable, waiting_bytes};
use crate::server::auth::{Authenticated, Principal, outside_scopes, refusal, verified};
use crate::server::budget::{Caller, Exceeded, Resource, Scope};
use crate::server::expiry::invalid_timeout;
use crate::server::plan::{CallPlan, Exemption, MethodPlan, PlannedAccess};
use crate::server::rate::{EventualDecision, LimitReport, RateLimits, Wants};
use crate::server::request_size::{AnyMessage, CheckedRequest, MessageRule as _, RequestFault};
use crate::server::router::Router;
use crate::server::status_size::bound_status;
use crate::server::stream_end::StreamEnd;

/// The body of a call's request: a stream of HTTP/2, or what is made for one.
pub(in crate::server) trait CallBody:
    http_body::Body<Data = Bytes, Error = Status> + Send + Unpin + 'static
{
}

impl<A: http_body::Body<Data = Bytes, Error = Status> + Send + Unpin + 'static> CallBody for A {}

/// Answers `request` by the plan `planned`, from when it came on, and for whom. The second of the pair is held to the last byte of
/// the answer.
pub(super) async fn answer<H: HandlerService, A: CallBody>(
    connection: Arc<ConnectionContext>,
    planned: CallPlan,
    handlers: Handlers<H>,
    request: Request<A>,
    (arrival, origin): (Arrival, CallOrigin),
) -> (Response<AnswerBody>, Arc<ActiveCall>) {
    let now = arrival.at;
    let pipeline = &*connection.pipeline;
    let plan = pipeline.plans.get(&planned);
    let domain = pipeline.domain;
    let (mut parts, body) = request.into_parts();
    let mut call = ActiveCall::begin(&connection, origin, &mut parts, arrival, plan.named);
    let body = CountedBody::new(body, call.recording());
    let streams = plan.streams;
    let stream = streams.is_some_and(|streams| streams.answers);
    let stream = stream.then(|| StreamEnd::new(pipeline.stopping.clone(), domain));
    let mut end = ServerEnd::new(stream, connection.ending.clone(), domain);
    // What is streamed is looked at as it comes; a single message was, before the handler gets it.
    let fault = streams.is_none_or(|streams| streams.requests).then(Arc::<RequestFault>::default);
    let deadline = match begin(pipeline, plan, &parts, now) {
        Ok(deadline) => deadline,
        Err(response) => return finish(*response, Bounds::none(end), call),
    };
    let found = Findings { fault, recording: call.recording(), ..Findings::default() };
    let answered = {
        let steps = steps(&connection, call.origin(), plan, handlers, parts, body, &found);
        let mut bounded = pin!(Bounded::new(steps, deadline, &found.expiry, domain));
        poll_fn(|cx| bounded.as_mut().poll(found.fault.as_ref(), &mut end, cx)).await
    };
    let Findings { fault, expiry, limits, .. } = found;
    let reports_limits = pipeline.reports_limits;
    let (mut response, bounds) = match answered {
        Ok((response, places)) => {
            let time = CallTime { deadline, expiry: expiry.get() };
            call.admit(places, time);
            let streams = streams.is_none_or(|streams| streams.answers);
            (response, Bounds { time, fault, end, streams, timer: None, reports_limits })
        }
        Err(status) => (status.into_http(), Bounds::none(end)),
    };
    if reports_limits {
        limits.into_fields().replace(response.headers_mut());
    }
    finish(response, bounds, call)
}

/// What the steps of a call find out that matters after them, or if they don't come to their end.
#[derive(Default)]
struct Findings<'a> {
    /// What is wrong with what the request streams.
    fault: Option<Arc<RequestFault>>,
    /// What wants to know it too.
    recording: Option<&'a Recording>,
    expiry: CallExpiry,
    limits: LimitReport,
}

impl Bounds {
    /// Those of an answer that is there already.
    pub(super) fn none(end: ServerEnd) -> Self {
        Self { time: CallTime::default(), fault: None, end, streams: false, timer: None, reports_limits: false }
    }
}

/// The answer as it is sent.
fn finish(response: Response<Body>, bounds: Bounds, mut call: ActiveCall) -> (Response<AnswerBody>, Arc<ActiveCall>) {
    let (mut head, body) = response.into_parts();
    call.answered(head.status);
    bound_status(&mut head.headers);
    if let Some(code) = grpc_status(&head.headers) {
        call.set_code(code);
    } else if !head.status.is_success() {
        call.set_code(Code::Unknown);
    }
    let call = Arc::new(call);
    (Response::from_parts(head, AnswerBody::new(body, bounds, Arc::clone(&call))), call)
}

/// What a call has to be before anything is done for it; then its deadline.
fn begin(
    pipeline: &Pipeline,
    plan: &MethodPlan,
    parts: &Parts,
    now: Instant,
) -> Result<Option<Instant>, Box<Response<Body>>> {
    if let Some(response) = refuse_foreign(parts) {
        return Err(Box::new(response));
    }
    let refuse = |status: Status| Box::new(status.into_http());
    if let Some(status) = refuse_large(parts, pipeline.max_header_list, pipeline.domain) {
        return Err(refuse(status));
    }
    let deadline = of_incoming(&parts.headers, plan.timeout, now)
        .map_err(|error| refuse(invalid_timeout(pipeline.domain, &error)))?;
    if deadline.is_some_and(|at| at <= now) {
        return Err(refuse(pipeline.domain.status("before it began")));
    }
    Ok(deadline)
}

/// The steps within the deadline: limit by address → identity → authorisation → limit by principal → arrival of the request →
/// places → handler.
async fn steps<H: HandlerService, A: CallBody>(
    connection: &Arc<ConnectionContext>,
    origin: &CallOrigin,
    plan: &MethodPlan,
    handlers: Handlers<H>,
    mut parts: Parts,
    body: A,
    found: &Findings<'_>,
) -> Result<(Response<Body>, Places), Status> {
    let pipeline = &*connection.pipeline;
    if !pipeline.counts_refusals
        && let Some((limits, wants)) = wants_of_address(connection, origin, plan, &parts, None)
    {
        admit(limits, &wants, &found.limits).await?;
    }
    let (principal, refused) = match identified(connection, origin, plan, &parts, &found.limits).await {
        Ok(principal) => {
            if let (Some(recording), Some(principal)) = (found.recording, &principal) {
                recording.identified(principal);
            }
            let refused = not_admitted(pipeline.domain, plan, parts.uri.path(), principal.as_ref());
            let expired = || found.expiry.begin(pipeline, principal.as_ref()).err();
            let refused = refused.or_else(expired);
            (principal, refused)
        }
        Err(status) => (None, Some(status)),
    };
    if let Some(status) = refused {
        // A refusal costs what a call costs: who tries tokens is limited as who calls.
        if pipeline.counts_refusals
            && let Some((limits, wants)) = wants_of_refused(connection, origin, plan, &parts, principal.as_ref())
        {
            admit(limits, &wants, &found.limits).await?;
        }
        return Err(status);
    }
    if let Some((limits, mut wants)) = wants_of_principal(connection, origin, plan, &parts, principal.as_ref()) {
        limits.admit(&mut wants, origin.peer(connection), principal.as_ref(), &found.limits).await?;
    }
    if plan.exemption == Exemption::Reflection {
        // A stream counts as well, or streams without a message would cost nothing.
        reflection_rule(connection, origin).begins()?;
    }
    let body = arrive(connection, origin, plan, &parts, body).await?;
    let places = take_places(connection, origin, plan, principal.as_ref())?;
    connection.extend(origin.client(), &mut parts.extensions);
    if let Some(principal) = principal {
        parts.extensions.insert(principal);
    }
    let body = match &found.fault {
        None => Body::new(body),
        Some(fault) => {
            let (max, domain, fault) = (plan.max_message, pipeline.domain, Arc::clone(fault));
            match plan.exemption {
                Exemption::Reflection => {
                    let rule = reflection_rule(connection, origin);
                    Body::new(CheckedRequest::new(body, max, domain, rule, fault))
                }
                _ => Body::new(CheckedRequest::new(body, max, domain, AnyMessage, fault)),
            }
        }
    };
    let response = handlers.call(plan.route.as_ref(), Request::from_parts(parts, body)).await;
    Ok(match undecodable(&response, pipeline.domain).filter(|_| grpc_status(response.headers()).is_some()) {
        Some(status) => (status.into_http(), places),
        None => (response, places),
    })
}

fn reflection_rule(connection: &Arc<ConnectionContext>, origin: &CallOrigin) -> ReflectionRule {
    ReflectionRule { connection: Arc::clone(connection), origin: origin.clone() }
}

/// What a call wants of the limit by address. Before identity there is no principal.
fn wants_of_address<'a>(
    connection: &'a ConnectionContext,
    origin: &CallOrigin,
    plan: &MethodPlan,
    parts: &Parts,
    principal: Option<&Principal>,
) -> Option<(&'a RateLimits, Wants)> {
    let (limits, path) = (connection.pipeline.by_address.as_ref()?, parts.uri.path());
    let rules = plan.by_address.of(path);
    Some((limits, limits.wants_of(&rules, Some(origin.peer(connection)), principal, &parts.headers, path)?))
}

/// What a call wants of the limit by principal.
fn wants_of_principal<'a>(
    connection: &'a ConnectionContext,
    origin: &CallOrigin,
    plan: &MethodPlan,
    parts: &Parts,
    principal: Option<&Principal>,
) -> Option<(&'a RateLimits, Wants)> {
    let (limits, path) = (connection.pipeline.by_principal.as_ref()?, parts.uri.path());
    let rules = plan.by_principal.of(path);
    Some((limits, limits.wants_of(&rules, Some(origin.peer(connection)), principal, &parts.headers, path)?))
}

/// What a call wants that was refused: of its principal's share where it has one, so that neighbours at its address don't pay
/// for it.
fn wants_of_refused<'a>(
    connection: &'a ConnectionContext,
    origin: &CallOrigin,
    plan: &MethodPlan,
    parts: &Parts,
    principal: Option<&Principal>,
) -> Option<(&'a RateLimits, Wants)> {
    let own = principal.and_then(|principal| wants_of_principal(connection, origin, plan, parts, Some(principal)));
    own.or_else(|| wants_of_address(connection, origin, plan, parts, principal))
}

/// Takes a token of a limit.
async fn admit(limits: &RateLimits, wants: &Wants, report: &LimitReport) -> Result<(), Status> {
    let decision = match limits.ask(wants) {
        EventualDecision::Now(decision) => decision,
        EventualDecision::Later(decision) => decision.await,
    };
    limits.conclude(decision, wants, report)
}

/// Who calls.
async fn identified(
    connection: &ConnectionContext,
    origin: &CallOrigin,
    plan: &MethodPlan,
    parts: &Parts,
    report: &LimitReport,
) -> Result<Option<Principal>, Status> {
    let pipeline = &*connection.pipeline;
    let Some(authenticator) = pipeline.authenticator.as_ref().filter(|_| plan.exemption == Exemption::None) else {
        return Ok(None);
    };
    let peer = Some(origin.peer(connection));
    if let Some(principal) = authenticator.recall(&parts.headers, peer) {
        return principal;
    }
    may_verify(connection, origin, plan, parts, report)?;
    match authenticator.authenticate(&parts.headers, peer) {
        Authenticated::Now(principal) => principal,
        Authenticated::Later(verification) => {
            let (bytes, address) = (waiting_bytes(parts), origin.account(connection));
            verified(verification, pipeline.verification_timeout, bytes, address, &pipeline.budgets, pipeline.domain)
                .await
        }
    }
}

/// The status of a call that its caller may not make.
fn not_admitted(domain: Domain, plan: &MethodPlan, path: &str, principal: Option<&Principal>) -> Option<Status> {
    if plan.exemption != Exemption::None {
        return None;
    }
    if plan.admits(path, principal) {
        return outside_scopes(domain, path, principal);
    }
    Some(match plan.access {
        PlannedAccess::Absent => Router::unknown(path),
        _ => refusal(domain, principal, plan.admitted()),
    })
}

/// Whether a signature may be checked for the caller: not for one who is over a limit already.
fn may_verify(
    connection: &ConnectionContext,
    origin: &CallOrigin,
    plan: &MethodPlan,
    parts: &Parts,
    report: &LimitReport,
) -> Result<(), Status> {
    let pipeline = &*connection.pipeline;
    if pipeline.counts_refusals
        && let Some((limits, wants)) = wants_of_address(connection, origin, plan, parts, None)
        && let Some(status) = limits.is_exhausted(&wants, report)
    {
        return Err(status);
    }
    if let (Some(resource), Some(address)) = (plan.resource, origin.account(connection))
        && pipeline.budgets.is_address_full(resource, address)
    {
        let caller = Caller::address(address);
        return pipeline.budgets.take(resource, 1, caller).map(drop).map_err(|full| full.status(pipeline.domain));
    }
    Ok(())
}

/// Waits for the request: whole where the method takes one message, with the first message where it takes a stream and answers
/// after it.
async fn arrive<A: CallBody>(
    connection: &ConnectionContext,
    origin: &CallOrigin,
    plan: &MethodPlan,
    parts: &Parts,
    body: A,
) -> Result<Arrived<A>, Status> {
    let pipeline = &*connection.pipeline;
    let part = match plan.exemption {
        // It answers what it was asked, and nothing before that.
        Exemption::Reflection => RequestPart::FirstMessage,
        _ => RequestPart::of(plan.streams),
    };
    let mut arriving = Arriving::new(body, &parts.headers, part);
    if part == RequestPart::Nothing {
        return Ok(arriving.arrived());
    }
    let rules = ArrivalRules { max_message: plan.max_message, domain: pipeline.domain };
    // Most requests come in one piece.
    if let Poll::Ready(arrived) = arriving.poll(rules, &mut Context::from_waker(noop_waker_ref())) {
        return arrived.map(|()| arriving.arrived());
    }
    arriving.copy();
    let mut wait = pin!(ArrivalWait::new(parts, plan.first_message));
    let address = origin.account(connection);
    poll_fn(|cx| wait.as_mut().poll(&mut arriving, rules, &pipeline.budgets, address, cx)).await?;
    Ok(arriving.arrived())
}

/// The places that the call holds to its end.
fn take_places(
    connection: &ConnectionContext,
    origin: &CallOrigin,
    plan: &MethodPlan,
    principal: Option<&Principal>,
) -> Result<Places, Status> {
    let pipeline = &*connection.pipeline;
    let exceeded = |exceeded: Exceeded| exceeded.status(pipeline.domain);
    let watch = match plan.resource {
        Some(resource @ Resource::Watches) => {
            let full = || pipeline.budgets.refuse(resource, Scope::Connection, pipeline.watches_of_connection);
            Some(connection.watches.take().ok_or_else(|| exceeded(full()))?)
        }
        _ => None,
    };
    let account = principal.map(|principal| connection.account_of(principal));
    let caller = Caller { address: origin.account(connection), principal: account.as_ref() };
    let place =
        plan.resource.map(|resource| pipeline.budgets.take(resource, 1, caller).map_err(exceeded)).transpose()?;
    let method = match &plan.calls {
        None => None,
        Some(calls) => Some(calls.take().ok_or_else(|| calls.status(pipeline.domain))?),
    };
    Ok(Places { principal: account, place, watch, method })
}
