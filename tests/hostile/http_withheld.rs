//! Requests of HTTP that don't come, or never end: over HTTP/1.1, and over HTTP/2 in the protocols that aren't gRPC.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::asks::{Ask, CONNECT_JSON, GRPC_WEB, GRPC_WEB_TEXT, JSON, PROTO};
use super::wire::{Started, Wire, frame, send_all};
use super::world::{Scene, method};

/// How long a request that was ended rests before it is begun again.
const REST: Duration = Duration::from_millis(400);
/// The most bytes that a body may have by default.
const LARGEST: usize = 4 << 20;

/// What is said on a connection: once, and again and again after that; nothing, if it is empty.
#[derive(Clone)]
struct Said {
    begin: Bytes,
    then: &'static [u8],
}

/// Heads that never end: a byte, a line, and a field each 100 ms.
pub(crate) async fn heads(scene: Scene) {
    let said = |begin: &'static str, then: &'static [u8]| Said { begin: Bytes::from_static(begin.as_bytes()), then };
    let all = [
        said("G", b""),
        said("GET /v1/products HTTP/1.1\r\n", b""),
        said("GET /v1/products HTTP/1.1\r\nhost: shop.test\r\n", b"x: y\r\n"),
        said("GET /v1/products HTTP/1.1\r\nhost: shop.test\r\nx: ", b"y"),
    ];
    hold(&scene, 4, 250, &all).await;
}

/// A request of each protocol that has a body, without that.
fn requests(scene: &Scene) -> Vec<Ask> {
    let token = scene.world.account().token;
    let ask = |path: &str, media_type| Ask::post(path, media_type, Bytes::new()).with("authorization", token.as_str());
    vec![
        Ask::post("/v1/sessions:signIn", JSON, Bytes::new()),
        ask("/v1/orders", JSON),
        Ask::post(method::GET_PRODUCT, JSON, Bytes::new()),
        ask(method::GET_ORDER, PROTO),
        Ask::post(method::GET_PRODUCT, GRPC_WEB, Bytes::new()),
        ask(method::CREATE_ORDER, GRPC_WEB_TEXT),
        ask(method::WATCH_ORDER, CONNECT_JSON),
        // Nobody reads these.
        Ask::post("/nowhere", JSON, Bytes::new()),
        Ask::new("PUT", "/v1/orders"),
    ]
}

/// Bodies over HTTP/1.1: none, one that comes a byte each 100 ms, chunks without an end, and lengths that nobody could send.
pub(crate) async fn bodies(scene: Scene) {
    let mut all = Vec::new();
    for ask in requests(&scene) {
        let mut say = |begin: Vec<u8>, then: &'static [u8]| all.push(Said { begin: begin.into(), then });
        say(ask.text_to_body(100), b"");
        say(ask.text_to_body(1000), b" ");
        say(ask.text_to_body(10_000_000_000_u64), b" ");
        say(ask.text_to_body(u64::MAX), b" ");
        say(ask.clone().with("expect", "100-continue").text_to_body(100), b"");
        let head = String::from_utf8(ask.text_to_body("")).unwrap();
        let head = head.replace("content-length: \r\n", "transfer-encoding: chunked\r\n");
        let chunked = |first: &str| [head.as_str(), first].concat().into_bytes();
        say(chunked(""), b"1\r\n \r\n");
        say(chunked("ffffffffffffffff\r\n"), b" ");
        say(chunked("1;"), b"x");
        say(chunked("0\r\n"), b"x: y\r\n");
    }
    hold(&scene, 4, 100, &all).await;
}

/// Bodies of 4 MiB but for a byte: a hundred of them are 400 MiB to somebody who keeps them.
pub(crate) async fn almost_all(scene: Scene) {
    let most = b" ".repeat(LARGEST - 1);
    let all: Vec<_> = [("/v1/sessions:signIn", JSON), (method::GET_PRODUCT, JSON), (method::GET_PRODUCT, PROTO)]
        .into_iter()
        .map(|(path, media_type)| Ask::post(path, media_type, Bytes::new()).text_to_body(LARGEST))
        .map(|head| Said { begin: [head.as_slice(), most.as_slice()].concat().into(), then: b"" })
        .collect();
    hold(&scene, 2, 50, &all).await;
}

/// Holds `count` connections from each of some addresses, which take turns with `all`.
async fn hold(scene: &Scene, addresses: usize, count: usize, all: &[Said]) {
    let mut connections = JoinSet::new();
    for _ in 0..addresses {
        let from = scene.world.address();
        for said in all.iter().cycle().take(count) {
            connections.spawn(again_and_again(scene.clone(), from, said.clone()));
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn again_and_again(scene: Scene, from: Ipv4Addr, said: Said) {
    while scene.lasts() {
        let Some(mut raw) = scene.raw(from).await else { continue };
        match scene.within(raw.withhold(&said.begin, said.then)).await {
            Some(Ok(status)) => scene.tally.http(status),
            Some(Err(_)) => scene.tally.note("closed"),
            None => scene.tally.note("held to the end"),
        }
        scene.within(tokio::time::sleep(REST)).await;
    }
}

/// Bodies over HTTP/2, in the protocols that aren't gRPC: nothing, the begin of one, and a byte each 100 ms.
pub(crate) async fn streams(scene: Scene) {
    let asks = requests(&scene);
    let mut connections = JoinSet::new();
    for _ in 0..4 {
        let (scene, from, asks) = (scene.clone(), scene.world.address(), asks.clone());
        connections.spawn(async move {
            while scene.lasts() {
                let Some(wire) = scene.wire(from).await else { continue };
                let mut streams = JoinSet::new();
                for (at, ask) in asks.iter().cycle().take(120).enumerate() {
                    streams.spawn(stream(scene.clone(), wire.clone(), ask.clone(), at / asks.len() % 3));
                }
                while streams.join_next().await.is_some() {}
            }
        });
    }
    while connections.join_next().await.is_some() {}
}

/// Asks again and again; of the body comes nothing, some bytes, or one each 100 ms, by `how`.
async fn stream(scene: Scene, wire: Wire, ask: Ask, how: usize) {
    while scene.lasts() && !wire.is_over() {
        let once = async {
            let Started { answer, mut body } = wire.start(ask.head(), false).await?;
            let sending = async {
                let mut sent = Ok(());
                if how > 0 {
                    sent = send_all(&mut body, frame(0, &[b' '; 100]).slice(..50), false).await;
                }
                while sent.is_ok() && how == 2 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    sent = send_all(&mut body, Bytes::from_static(b" "), false).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                answer = answer => answer.map(|answer| answer.status().as_u16()),
                () = sending => Err(h2::Reason::CANCEL.into()),
            }
        };
        match scene.within(once).await {
            Some(Ok(status)) => scene.tally.http(status),
            Some(Err(_)) => scene.tally.note("reset"),
            None => scene.tally.note("held to the end"),
        }
        scene.within(tokio::time::sleep(REST)).await;
    }
}
