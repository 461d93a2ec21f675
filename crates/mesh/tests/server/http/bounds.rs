//! How long connections of HTTP/1.1 last, and what their requests hold.

use std::sync::Arc;
use std::time::Duration;

use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{CallerLimits, Drain, Resource};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::{Client, get, post, serve};
use crate::clients::Named;
use crate::support::{LARGE, UNARY, budgets, calls, of_connections, unary, until};

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_answers_what_it_was_asked_and_closes_the_connections() {
    let server = serve(Server::builder().drain(Drain { delay: Duration::ZERO, ..Drain::default() }));
    let (mut busy, mut idle) = (Client::new(&server).await, Client::new(&server).await);
    assert_eq!(idle.ask(get("/hello")).await.0, 200);
    busy.say(get("/wait")).await;
    sleep(Duration::from_millis(100)).await;
    server.stop();
    assert_eq!(idle.rest().await, "");
    let (status, head, body) = busy.answer().await.unwrap();
    assert_eq!((status, body.as_str()), (200, "waited"));
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(busy.rest().await, "");
    let stopped = Instant::now();
    drop((busy, idle));
    server.ended().await;
    assert!(stopped.elapsed() < Duration::from_secs(2), "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_outlasts_the_grace_is_answered_with_503() {
    let grace = Duration::from_secs(2);
    let server = serve(Server::builder().drain(Drain { delay: Duration::ZERO, grace, ..Drain::default() }));
    let mut client = Client::new(&server).await;
    client.say("POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n").await;
    sleep(Duration::from_millis(100)).await;
    server.stop();
    assert_eq!(client.answer().await.unwrap().0, 503);
    drop(client);
    server.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_between_requests_and_closed_when_it_is_idle() {
    let idle = Duration::from_secs(60);
    let server = serve(Server::builder().max_connection_idle(idle));
    let mut client = Client::new(&server).await;
    for _ in 0..3 {
        assert_eq!(client.ask(post("/body", "", "four")).await.0, 200);
        sleep(Duration::from_secs(50)).await;
    }
    assert_eq!(client.ask(get("/hello")).await.0, 200);
    let answered = Instant::now();
    assert_eq!(client.rest().await, "");
    let (lived, tolerance) = (answered.elapsed(), Duration::from_secs(1));
    assert!(lived + tolerance > idle && lived < idle + tolerance, "{lived:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_age_is_closed_after_its_request() {
    let server = serve(Server::builder().max_connection_age(Duration::from_secs(10)));
    let mut client = Client::new(&server).await;
    // Its age counts from here.
    assert_eq!(client.ask(get("/hello")).await.0, 200);
    sleep(Duration::from_millis(8500)).await;
    let (begin, mut last) = (Instant::now(), String::new());
    while client.io.write_all(get("/wait").as_bytes()).await.is_ok() {
        let Some((status, head, _)) = client.answer().await else { break };
        assert_eq!(status, 200);
        last = head;
    }
    assert!(last.contains("connection: close"), "{last}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn connections_of_http_1_1_have_places_among_the_others() {
    let server = serve(Server::builder().budgets(of_connections(1)));
    let mut client = Client::new(&server).await;
    assert_eq!(client.ask(get("/hello")).await.0, 200);
    let mut refused = Client::new(&server).await;
    let _ = refused.io.write_all(get("/hello").as_bytes()).await;
    let (status, head, _) = refused.answer().await.unwrap();
    assert_eq!(status, 503);
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(client.ask(get("/hello")).await.0, 200);
    drop(client);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(unary(&server.channel(), UNARY, "x").await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_call_has_its_place_until_the_answer_is_written() {
    let budgets = calls(1);
    let server = serve(Server::builder().budgets(budgets.clone()));
    let mut client = Client::new(&server).await;
    client.say(post("/call/test.Echo/Large", "", "1000000")).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((budgets.in_use(Resource::Calls), server.echo.running()), (1, 0));
    assert!(budgets.in_use(Resource::UnreadBytes) > 500_000);
    assert_eq!(client.answer().await.unwrap().2.len(), 1_000_000);
    until("the place is free", || budgets.in_use(Resource::Calls) == 0).await;
    assert_eq!(budgets.in_use(Resource::UnreadBytes), 0);
    assert_eq!(client.ask(get("/hello")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn what_waits_of_an_answer_is_its_callers_and_no_strangers() {
    let limits = CallerLimits { per_principal: 500_000, ..CallerLimits::default() };
    let builder = Server::builder()
        .authenticator(Arc::new(Named))
        .access(AccessTable::new().method(LARGE, Access::Authenticated))
        .budgets(budgets(Resource::UnreadBytes, limits));
    let server = serve(builder);
    for (size, answered) in [("1000", Some(200)), ("1000000", None)] {
        let mut client = Client::new(&server).await;
        client.say(post("/call/test.Echo/Large", "x-name: anna\r\n", size)).await;
        assert_eq!(client.answer().await.map(|(status, ..)| status), answered, "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_call_of_a_client_that_goes_is_cancelled() {
    let server = serve(Server::builder());
    let mut client = Client::new(&server).await;
    client.say(post("/call/test.Echo/Sleep", "", "1000000")).await;
    until("it runs", || server.echo.running() == 1).await;
    drop(client);
    until("it has ended", || server.echo.running() == 0).await;
    assert_eq!(server.echo.finished(), 0);
}
