//! Rate limits as a tower layer over any gRPC service.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tonic_types::{QuotaViolation, StatusExt as _};
use tower_layer::Layer;
use tower_service::Service;

use super::decision::{Decision, EventualDecision};
use super::limiter::RateLimiter;
use super::local::{Want, Wants};
use super::rule::Rule;
use crate::server::auth::Refused;
use crate::server::refusal::push_back;
use crate::server::{Domain, exempt};

/// When a caller may come again whom nobody could count.
const RETRY_UNCOUNTED: Duration = Duration::from_secs(1);

/// Refuses calls above a rate with RESOURCE_EXHAUSTED, ErrorInfo, RetryInfo, QuotaFailure and `grpc-retry-pushback-ms`.
/// Health checks pass. A call has to pass all rules that count it, and takes a token of each or of none. By default there is
/// no rule.
///
/// In front of identity it may, instead, [count refusals](RateLimitLayer::counting_refusals).
#[derive(Clone, Debug, Default)]
pub struct RateLimitLayer {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    limiter: RateLimiter,
    rules: Vec<Rule>,
    domain: Domain,
    refusals: bool,
}

impl RateLimitLayer {
    /// Holds calls to `rules`, counted by `limiter`; errors carry `domain`.
    ///
    /// ```
    /// use meshwork::server::Domain;
    /// use meshwork::server::rate::{Rate, RateLimitLayer, RateLimiter, Rule};
    ///
    /// let calls = Rule::new("calls", Rate::per_second(100, 10.0)?);
    /// let layer = RateLimitLayer::new(RateLimiter::in_process(), [calls], Domain::new("shop.example.com"));
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    pub fn new(limiter: RateLimiter, rules: impl IntoIterator<Item = Rule>, domain: Domain) -> Self {
        let rules: Vec<_> = rules.into_iter().collect();
        let shared = (!rules.is_empty()).then(|| Arc::new(Shared { limiter, rules, domain, refusals: false }));
        Self { shared }
    }

    /// In front of identity: lets every call in, and counts those that identity or authorisation refuses
    /// ([`Refused`]). When there is no token for such a call, its answer becomes RESOURCE_EXHAUSTED. So trying tokens costs
    /// as much as calling without one, and a good token is never refused for what others at its address do.
    ///
    /// A rule that the layer behind identity has too, by [`Key::PrincipalOrAddress`](super::Key::PrincipalOrAddress) there
    /// and here, counts in one bucket for each address.
    ///
    /// ```
    /// # use meshwork::server::Domain;
    /// # use meshwork::server::rate::{Rate, RateLimitLayer, RateLimiter, Rule};
    /// # let calls = Rule::new("calls", Rate::per_second(100, 10.0)?);
    /// let layer = RateLimitLayer::new(RateLimiter::in_process(), [calls], Domain::default()).counting_refusals();
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn counting_refusals(mut self) -> Self {
        self.shared = self.shared.take().map(|shared| {
            let Shared { limiter, rules, domain, .. } = &*shared;
            let (limiter, rules, domain) = (limiter.clone(), rules.clone(), *domain);
            Arc::new(Shared { limiter, rules, domain, refusals: true })
        });
        self
    }
}

impl Shared {
    /// What a call wants; `None` when no rule counts it.
    fn wants<A>(&self, request: &Request<A>) -> Option<Wants> {
        let path = request.uri().path();
        if exempt::is_health_check(path) {
            return None;
        }
        let rules = self.rules.iter().enumerate().filter(|(_, rule)| rule.counts(path));
        let wants: Wants = rules.map(|(place, rule)| self.limiter.want_of_call(place, rule, request)).collect();
        (!wants.is_empty()).then_some(wants)
    }

    /// The status of a call that is not admitted.
    fn refusal(&self, decision: Decision, wants: &[Want]) -> Option<Status> {
        match decision {
            Decision::Admitted { .. } => None,
            Decision::Denied { rule, retry_after } => {
                let caller = wants.iter().find(|want| want.rule == rule).map(|want| want.name.caller())?;
                let rule = self.rules.get(rule)?;
                // Who waits a rounded-down time would come too early.
                let millis = retry_after.as_nanos().div_ceil(1_000_000).to_string();
                let message =
                    format!("too many calls by {caller} ({}); the next is admitted in {millis} ms", rule.name);
                let metadata = [("rule", &*rule.name), ("client", &*caller), ("wait_ms", &*millis)];
                let mut details = self.domain.details("RATE_LIMITED", &metadata);
                details.set_retry_info(Some(retry_after));
                let quota = format!(
                    "rate limit {}: {} at once, {} a second",
                    rule.name,
                    rule.rate.burst(),
                    rule.rate.tokens_per_second()
                );
                details.set_quota_failure(vec![QuotaViolation::new(caller, quota)]);
                let mut status = Status::with_error_details(Code::ResourceExhausted, message, details);
                push_back(&mut status, retry_after);
                Some(status)
            }
            Decision::Unavailable { rule } => {
                let rule = self.rules.get(rule)?;
                let message = format!("the rate limit {} can't be checked at the moment; retry in a second", rule.name);
                let metadata = [("rule", &*rule.name)];
                let reason = "RATE_LIMIT_UNAVAILABLE";
                Some(self.domain.refuse_for(RETRY_UNCOUNTED, Code::Unavailable, reason, message, &metadata))
            }
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitService { inner, shared: self.shared.clone() }
    }
}

/// The service of [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimitService<S> {
    inner: S,
    shared: Option<Arc<Shared>>,
}

