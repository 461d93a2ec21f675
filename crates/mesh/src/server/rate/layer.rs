//! Rate limits as a tower layer over any gRPC service.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::decision::{Decision, EventualDecision};
use super::limiter::RateLimiter;
use super::limits::RateLimits;
use super::local::Wants;
use super::plans::Plans;
use super::report::LimitFields;
use super::rule::Rule;
use super::share::AddressShare;
use crate::server::Domain;
use crate::server::auth::Refused;

/// Refuses calls above a rate with RESOURCE_EXHAUSTED, ErrorInfo, RetryInfo, QuotaFailure and `grpc-retry-pushback-ms`.
/// Health checks pass. A call has to pass all rules that count it, and takes a token of each or of none. By default there is
/// no rule.
///
/// In front of identity it may, instead, [count refusals](RateLimitLayer::counting_refusals).
#[derive(Clone, Debug, Default)]
pub struct RateLimitLayer {
    /// None: there is no rule.
    limits: Option<RateLimits>,
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
        let limits = (!rules.is_empty()).then(|| RateLimits::new(limiter, rules, domain));
        Self { limits, refusals: false }
    }

    /// In front of identity: lets every call in, and counts those that identity or authorisation refuses
    /// ([`Refused`]). When there is no token for such a call, its answer becomes RESOURCE_EXHAUSTED. So trying tokens costs
    /// as much as calling without one, and this layer refuses no good token for what others at its address do.
    ///
    /// A rule that the layer behind identity has too, by [`Key::PrincipalOrAddress`](super::Key::PrincipalOrAddress) there
    /// and here, counts in one bucket for each address.
    ///
    /// A [server](crate::server::Server) goes further. A principal that authorisation refuses pays with its own share of the
    /// limit by principal, where there is one, and not with that of its address; this layer alone doesn't know it. And who is
    /// over the limit and not remembered is refused before a signature is checked. Remembered are those whose credentials the
    /// authenticator [recalls](crate::server::auth::Authenticator::recall). So forged credentials cost no more signatures than
    /// the rules admit calls, and who was verified before goes on; who comes with good ones for the first time, from an address
    /// that is over the limit, has to come again.
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
        self.refusals = true;
        self
    }

    /// Behind identity, holds all principals at one address together to `share`. A [server](crate::server::Server) does this, by
    /// [`limit_by_principal`](crate::server::Builder::limit_by_principal); as a tower layer it holds calls to its rules alone.
    ///
    /// ```
    /// # use meshwork::server::Domain;
    /// # use meshwork::server::rate::{AddressShare, Rate, RateLimitLayer, RateLimiter, Rule};
    /// let calls = Rule::new("calls", Rate::per_second(100, 10.0)?);
    /// let layer = RateLimitLayer::new(RateLimiter::in_process(), [calls], Domain::default())
    ///     .address_share(AddressShare::new(Rate::per_second(2000, 200.0)?));
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn address_share(self, share: AddressShare) -> Self {
        Self { limits: self.limits.map(|limits| limits.with_share(share)), ..self }
    }

    /// Whether answers, refusals too, say in their head which limits the call was held to, and what is left of the one with the
    /// fewest calls left (draft-ietf-httpapi-ratelimit-headers-11). Default: no.
    ///
    /// | metadata | says |
    /// |---|---|
    /// | `ratelimit-policy: "calls";q=100;w=10` | of each rule its burst, and the seconds in which that comes back |
    /// | `ratelimit: "calls";r=57;t=5` | the calls that are left at once, and the seconds until all have come back if none is made; of a call that was denied, until the next is admitted |
    ///
    /// Seconds are rounded up. `ratelimit` is absent where nobody knows what is left: of calls that spend tokens taken in
    /// advance (`RedisSettings::leases`), and while the buckets are out of reach. What handlers and upstreams send under these
    /// names is replaced or removed. Of several limits that decide on a call, the last speaks; of a
    /// [server](crate::server::Server) that is the limit by principal, unless the call got no further than that by address.
    ///
    /// ```
    /// # use meshwork::server::Domain;
    /// # use meshwork::server::rate::{Rate, RateLimitLayer, RateLimiter, Rule};
    /// let calls = Rule::new("calls", Rate::per_second(100, 10.0)?);
    /// let layer = RateLimitLayer::new(RateLimiter::in_process(), [calls], Domain::default()).report(true);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn report(self, on: bool) -> Self {
        Self { limits: self.limits.map(|limits| limits.reporting(on)), ..self }
    }

    /// Tells callers apart by their plans, for [rules of a plan](Rule::plan). Without this no caller is on one.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use meshwork::server::Domain;
    /// use meshwork::server::auth::Principal;
    /// use meshwork::server::rate::{Plans, Rate, RateLimitLayer, RateLimiter, Rule};
    ///
    /// struct Partners;
    ///
    /// impl Plans for Partners {
    ///     fn plan(&self, principal: Option<&Principal>) -> Option<&str> {
    ///         principal?.has_role("partner").then_some("partner")
    ///     }
    /// }
    ///
    /// let calls = Rule::new("calls", Rate::per_second(100, 10.0)?);
    /// let of_partners = Rule::new("calls", Rate::per_second(5000, 500.0)?).plan("partner");
    /// let limiter = RateLimiter::in_process();
    /// let layer = RateLimitLayer::new(limiter, [calls, of_partners], Domain::default()).plans(Arc::new(Partners));
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn plans(self, plans: Arc<dyn Plans>) -> Self {
        Self { limits: self.limits.map(|limits| limits.with_plans(plans)), ..self }
    }

    /// The limits; `None` without a rule.
    pub(in crate::server) fn limits(&self) -> Option<&RateLimits> {
        self.limits.as_ref()
    }

    /// Whether only those calls count that identity or authorisation refuses.
    pub(in crate::server) fn counts_refusals(&self) -> bool {
        self.refusals
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitService { inner, limits: self.limits.clone(), refusals: self.refusals }
    }
}

