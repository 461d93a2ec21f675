//! Buckets in Redis, that all instances of a service share: one script by the server's clock, within a hard budget of time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::{Client, WithOptions};
use fred::error::ErrorKind;
use fred::interfaces::ClientLike as _;
use fred::types::config::{Options, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, ClusterHash, CustomCommand, Value};
use fred::util::sha1_hash;
use smallvec::SmallVec;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Code;

use super::bucket::duration;
use super::debt::Debt;
use super::decision::{Decision, Decisions, EventualDecision, OnFailure, Quota, Source};
use super::local::{Lease, Local, Want, Wants};
use super::settings::{InvalidRedis, RedisSettings};
use crate::breaker::{Admission, Breaker};
use crate::observe::Circuit;
use crate::outcome::Outcome;

/// The script; the same sums as in `bucket.rs`.
pub(super) const SCRIPT: &str = include_str!("script.lua");

/// Calls that wait for a connection: more would not be answered within the budget.
const QUEUE: usize = 10_000;
/// A connection that owes an answer for so long is given up.
const UNRESPONSIVE: Duration = Duration::from_secs(2);
/// How long a new connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// While Redis doesn't decide, the log says so at most once in this time.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Tokens of so long are taken in advance, and may be spent for so long.
const LEASE_OF: Duration = Duration::from_millis(100);
const LEASE_LIFE: Duration = Duration::from_secs(1);
/// Between attempts to connect, in milliseconds, growing twofold.
const RECONNECT: (u32, u32) = (50, 1000);
/// What a server says that can't decide, though it answers: it was demoted, reads its data, or has lost its primary, its
/// cluster or its replicas. Another may be at the address by now.
const UNFIT: [&str; 5] = ["READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS"];
/// Between two connections that are made anew for that.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Where a slot has moved to is learnt, and the command fails. The client mustn't follow: on the way to where a slot is about
/// to move, it mistakes other callers' answers (fred 10.1, `send_asking_with_policy`).
const REDIRECTIONS: u32 = 0;

/// The shared buckets.
pub(super) struct Redis {
    client: WithOptions<Client>,
    /// The same connection, for who takes an answer though it comes later than the budget.
    patient: WithOptions<Client>,
    /// Whether the connection is being made anew, or was a moment ago.
    renewing: Arc<AtomicBool>,
    /// Whether buckets of different callers may be on different servers, where no script sees both.
    clustered: bool,
    sha: String,
    budget: Duration,
    breaker: Breaker,
    /// What went wrong last, for people.
    problem: Arc<Mutex<String>>,
    leases: bool,
    /// This instance's shares, charged along so that they know what was spent; and the denials that hold still.
    local: Local,
    connection: JoinHandle<Result<(), fred::error::Error>>,
}

