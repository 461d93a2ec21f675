//! What all principals at one address have together.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, advance};

use crate::server::auth::Principal;
use crate::server::rate::limits::RateLimits;
use crate::server::rate::{AddressShare, LimitReport, Plans, Rate, RateLimiter, Rule};
use crate::server::{Domain, Peer, PeerIdentity};

const PATH: &str = "/a.Orders/Get";

/// Each account has 100 and 10 a second; an address 20 times that.
fn limits() -> RateLimits {
    let calls = Rule::new("calls", Rate::per_second(100, 10.0).unwrap());
    let share = AddressShare::new(Rate::per_second(2000, 200.0).unwrap()).exempt(["service"]);
    RateLimits::new(RateLimiter::in_process(), vec![calls], Domain::default()).with_share(share)
}

fn peer(last: u8) -> Peer {
    Peer::at(Some(([192, 0, 2, last], 9).into()))
}

fn account(name: &str, role: &str) -> Principal {
    Principal::new(format!("users/{name}"), [role])
}

async fn call(limits: &RateLimits, peer: &Peer, account: &Principal) -> Result<(), tonic::Status> {
    let mut wants = limits.wants_of(&[0], Some(peer), Some(account), &HeaderMap::new(), PATH).unwrap();
    limits.admit(&mut wants, peer, Some(account), &LimitReport::default()).await
}

#[tokio::test(start_paused = true)]
async fn d10_an_address_with_98_accounts_gets_the_worth_of_20_and_starves_none_of_them() {
    let (limits, begun) = (limits(), Instant::now());
    let (crowd, elsewhere) = (peer(1), peer(2));
    let greedy: Vec<_> = (0..97).map(|at| account(&format!("greedy-{at}"), "customer")).collect();
    let (quiet, neighbour) = (account("quiet", "customer"), account("neighbour", "customer"));
    let mut admitted = 0_u32;
    for step in 0..3000 {
        for one in &greedy {
            admitted += u32::from(call(&limits, &crowd, one).await.is_ok());
        }
        if step % 100 == 50 {
            call(&limits, &crowd, &quiet).await.unwrap();
            admitted += 1;
        }
        if step % 5 == 0 {
            call(&limits, &elsewhere, &neighbour).await.unwrap();
        }
        advance(Duration::from_millis(20)).await;
    }
    let most = 2000.0 + 200.0 * begun.elapsed().as_secs_f64();
    assert!(f64::from(admitted) <= most, "{admitted} of {most}");
    assert!(f64::from(admitted) >= most * 0.8, "{admitted} of {most}");
}

#[tokio::test(start_paused = true)]
async fn half_of_the_share_is_there_for_whoever_comes_first() {
    let limits = limits();
    for at in 0..20 {
        let one = account(&at.to_string(), "customer");
        for _ in 0..50 {
            call(&limits, &peer(1), &one).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn services_and_peers_with_a_certificate_are_not_limited_by_address() {
    let limits = limits();
    let certified = Peer::verified(Some(([192, 0, 2, 1], 9).into()), Some(PeerIdentity::new("shop")), Vec::new());
    for at in 0..50 {
        let (service, customer) = (account(&format!("s{at}"), "service"), account(&format!("c{at}"), "customer"));
        for _ in 0..100 {
            call(&limits, &peer(1), &service).await.unwrap();
            call(&limits, &certified, &customer).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_over_the_limit_of_the_address_is_told_so() {
    let limits = limits();
    let mut refused = None;
    for at in 0..98 {
        let one = account(&at.to_string(), "customer");
        for _ in 0..100 {
            refused = call(&limits, &peer(1), &one).await.err().or(refused);
        }
    }
    let message = refused.unwrap().message().to_owned();
    assert!(message.starts_with("too many calls by address:192.0.2.1 (address); "), "{message}");
}

/// Those of the role `partner` are on the plan `partner`.
struct Partners;

impl Plans for Partners {
    fn plan(&self, principal: Option<&Principal>) -> Option<&str> {
        principal?.has_role("partner").then_some("partner")
    }
}

#[tokio::test(start_paused = true)]
async fn principals_on_an_exempt_plan_do_not_count_for_their_address() {
    let calls = Rule::new("calls", Rate::per_second(1000, 1.0).unwrap());
    let share = AddressShare::new(Rate::per_second(20, 0.001).unwrap()).exempt_plans(["partner"]);
    let limits = RateLimits::new(RateLimiter::in_process(), vec![calls], Domain::default());
    let limits = limits.with_plans(Arc::new(Partners)).with_share(share);
    let (crowd, partner, anna) = (peer(1), account("acme", "partner"), account("anna", "customer"));
    for _ in 0..100 {
        call(&limits, &crowd, &partner).await.unwrap();
    }
    let mut admitted = 0;
    while call(&limits, &crowd, &anna).await.is_ok() {
        admitted += 1;
    }
    assert!((1..=20).contains(&admitted), "{admitted}");
}
