//! Clients of HTTP/1.1 that mean no good: each is refused or cut, and who calls beside them doesn't notice.

use std::time::Duration;

use meshwork::Server;
use meshwork::server::Resource;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::{Client, ask_http2, get, serve};
use crate::support::{Running, UNARY, calls, unary};
use crate::wire::Wire;

const HEAD: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(60);

fn about(limit: Duration, began: Instant) {
    assert!((limit..limit + Duration::from_secs(2)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// Somebody else calls, and notices nothing.
async fn others_are_served(server: &Running) {
    let began = Instant::now();
    assert_eq!(unary(&server.channel(), UNARY, "beside").await.unwrap(), "beside");
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_slowly_ends_its_connection() {
    let server = serve(Server::builder());
    // The first one, and one after others.
    for requests in 0..2 {
        let mut client = Client::new(&server).await;
        for _ in 0..requests {
            assert_eq!(client.ask(get("/hello")).await.0, 200);
            sleep(STALL).await;
        }
        let began = Instant::now();
        client.say("GET /hello HTTP/1.1\r\n").await;
        while client.io.write_all(b"x: y\r\n").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
            others_are_served(&server).await;
        }
        about(HEAD, began);
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_waited_for_within_bounds() {
    let budgets = calls(0);
    let server = serve(Server::builder().budgets(budgets.clone()));
    for (sent, limit) in [("", HEAD), ("abc", STALL)] {
        let mut client = Client::new(&server).await;
        let began = Instant::now();
        client.say(format!("POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{sent}")).await;
        sleep(Duration::from_secs(1)).await;
        assert!(budgets.in_use(Resource::ArrivingBytes) > 0);
        others_are_served(&server).await;
        let (status, _, body) = client.answer().await.unwrap();
        assert_eq!((status, body.as_str()), (400, "DeadlineExceeded"));
        about(limit, began);
        assert_eq!(budgets.in_use(Resource::ArrivingBytes), 0);
    }
    // Over HTTP/2 as well.
    let wire = Wire::new(server.connect().await).await;
    let began = Instant::now();
    let head = http::Request::post("http://server/body").body(()).unwrap();
    let (answer, _request) = wire.send(head, false).await;
    assert_eq!(answer.await.unwrap().status(), 400);
    about(HEAD, began);
    assert_eq!(ask_http2(&wire, "/body", "anna", "x").await.unwrap().0, 200);
}

#[tokio::test(start_paused = true)]
async fn heads_that_are_too_large_are_answered_with_431() {
    let server = serve(Server::builder());
    let many = "a: b\r\n".repeat(101);
    let large = format!("x: {}\r\n", "y".repeat(20 << 10));
    for headers in [many, large] {
        let mut client = Client::new(&server).await;
        client.say(format!("GET /hello HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        assert_eq!(client.answer().await.unwrap().0, 431);
        assert_eq!(client.rest().await, "");
        others_are_served(&server).await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_say_two_lengths_smuggle_nothing() {
    let server = serve(Server::builder());
    let smuggled = get("/hello");
    let te = "transfer-encoding: chunked\r\n";
    for (headers, status) in [
        // The chunks hold (RFC 9112, section 6.3), and nothing after them is read.
        (format!("content-length: 4\r\n{te}"), 200),
        (format!("{te}content-length: 4\r\n"), 200),
        ("content-length: 5\r\ncontent-length: 50\r\n".to_owned(), 400),
        ("content-length: +5\r\n".to_owned(), 400),
        ("transfer-encoding: chunked, identity\r\n".to_owned(), 400),
        ("transfer-encoding: identity\r\ncontent-length: 5\r\n".to_owned(), 400),
    ] {
        let mut client = Client::new(&server).await;
        client.say(format!("POST /body HTTP/1.1\r\nhost: x\r\n{headers}\r\n0\r\n\r\n{smuggled}")).await;
        assert_eq!(client.answer().await.unwrap().0, status, "{headers}");
        assert_eq!(client.rest().await, "", "{headers}");
        others_are_served(&server).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_in_another_coding_is_not_read_as_plain() {
    let server = serve(Server::builder());
    for codings in [
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
    ] {
        let mut client = Client::new(&server).await;
        let smuggled = get("/hello");
        client.say(format!("POST /body HTTP/1.1\r\nhost: x\r\n{codings}\r\n0\r\n\r\n{smuggled}")).await;
        let (status, head, _) = client.answer().await.unwrap();
        assert!([400, 501].contains(&status) && head.contains("connection: close"), "{head}");
        assert!(!client.rest().await.contains("HTTP/1.1"), "{codings}");
        others_are_served(&server).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_says_one_host_and_says_it_once() {
    let server = serve(Server::builder());
    for hosts in ["", "host: x\r\nhost: y\r\n", "host: x\r\nhost: x\r\n", "host: x, y\r\n", "host: a@x\r\n"] {
        let mut client = Client::new(&server).await;
        client.say(format!("GET /hello HTTP/1.1\r\n{hosts}\r\n{}", get("/hello"))).await;
        let (status, head, _) = client.answer().await.unwrap();
        assert!(status == 400 && head.contains("connection: close"), "{hosts}: {head}");
        assert!(!client.rest().await.contains("HTTP/1.1"), "{hosts}");
        others_are_served(&server).await;
    }
    for request in [
        "GET /hello HTTP/1.1\r\nhost:\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "GET /hello HTTP/1.0\r\n\r\n",
    ] {
        assert_eq!(Client::new(&server).await.ask(request).await.0, 200, "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_is_cut() {
    let budgets = calls(0);
    let server = serve(Server::builder().budgets(budgets.clone()));
    let mut client = Client::new(&server).await;
    client.say(get("/large")).await;
    sleep(Duration::from_secs(1)).await;
    assert!(budgets.in_use(Resource::UnreadBytes) > 0);
    others_are_served(&server).await;
    sleep(STALL).await;
    assert_eq!(budgets.in_use(Resource::UnreadBytes), 0);
    assert!(client.answer().await.is_none(), "not all of it can be there");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_ends_its_own_connection() {
    let server = serve(Server::builder());
    for said in ["GET\r\n\r\n", "GET /hello HTTP/1.1\r\nno colon\r\n\r\n", "GET /\u{0} HTTP/1.1\r\n\r\n"] {
        let mut client = Client::new(&server).await;
        client.say(said).await;
        let rest = client.rest().await;
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400"), "{rest}");
        others_are_served(&server).await;
    }
    // An upgrade is not offered: the request is answered as it is.
    let mut client = Client::new(&server).await;
    let upgrade = "GET /hello HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    assert_eq!(client.ask(upgrade).await, (200, "hello by GET".to_owned()));
}