impl Redis {
    /// Connects in the background.
    pub fn connect(settings: RedisSettings, local: Local) -> Result<Self, InvalidRedis> {
        let mut config = settings.config()?;
        let RedisSettings { budget, breaker, leases, .. } = settings;
        // A Redis that isn't there yet is waited for.
        config.fail_fast = false;
        let clustered = config.server.is_clustered();
        let client = Builder::from_config(config)
            .with_connection_config(|connection| {
                connection.connection_timeout = CONNECT;
                connection.internal_command_timeout = CONNECT;
                connection.max_command_attempts = 1;
                connection.max_redirections = REDIRECTIONS;
                connection.max_command_buffer_len = QUEUE;
                connection.unresponsive =
                    UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: UNRESPONSIVE / 4 };
                connection.tcp.nodelay = Some(true);
            })
            .set_policy(ReconnectPolicy::new_exponential(0, RECONNECT.0, RECONNECT.1, 2))
            .build()
            .map_err(|error| InvalidRedis(error.details().to_owned()))?;
        let connection = client.connect();
        // What is too late is not sent when a connection is there again.
        let within = |time| {
            client.with_options(&Options {
                max_attempts: Some(1),
                max_redirections: Some(REDIRECTIONS),
                fail_fast: true,
                timeout: Some(time),
                ..Options::default()
            })
        };
        let problem = Arc::new(Mutex::new(String::new()));
        let last = Arc::clone(&problem);
        let warned = Mutex::new(None::<Instant>);
        let breaker = Breaker::new(breaker).on_change(move |circuit| match circuit {
            Circuit::Open => {
                // Each probe that fails opens it again.
                let mut warned = warned.lock().unwrap_or_else(PoisonError::into_inner);
                if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                    *warned = Some(Instant::now());
                    let problem = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    tracing::warn!(problem, "rate limits: Redis does not decide; each rule's failure policy does");
                }
            }
            Circuit::Closed => tracing::info!("rate limits: Redis decides again"),
            Circuit::HalfOpen => {}
        });
        Ok(Self {
            client: within(budget),
            patient: within(LEASE_LIFE),
            renewing: Arc::default(),
            clustered,
            sha: sha1_hash(SCRIPT),
            budget,
            breaker,
            problem,
            leases,
            local,
            connection,
        })
    }

    /// Takes a token for each, or none.
    pub fn ask(self: &Arc<Self>, wants: &Wants, decisions: &Decisions) -> EventualDecision {
        if let Some(denied) = self.local.denied(wants) {
            decisions.count(Source::CachedDenial, denied);
            return EventualDecision::Now(denied);
        }
        if let ([want], true) = (&wants[..], self.leases)
            && self.local.spend(want).is_some()
        {
            // Of the bucket others may have taken since.
            let admitted = Decision::Admitted { quota: None };
            decisions.count(Source::Lease, admitted);
            return EventualDecision::Now(admitted);
        }
        let admission = self.breaker.admit(Instant::now());
        if let Admission::Rejected { .. } = admission {
            return EventualDecision::Now(self.fall_back(wants, decisions));
        }
        let (redis, wants, decisions) = (Arc::clone(self), wants.clone(), decisions.clone());
        EventualDecision::Later(Box::pin(async move {
            let asked = tokio::time::timeout(redis.budget, redis.take(&wants)).await;
            let problem = match &asked {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.details().to_owned()),
                Err(_) => Some(format!("no answer within {:?}", redis.budget)),
            };
            if let Some(problem) = problem {
                *redis.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
            }
            let outcome = if matches!(asked, Ok(Ok(_))) { Outcome::Status(Code::Ok) } else { Outcome::TimedOut };
            redis.breaker.settle(Instant::now(), admission, outcome);
            match asked {
                Ok(Ok(decision)) => {
                    decisions.count(Source::Redis, decision);
                    return decision;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "rate limits: Redis failed");
                    if is_unfit(&error) {
                        redis.renew(&error);
                    }
                }
                Err(_) => tracing::debug!("rate limits: Redis did not answer within {:?}", redis.budget),
            }
            redis.fall_back(&wants, &decisions)
        }))
    }

    /// Gives a token back, as far as the buckets are in reach within the budget. What they have not been charged with yet is
    /// owed no more.
    pub async fn give_back(&self, want: &Want) {
        self.local.give_back(want);
        if self.local.forgive(want) || self.breaker.rejects(Instant::now()) {
            return;
        }
        match tokio::time::timeout(self.budget, self.run(&self.client, std::slice::from_ref(want), -1)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "rate limits: Redis failed; a token is not given back"),
            Err(_) => tracing::debug!("rate limits: Redis did not answer in time; a token may not be given back"),
        }
    }

    /// What would deny a call now without Redis being asked: a denial that holds still, or this instance's share while Redis is
    /// out of reach. Takes nothing.
    pub fn denial(&self, wants: &Wants) -> Option<(Source, Decision)> {
        if let Some(denied) = self.local.denied(wants) {
            return Some((Source::CachedDenial, denied));
        }
        if !self.breaker.rejects(Instant::now()) {
            return None;
        }
        let denied = self.local.peek(wants.iter().filter(|want| want.on_failure == OnFailure::OpenLocal))?;
        Some((Source::Fallback, denied))
    }

    /// As the rules have it when Redis is out of reach.
    fn fall_back(&self, wants: &Wants, decisions: &Decisions) -> Decision {
        let closed = wants.iter().find(|want| want.on_failure == OnFailure::Closed);
        let decision = if let Some(want) = closed {
            Decision::Unavailable { rule: want.rule }
        } else if wants.iter().all(|want| want.on_failure == OnFailure::OpenLocal) {
            self.take_local(wants)
        } else {
            let local: Wants = wants.iter().filter(|want| want.on_failure == OnFailure::OpenLocal).cloned().collect();
            if local.is_empty() { Decision::Admitted { quota: None } } else { self.take_local(&local) }
        };
        decisions.count(Source::Fallback, decision);
        decision
    }

    /// Takes a token for each from this instance's shares, or none; the shared buckets are charged when they are in reach again.
    fn take_local(&self, wants: &[Want]) -> Decision {
        match self.local.take(wants) {
            Decision::Admitted { .. } => {
                self.local.owe(wants);
                // What the shared buckets have is not known.
                Decision::Admitted { quota: None }
            }
            refused => refused,
        }
    }

    /// Makes the connection anew in the background, as that to a server which can't decide would stay for good.
    fn renew(&self, error: &fred::error::Error) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(%error, "rate limits: this Redis can't decide; connecting anew, in case another has its place");
        let (client, renewing) = (self.client.clone(), Arc::clone(&self.renewing));
        tokio::spawn(async move {
            match tokio::time::timeout(CONNECT, client.force_reconnection()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "rate limits: no new connection yet; it is tried on"),
                Err(_) => tracing::debug!("rate limits: no new connection within {CONNECT:?}; it is tried on"),
            }
            tokio::time::sleep(RENEW_EVERY).await;
            renewing.store(false, Ordering::Release);
        });
    }

    async fn take(self: &Arc<Self>, wants: &[Want]) -> Result<Decision, fred::error::Error> {
        if let ([want], true) = (wants, self.leases)
            && let Some(decision) = self.take_lease(want).await?
        {
            return Ok(decision);
        }
        if !self.clustered || wants.len() == 1 {
            return Ok(self.record(wants, &self.run(&self.client, wants, 1).await?));
        }
        // No script sees buckets on two servers: one after the other, and given back if a later one has none.
        let mut fewest: Option<Quota> = None;
        for (taken, want) in wants.iter().enumerate() {
            let one = std::slice::from_ref(want);
            match self.record(one, &self.run(&self.client, one, 1).await?) {
                Decision::Admitted { quota } => fewest = quota.map(|quota| quota.fewer(fewest)).or(fewest),
                denied => {
                    for earlier in &wants[..taken] {
                        self.run(&self.client, std::slice::from_ref(earlier), -1).await?;
                    }
                    return Ok(denied);
                }
            }
        }
        Ok(Decision::Admitted { quota: fewest })
    }

    /// Takes a token and some in advance; `None` when there are not as many, or somebody else is about to.
    async fn take_lease(self: &Arc<Self>, want: &Want) -> Result<Option<Decision>, fred::error::Error> {
        let advance = want.rate.tokens_per_second() * LEASE_OF.as_secs_f64() / f64::from(want.instances.max(1));
        let most = want.rate.burst() / 10;
        if most == 0 || !self.local.claim(want, self.budget.min(LEASE_OF)) {
            return Ok(None);
        }
        let tokens = (advance as u64).clamp(1, most);
        let (redis, want) = (Arc::clone(self), want.clone());
        // Apart from the call: what is answered too late for it was taken all the same, and is for those behind it.
        let lease = tokio::spawn(async move { redis.lease(&want, tokens).await });
        // It fails only where the runtime ends.
        lease.await.unwrap_or(Ok(None))
    }

    /// Takes a token, and `tokens` in advance, to be spent by others.
    async fn lease(&self, want: &Want, tokens: u64) -> Result<Option<Decision>, fred::error::Error> {
        let (asked, one) = (self.local.now(), std::slice::from_ref(want));
        let reply = self.run(&self.patient, one, i64::try_from(tokens).unwrap_or(i64::MAX - 1) + 1).await?;
        let [1, _, reset, level] = reply[..] else { return Ok(None) };
        self.local.charge(one, tokens + 1);
        let level = u64::try_from(level).unwrap_or(u64::MAX);
        self.local.keep(want, Lease::new(tokens, level, asked, LEASE_LIFE));
        // Those in advance are the caller's still.
        let remaining = want.rate.tokens(level).saturating_add(tokens).min(want.rate.burst());
        let reset_after = duration(&want.rate, u64::try_from(reset).unwrap_or(0));
        Ok(Some(Decision::Admitted { quota: Some(Quota { rule: want.rule, remaining, reset_after }) }))
    }

    /// Runs the script, which first charges the buckets with what they are owed: whether all were admitted, then the wait, the
    /// reset and the level of each.
    async fn run(
        &self,
        client: &WithOptions<Client>,
        wants: &[Want],
        tokens: i64,
    ) -> Result<Vec<i64>, fred::error::Error> {
        let payment = Payment::of(&self.local, wants);
        let arguments: Vec<i64> =
            payment.levels().zip(wants).flat_map(|(debt, want)| arguments(want, tokens, debt)).collect();
        // Not by the client's own methods for scripts, which know no options.
        let known = eval_arguments(&self.sha, wants, &arguments);
        let reply = match client.custom::<Vec<i64>, Value>(command("EVALSHA", wants), known).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                client
                    .custom::<Vec<i64>, Value>(command("EVAL", wants), eval_arguments(SCRIPT, wants, &arguments))
                    .await
            }
            reply => reply,
        };
        let reply = reply.inspect_err(|error| {
            // What only comes late has been charged, or will be.
            if !matches!(error.kind(), ErrorKind::Timeout) {
                payment.owe_again();
            }
        })?;
        Ok(reply)
    }

    /// What a reply says; kept in mind for when Redis is out of reach, or needn't be asked.
    fn record(&self, wants: &[Want], reply: &[i64]) -> Decision {
        let number =
            |place: usize| reply.get(place).copied().and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        if number(0) == 1 {
            self.local.charge(wants, 1);
            let quotas = wants.iter().enumerate().map(|(i, want)| Quota {
                rule: want.rule,
                remaining: want.rate.tokens(number(3 * i + 3)),
                reset_after: duration(&want.rate, number(3 * i + 2)),
            });
            return Decision::Admitted { quota: quotas.min_by_key(|quota| quota.remaining) };
        }
        let mut longest = (0, Duration::ZERO);
        for (i, want) in wants.iter().enumerate() {
            let wait = duration(&want.rate, number(3 * i + 1).min(want.rate.refill()));
            if !wait.is_zero() {
                self.local.deny(want, wait);
            }
            if wait > longest.1 {
                longest = (want.rule, wait);
            }
        }
        Decision::Denied { rule: longest.0, retry_after: longest.1 }
    }

    pub fn keys(&self) -> usize {
        self.local.keys()
    }
}