impl<S, A, B> Service<Request<A>> for RateLimitService<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = RateLimitFuture<S, S::Future, A, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let asked = self.shared.as_ref().and_then(|shared| Some((shared, shared.wants(&request)?)));
        let Some((shared, wants)) = asked else {
            return State::Calling { future: self.inner.call(request) }.into();
        };
        if shared.refusals {
            let watch = Some(Box::new((Arc::clone(shared), wants)));
            return State::Watching { future: self.inner.call(request), watch }.into();
        }
        match shared.limiter.ask(&wants) {
            EventualDecision::Now(decision) => match shared.refusal(decision, &wants) {
                None => State::Calling { future: self.inner.call(request) }.into(),
                Some(status) => State::Refused { status: Some(status) }.into(),
            },
            EventualDecision::Later(deciding) => {
                let watch = (Arc::clone(shared), wants);
                // The instance that was polled is the ready one.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                State::Deciding { deciding, next: Some(Box::new((inner, request, watch))) }.into()
            }
        }
    }
}

type Watch = (Arc<Shared>, Wants);

pin_project! {
    /// The future of [`RateLimitService`].
    pub struct RateLimitFuture<S, F, A, B> {
        #[pin]
        state: State<S, F, A, B>,
    }
}

impl<S, F, A, B> From<State<S, F, A, B>> for RateLimitFuture<S, F, A, B> {
    fn from(state: State<S, F, A, B>) -> Self {
        Self { state }
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F, A, B> {
        // The inner service has the call.
        Calling {
            #[pin]
            future: F,
        },
        // Redis is asked; then the call goes on.
        Deciding {
            deciding: BoxFuture<'static, Decision>,
            next: Option<Box<(S, Request<A>, Watch)>>,
        },
        // The inner service has the call, and whether it refuses it counts.
        Watching {
            #[pin]
            future: F,
            watch: Option<Box<Watch>>,
        },
        // The call was refused, and Redis is asked whether that was once too often.
        Judging {
            deciding: BoxFuture<'static, Decision>,
            next: Option<Box<(Response<B>, Watch)>>,
        },
        // The call is over the limit.
        Refused { status: Option<Status> },
    }
}

fn ended() -> Status {
    Status::internal("polled after its end")
}

impl<S, A, B> Future for RateLimitFuture<S, S::Future, A, B>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Default,
{
    type Output = Result<Response<B>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Calling { future } => return future.poll(cx),
                StateProjection::Refused { status } => {
                    return Poll::Ready(Ok(status.take().unwrap_or_else(ended).into_http()));
                }
                StateProjection::Deciding { deciding, next } => {
                    let decision = ready!(deciding.as_mut().poll(cx));
                    let Some((mut inner, request, (shared, wants))) = next.take().map(|next| *next) else {
                        return Poll::Ready(Ok(ended().into_http()));
                    };
                    match shared.refusal(decision, &wants) {
                        None => State::Calling { future: inner.call(request) },
                        status => State::Refused { status },
                    }
                }
                StateProjection::Watching { future, watch } => {
                    let response = ready!(future.poll(cx))?;
                    let refused = response.extensions().get::<Refused>().is_some();
                    let Some((shared, wants)) = watch.take().filter(|_| refused).map(|watch| *watch) else {
                        return Poll::Ready(Ok(response));
                    };
                    match shared.limiter.ask(&wants) {
                        EventualDecision::Now(decision) => match shared.refusal(decision, &wants) {
                            None => return Poll::Ready(Ok(response)),
                            status => State::Refused { status },
                        },
                        EventualDecision::Later(deciding) => {
                            State::Judging { deciding, next: Some(Box::new((response, (shared, wants)))) }
                        }
                    }
                }
                StateProjection::Judging { deciding, next } => {
                    let decision = ready!(deciding.as_mut().poll(cx));
                    let Some((response, (shared, wants))) = next.take().map(|next| *next) else {
                        return Poll::Ready(Ok(ended().into_http()));
                    };
                    match shared.refusal(decision, &wants) {
                        None => return Poll::Ready(Ok(response)),
                        status => State::Refused { status },
                    }
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}
