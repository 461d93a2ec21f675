//! S5: who is over a limit is refused before a signature is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use meshwork::server::auth::{Access, AccessTable, Authenticated, Authenticator, Principal};
use meshwork::server::rate::{Key, Rate, RateLimitLayer, RateLimiter, Rule};
use meshwork::server::{CallerLimits, Domain, Peer, Resource};
use meshwork::{Channel, Server};
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Status};

use crate::clients::Tcp;
use crate::support::{LARGE, Running, SLEEP, UNARY, budgets, refused, send, until, why};

/// Counts how often it had to check a signature. It remembers "anna"; "bert" is right too, and others are forged.
#[derive(Clone, Default)]
struct Signatures(Arc<AtomicUsize>);

impl Signatures {
    fn checked(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization").and_then(|token| token.to_str().ok())
}

impl Authenticator for Signatures {
    fn authenticate(&self, headers: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        self.0.fetch_add(1, Ordering::SeqCst);
        Authenticated::Now(match token(headers) {
            Some(name @ ("anna" | "bert")) => Ok(Some(Principal::new(name, ["customer"]))),
            _ => Err(Status::unauthenticated("it is forged")),
        })
    }

    fn recall(&self, headers: &HeaderMap, _: Option<&Peer>) -> Option<Result<Option<Principal>, Status>> {
        match token(headers) {
            None => Some(Ok(None)),
            Some("anna") => Some(Ok(Some(Principal::new("anna", ["customer"])))),
            Some(_) => None,
        }
    }
}

async fn call(channel: &Channel, token: &str) -> Result<String, Status> {
    send(channel, UNARY, bearing(token, "x")).await
}

fn bearing(token: &str, said: &str) -> Request<String> {
    let mut request = Request::new(said.to_owned());
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    request
}

fn table() -> AccessTable {
    AccessTable::new().method(UNARY, Access::Authenticated).method(SLEEP, Access::Authenticated)
}

#[tokio::test(start_paused = true)]
async fn s5_forged_tokens_over_the_limit_cost_no_signature_and_remembered_ones_pass() {
    let signatures = Signatures::default();
    let rule = Rule::new("tries", Rate::per_second(10, 1.0).unwrap()).key(Key::Address);
    let limit = RateLimitLayer::new(RateLimiter::in_process(), [rule], Domain::default()).counting_refusals();
    let builder = Server::builder().authenticator(Arc::new(signatures.clone())).access(table());
    let server = Running::start(builder.limit_by_address(limit));
    let channel = server.channel();
    for _ in 0..20 {
        assert_eq!(call(&channel, "anna").await.unwrap(), "x", "good calls cost no token");
    }
    assert_eq!(signatures.checked(), 0);
    let mut codes = Vec::new();
    for number in 0..200 {
        codes.push(call(&channel, &format!("forged-{number}")).await.unwrap_err().code());
    }
    let unauthenticated = codes.iter().filter(|code| **code == Code::Unauthenticated).count();
    let exhausted = codes.iter().filter(|code| **code == Code::ResourceExhausted).count();
    // Each of these may have come while the clock went on.
    assert!(
        (10..=12).contains(&unauthenticated) && unauthenticated + exhausted == 200,
        "{unauthenticated}, {exhausted}"
    );
    assert_eq!(signatures.checked(), unauthenticated, "each signature was paid for");
    // Who is remembered passes; who is not has to come again, and then does.
    assert_eq!(call(&channel, "anna").await.unwrap(), "x");
    let status = call(&channel, "bert").await.unwrap_err();
    assert_eq!(why(&status), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(call(&channel, "bert").await.unwrap(), "x");
}

#[tokio::test]
async fn s5_an_address_that_has_all_its_calls_cannot_make_the_server_check_more() {
    let signatures = Signatures::default();
    let limits = CallerLimits { total: 100, per_address: 2, own: 8, ..CallerLimits::default() };
    let budgets = budgets(Resource::Calls, limits);
    let builder = Server::builder().authenticator(Arc::new(signatures.clone())).access(table());
    let server = Tcp::start(builder.budgets(budgets.clone())).await;
    let (one, other) = (server.channel(81), server.channel(82));
    let calls = [(); 2].map(|()| {
        let channel = one.clone();
        tokio::spawn(async move { send(&channel, SLEEP, bearing("anna", "600000")).await })
    });
    until("both have begun", || budgets.in_use(Resource::Calls) == 2).await;
    for number in 0..100 {
        let status = call(&one, &format!("forged-{number}")).await.unwrap_err();
        assert_eq!(refused(&status), (Code::ResourceExhausted, "TOO_MANY_CALLS".into(), "address".into()));
    }
    assert_eq!(signatures.checked(), 0);
    assert_eq!(call(&other, "bert").await.unwrap(), "x");
    assert_eq!(signatures.checked(), 1);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn s5_a_principal_that_may_not_call_pays_for_its_refusals_itself() {
    let rule = Rule::new("calls", Rate::per_second(10, 1.0).unwrap());
    let limit = RateLimitLayer::new(RateLimiter::in_process(), [rule], Domain::default());
    let table = table().method(LARGE, Access::roles(["staff"]));
    let builder = Server::builder().authenticator(Arc::new(Signatures::default())).access(table);
    let server = Running::start(builder.limit_by_address(limit.clone().counting_refusals()).limit_by_principal(limit));
    let channel = server.channel();
    let mut reasons = Vec::new();
    for _ in 0..100 {
        reasons.push(why(&send(&channel, LARGE, bearing("anna", "1")).await.unwrap_err()));
    }
    let count = |code: Code, reason: &str| reasons.iter().filter(|seen| **seen == (code, reason.to_owned())).count();
    let denied = count(Code::PermissionDenied, "NOT_ALLOWED");
    let limited = count(Code::ResourceExhausted, "RATE_LIMITED");
    // Each of these may have come while the clock went on.
    assert!((10..=12).contains(&denied) && denied + limited == 100, "{reasons:?}");
    // A neighbour at her address has a share of his own, and finds that of the address whole.
    for _ in 0..10 {
        assert_eq!(call(&channel, "bert").await.unwrap(), "x");
    }
}

/// Never finds out who calls.
struct Unanswered;

impl Authenticator for Unanswered {
    fn authenticate(&self, _: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        Authenticated::Later(Box::pin(std::future::pending()))
    }
}

#[tokio::test(start_paused = true)]
async fn how_long_credentials_may_take_to_be_verified_is_a_setting() {
    for (builder, seconds) in
        [(Server::builder(), 10), (Server::builder().verification_timeout(Duration::from_secs(2)), 2)]
    {
        let server = Running::start(builder.authenticator(Arc::new(Unanswered)).access(table()));
        let channel = server.channel();
        let begin = Instant::now();
        let status = call(&channel, "anna").await.unwrap_err();
        assert_eq!(why(&status), (Code::Unavailable, "KEYS_UNAVAILABLE".into()));
        assert!(status.message().contains(&format!("within {seconds}s")), "{status}");
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}