/// The service of [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimitService<S> {
    inner: S,
    limits: Option<RateLimits>,
    refusals: bool,
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
        let asked = self.limits.as_ref().and_then(|limits| {
            let rules = limits.rules_for(request.uri().path());
            Some((limits, limits.wants(&rules, &request)?))
        });
        let Some((limits, wants)) = asked else {
            // What stands there is of no limit.
            let says = self.limits.as_ref().filter(|limits| limits.reports() && !self.refusals).map(|_| Box::default());
            return State::Calling { future: self.inner.call(request), says }.into();
        };
        if self.refusals {
            let watch = Some(Box::new((limits.clone(), wants)));
            return State::Watching { future: self.inner.call(request), watch }.into();
        }
        match limits.ask(&wants) {
            EventualDecision::Now(decision) => match concluded(limits, decision, &wants) {
                (None, says) => State::Calling { future: self.inner.call(request), says }.into(),
                (status, says) => State::Refused { status, says }.into(),
            },
            EventualDecision::Later(deciding) => {
                let watch = (limits.clone(), wants);
                // The instance that was polled is the ready one.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                State::Deciding { deciding, next: Some(Box::new((inner, request, watch))) }.into()
            }
        }
    }
}

type Watch = (RateLimits, Wants);
/// What the answer says of the limits; `None`: it is left as it is.
type AnswerFields = Option<Box<LimitFields>>;

/// Marks an answer whose limits a layer within has reported.
#[derive(Clone, Copy)]
struct Reported;

/// The status of a call that is not admitted, and what its answer says.
fn concluded(limits: &RateLimits, decision: Decision, wants: &Wants) -> (Option<Status>, AnswerFields) {
    let says = limits.reports().then(|| Box::new(limits.fields(decision, wants)));
    (limits.refusal(decision, wants), says)
}

/// `response` with that in its head.
fn saying<B>(mut response: Response<B>, says: AnswerFields) -> Response<B> {
    if let Some(fields) = says.filter(|_| response.extensions().get::<Reported>().is_none()) {
        fields.replace(response.headers_mut());
        response.extensions_mut().insert(Reported);
    }
    response
}

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
            says: AnswerFields,
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
        Refused { status: Option<Status>, says: AnswerFields },
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
                StateProjection::Calling { future, says } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(saying(response, says.take())));
                }
                StateProjection::Refused { status, says } => {
                    let response = status.take().unwrap_or_else(ended).into_http();
                    return Poll::Ready(Ok(saying(response, says.take())));
                }
                StateProjection::Deciding { deciding, next } => {
                    let decision = ready!(deciding.as_mut().poll(cx));
                    let Some((mut inner, request, (limits, wants))) = next.take().map(|next| *next) else {
                        return Poll::Ready(Ok(ended().into_http()));
                    };
                    match concluded(&limits, decision, &wants) {
                        (None, says) => State::Calling { future: inner.call(request), says },
                        (status, says) => State::Refused { status, says },
                    }
                }
                StateProjection::Watching { future, watch } => {
                    let response = ready!(future.poll(cx))?;
                    let refused = response.extensions().get::<Refused>().is_some();
                    let Some((limits, wants)) = watch.take().filter(|_| refused).map(|watch| *watch) else {
                        return Poll::Ready(Ok(response));
                    };
                    match limits.ask(&wants) {
                        EventualDecision::Now(decision) => match concluded(&limits, decision, &wants) {
                            (None, says) => return Poll::Ready(Ok(saying(response, says))),
                            (status, says) => State::Refused { status, says },
                        },
                        EventualDecision::Later(deciding) => {
                            State::Judging { deciding, next: Some(Box::new((response, (limits, wants)))) }
                        }
                    }
                }
                StateProjection::Judging { deciding, next } => {
                    let decision = ready!(deciding.as_mut().poll(cx));
                    let Some((response, (limits, wants))) = next.take().map(|next| *next) else {
                        return Poll::Ready(Ok(ended().into_http()));
                    };
                    match concluded(&limits, decision, &wants) {
                        (None, says) => return Poll::Ready(Ok(saying(response, says))),
                        (status, says) => State::Refused { status, says },
                    }
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}