/// Whether an error says that the server can't decide.
pub(super) fn is_unfit(error: &fred::error::Error) -> bool {
    // Older servers put words of their own before what a script was told.
    error.details().split(|letter: char| !letter.is_ascii_uppercase()).any(|word| UNFIT.contains(&word))
}

/// The arguments of the script for one bucket. All fit: a rate is counted below 2⁵².
fn arguments(want: &Want, tokens: i64, debt: u64) -> [i64; 5] {
    let rate = &want.rate;
    let cost = rate.cost(tokens.unsigned_abs()).cast_signed() * tokens.signum();
    [rate.capacity().cast_signed(), rate.count().cast_signed(), cost, rate.unit().cast_signed(), debt.cast_signed()]
}

/// A command on the server of the buckets: in a cluster it is about one.
fn command(name: &'static str, wants: &[Want]) -> CustomCommand {
    let slot = wants.first().map_or(ClusterHash::FirstKey, |want| ClusterHash::from(want.name.as_bytes()));
    CustomCommand::new_static(name, slot, false)
}

/// What follows `EVAL` and `EVALSHA`.
fn eval_arguments(script: &str, wants: &[Want], arguments: &[i64]) -> Vec<Value> {
    let mut words = Vec::with_capacity(2 + wants.len() + arguments.len());
    words.push(Value::from(script));
    words.push(Value::from(i64::try_from(wants.len()).unwrap_or(i64::MAX)));
    words.extend(wants.iter().map(|want| Value::from(want.name.as_bytes())));
    words.extend(arguments.iter().copied().map(Value::from));
    words
}

/// What is owed to shared buckets and on its way to them. It is owed again only when it is known not to have arrived: charged
/// twice, a bucket would deny callers who have kept to their limit.
struct Payment<'a> {
    local: &'a Local,
    wants: &'a [Want],
    debts: SmallVec<[Debt; 1]>,
}

impl<'a> Payment<'a> {
    fn of(local: &'a Local, wants: &'a [Want]) -> Self {
        Self { local, wants, debts: wants.iter().map(|want| local.take_debt(want)).collect() }
    }

    /// In token·units of each rate.
    fn levels(&self) -> impl Iterator<Item = u64> {
        let now = self.local.now();
        self.debts.iter().zip(self.wants).map(move |(debt, want)| debt.left(&want.rate, want.instances, now))
    }

    /// It has not arrived.
    fn owe_again(&self) {
        for (debt, want) in self.debts.iter().zip(self.wants) {
            if debt.until > 0 {
                self.local.owe_again(want, *debt);
            }
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
