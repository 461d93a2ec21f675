//! What one caller may have at once, and that another does not notice.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork::server::{Budgets, CallerLimits, ConnectionObserver, RefusedConnection, Resource};
use meshwork::{Channel, Server};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::clients::{Named, Tcp, by};
use crate::support::{Running, SLEEP, UNARY, budgets, refused, send, unary, until};
use crate::wire::{Answer, Wire, head};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);
const NONE: CallerLimits = CallerLimits { total: 0, per_principal: 0, per_stranger: 0, per_address: 0, own: 0 };

/// A call by `name` that takes so many milliseconds.
fn sleeping(channel: &Channel, name: &'static str, millis: &'static str) -> JoinHandle<Result<String, Status>> {
    let channel = channel.clone();
    tokio::spawn(async move { send(&channel, SLEEP, by(name, millis)).await })
}

#[tokio::test(start_paused = true)]
async fn a_principal_has_so_many_calls_and_another_does_not_notice() {
    let budgets = budgets(Resource::Calls, CallerLimits { total: 4, per_principal: 5, own: 2, ..NONE });
    let server = Running::start(Server::builder().authenticator(Arc::new(Named)).budgets(budgets.clone()));
    let channel = server.channel();
    let flood: Vec<_> = (0..100).map(|_| sleeping(&channel, "anna", "1000")).collect();
    until("anna has what she may", || budgets.in_use(Resource::Calls) == 5).await;
    for _ in 0..20 {
        let (first, second) =
            tokio::join!(send(&channel, UNARY, by("bert", "x")), send(&channel, UNARY, by("bert", "y")));
        assert_eq!((first.unwrap().as_str(), second.unwrap().as_str()), ("x", "y"));
    }
    let mut answered = 0;
    for call in flood {
        match call.await.unwrap() {
            Ok(_) => answered += 1,
            Err(status) => {
                let expected = (Code::ResourceExhausted, "TOO_MANY_CALLS".into(), "caller".into());
                assert_eq!(refused(&status), expected);
            }
        }
    }
    assert_eq!(answered, 5);
    until("all is given back", || budgets.in_use(Resource::Calls) == 0).await;
    assert_eq!(send(&channel, UNARY, by("anna", "again")).await.unwrap(), "again");
}

#[tokio::test]
async fn an_address_has_so_many_calls_with_all_its_accounts() {
    let budgets = budgets(Resource::Calls, CallerLimits { total: 100, per_address: 3, own: 8, ..NONE });
    let server = Tcp::start(Server::builder().authenticator(Arc::new(Named)).budgets(budgets.clone())).await;
    let (one, other) = (server.channel(41), server.channel(42));
    let calls = ["anna", "bert", "carl"].map(|name| sleeping(&one, name, "600000"));
    until("they have begun", || budgets.in_use(Resource::Calls) == 3).await;
    let status = send(&one, UNARY, by("dora", "x")).await.unwrap_err();
    assert_eq!(refused(&status), (Code::ResourceExhausted, "TOO_MANY_CALLS".into(), "address".into()));
    assert_eq!(send(&other, UNARY, by("dora", "x")).await.unwrap(), "x");
    // Health is for everybody.
    HealthClient::new(one.clone()).check(HealthCheckRequest::default()).await.unwrap();
    calls.iter().for_each(JoinHandle::abort);
    until("all is given back", || budgets.in_use(Resource::Calls) == 0).await;
    assert_eq!(send(&one, UNARY, by("dora", "x")).await.unwrap(), "x");
}

#[tokio::test]
async fn s3_watches_are_bounded_by_address_and_in_all() {
    let budgets = budgets(Resource::Watches, CallerLimits { total: 3, per_address: 4, own: 2, ..NONE });
    let server = Tcp::start(Server::builder().budgets(budgets.clone())).await;
    let watch = async |channel: &Channel| {
        let mut client = HealthClient::new(channel.clone());
        client.watch(HealthCheckRequest::default()).await.map(Response::into_inner)
    };
    let too_many = |scope: &str| (Code::ResourceExhausted, "TOO_MANY_WATCHES".to_owned(), scope.to_owned());
    let mut open = Vec::new();
    // Each has two of its own: the first takes two of what all share, the second the third of these.
    let channels = [61, 62, 63].map(|last| server.channel(last));
    for (channel, (count, scope)) in channels.iter().zip([(4, "address"), (3, "server"), (2, "server")]) {
        for _ in 0..count {
            open.push(watch(channel).await.unwrap());
        }
        assert_eq!(refused(&watch(channel).await.unwrap_err()), too_many(scope));
    }
    // They take no place of calls, and checks are not counted.
    let one = &channels[0];
    assert_eq!(unary(one, UNARY, "x").await.unwrap(), "x");
    for _ in 0..100 {
        HealthClient::new(one.clone()).check(HealthCheckRequest::default()).await.unwrap();
    }
    drop(open);
    until("all is given back", || budgets.in_use(Resource::Watches) == 0).await;
    watch(one).await.unwrap();
}

/// Whom a server has refused.
#[derive(Default)]
struct Refusals(Mutex<Vec<RefusedConnection>>);

impl ConnectionObserver for Refusals {
    fn refused(&self, address: Option<SocketAddr>, why: RefusedConnection) {
        assert!(address.is_some());
        self.0.lock().unwrap().push(why);
    }
}

/// Makes a call, which keeps the connection open.
async fn connect(server: &Tcp, last: u8) -> Wire {
    let wire = Wire::new(server.connect(last).await).await;
    let answer = wire.call(head(UNARY), "x").await.unwrap();
    assert_eq!(Answer::read(answer, AT_ONCE).await.unwrap().status().code(), Code::Ok);
    wire
}

#[tokio::test]
async fn s4_an_address_has_so_many_connections_and_goaway_says_why() {
    let budgets = budgets(Resource::Connections, CallerLimits { total: 100, per_address: 3, ..NONE });
    let refusals = Arc::new(Refusals::default());
    let builder = Server::builder().budgets(budgets.clone()).connection_observer(refusals.clone());
    let server = Tcp::start(builder).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(connect(&server, 51).await);
    }
    let fourth = Wire::new(server.connect(51).await).await;
    let ended = fourth.connection.await.unwrap().unwrap_err();
    assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{ended}");
    assert!(ended.to_string().contains("address"), "{ended}");
    assert_eq!(*refusals.0.lock().unwrap(), [RefusedConnection::TooManyOfAddress]);
    let _other = connect(&server, 52).await;
    drop(open.pop());
    until("a place is free", || budgets.in_use(Resource::Connections) == 3).await;
    connect(&server, 51).await;
}

#[tokio::test(start_paused = true)]
async fn s4_a_connection_without_a_call_ends_by_default() {
    let server = Running::start(Server::builder().budgets(Budgets::default()));
    let (wire, begin) = (Wire::new(server.connect().await).await, Instant::now());
    wire.connection.await.unwrap().unwrap();
    let idle = begin.elapsed();
    let expected = Duration::from_secs(15 * 60);
    assert!((expected..expected + Duration::from_secs(60)).contains(&idle), "{idle:?}");
}
