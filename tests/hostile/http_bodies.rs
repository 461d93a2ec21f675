//! Requests of HTTP that are large, deep, compressed or wrong, at a rate that is admitted.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::asks::{Ask, CONNECT_JSON, GRPC_WEB, GRPC_WEB_TEXT, JSON, PROTO, ask_in_turn};
use super::wire::frame;
use super::world::{Scene, method};

/// The time between two requests of one address: its burst and ten a second are admitted.
const PACE: Duration = Duration::from_millis(30);
/// The most bytes that a body may have by default.
const LARGEST: usize = 4 << 20;

/// A list of as many elements as 4 MiB have room for.
fn list(element: &str) -> String {
    format!("[{}{element}]", format!("{element},").repeat((LARGEST - 100) / (element.len() + 1)))
}

/// What gzip makes of so many bytes, which go by the thousand into one.
fn packed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap().into()
}

/// Bodies that are a thousand times as large when they are unpacked, and texts that are not packed at all.
pub(crate) async fn bombs(scene: Scene) {
    let mut asks = Vec::new();
    for plain in [vec![0; LARGEST], vec![0; 32 << 20], format!("{{\"names\":{}}}", list("\"\"")).into_bytes()] {
        let bomb = packed(&plain);
        for (path, media_type) in [
            (method::GET_PRODUCT, PROTO),
            (method::GET_PRODUCT, JSON),
            (method::SIGN_IN, JSON),
            ("/v1/sessions:signIn", JSON),
            (method::GET_PRODUCT, GRPC_WEB),
        ] {
            asks.push(Ask::post(path, media_type, bomb.clone()).with("content-encoding", "gzip"));
        }
        let stream = Ask::post(method::WATCH_ORDER, CONNECT_JSON, frame(1, &bomb));
        let stream = stream.with("authorization", scene.world.account().token);
        asks.push(stream.with("connect-content-encoding", "gzip"));
        let web = Ask::post(method::GET_PRODUCT, GRPC_WEB, frame(1, &bomb));
        asks.push(web.with("grpc-encoding", "gzip"));
    }
    for encoding in ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x"] {
        asks.push(Ask::post(method::GET_PRODUCT, JSON, "{}").with("content-encoding", encoding));
        asks.push(Ask::post("/v1/sessions:signIn", JSON, "{}").with("content-encoding", encoding));
    }
    ask_in_turn(&scene, 8, PACE, asks).await;
}

/// JSON that is deep, wide or long, up to 4 MiB and more.
pub(crate) async fn json(scene: Scene) {
    let (zeros, texts, objects) = (list("0"), list("\"\""), list("{}"));
    let of = |field: &str, value: &str| format!(r#"{{"{field}":{value}}}"#);
    let long = of("email", &format!("\"{}\"", "x".repeat(LARGEST - 100)));
    let bodies = [
        of("names", &texts),
        of("names", &zeros),
        of("unknown", &objects),
        of("email", &objects),
        long.clone(),
        of("email", &format!("\"{}\"", "\\u0000".repeat(100_000))),
        of("unknown", &"[".repeat(LARGEST / 2)),
        r#"{"a":"#.repeat(LARGEST / 6),
        format!("{{{}\"a\":0}}", r#""a":0,"#.repeat(10_000)),
        of("email", &"9".repeat(1 << 20)),
        of("email", "1e999999999"),
        format!("{long}{long}"),
        "{".to_owned(),
        "\u{feff}{}".to_owned(),
        "nul".to_owned(),
    ];
    let mut asks = Vec::new();
    for body in bodies.map(Bytes::from) {
        for path in ["/v1/sessions:signIn", method::BATCH_GET] {
            asks.push(Ask::post(path, JSON, body.clone()));
        }
    }
    // A few at a time: each may have its 4 MiB for a moment.
    ask_in_turn(&scene, 4, PACE, asks).await;
}

/// Paths and queries of thousands of parameters, levels and escapes.
pub(crate) async fn queries(scene: Scene) {
    let product = scene.world.products[0].clone();
    let of = |query: String| Ask::new("GET", format!("/v1/products:batchGet?{query}"));
    let asks = vec![
        of(vec![format!("names={product}"); 100].join("&")),
        of(vec!["names=a"; 1900].join("&")),
        of(vec!["n=a"; 10_000].join("&")),
        of((0..1500).map(|at| format!("x{at}=")).collect::<Vec<_>>().join("&")),
        of(format!("a{}=1", ".b".repeat(7000))),
        of("&".repeat(15_000)),
        of("%".repeat(5000)),
        of(format!("names={}", "%ff".repeat(4000))),
        of("message=%7B%7D&connect=v1&encoding=json&base64=1&compression=gzip".to_owned()),
        Ask::new("GET", format!("{}?connect=v1&encoding=json&message={}", method::GET_PRODUCT, "%7B".repeat(4000))),
        Ask::new("GET", format!("/v1/{}", "a/".repeat(7000))),
        Ask::new("GET", format!("/v1/products/{}", "%2e%2e%2f".repeat(1500))),
        Ask::new("GET", "/v1/products/%0d%0aset-cookie:%20a=b"),
        Ask::new("GET", format!("/{}", "x".repeat(60_000))),
    ];
    ask_in_turn(&scene, 8, PACE, asks).await;
}

/// Many headers, and large ones.
pub(crate) async fn headers(scene: Scene) {
    let get = || Ask::new("GET", format!("/v1/{}", scene.world.products[0]));
    let many = |count: usize| (0..count).fold(get(), |ask, at| ask.with(format!("x-{at}"), "1"));
    let same = |count: usize| (0..count).fold(get(), |ask, _| ask.with("accept", "a/b;q=0.1"));
    let mut asks = vec![many(90), many(101), many(2000), same(90), same(700)];
    for name in ["authorization", "accept", "origin", "idempotency-key", "if-match", "traceparent", "x-forwarded-for"] {
        asks.push(get().with(name, "v".repeat(15 << 10)));
        asks.push(get().with(name, ",".repeat(15 << 10)));
    }
    asks.push(get().with("grpc-metadata-".to_owned() + &"x".repeat(10_000), "1"));
    asks.push(get().with("x-large", "v".repeat(200 << 10)));
    ask_in_turn(&scene, 8, PACE, asks).await;
}

/// gRPC-Web and Connect with texts that are no base64, frames that are cut, and envelopes that are none.
pub(crate) async fn envelopes(scene: Scene) {
    let token = scene.world.account().token;
    let mut asks = Vec::new();
    let mut ask = |path: &str, media_type: &str, body: Bytes| {
        asks.push(Ask::post(path, media_type, body).with("authorization", token.as_str()));
    };
    let whole = frame(0, b"\x0a\x0aproducts/a");
    for body in ["A", "A===", "====", "%%%%", "AAAA AAAA", "AAAAAAo=A", "AAAAAP////8="] {
        ask(method::GET_PRODUCT, GRPC_WEB_TEXT, Bytes::from_static(body.as_bytes()));
    }
    ask(method::GET_PRODUCT, GRPC_WEB_TEXT, "A".repeat(1 << 20).into());
    ask(method::GET_PRODUCT, GRPC_WEB_TEXT, "AA==".repeat(1 << 16).into());
    for (path, media_type) in [
        (method::GET_PRODUCT, GRPC_WEB),
        (method::WATCH_ORDER, CONNECT_JSON),
        (method::GET_PRODUCT, "application/grpc-web"),
    ] {
        for cut in [0, 1, 4, 5, 9] {
            ask(path, media_type, whole.slice(..cut));
        }
        for flag in [1, 2, 0x80, 0x81, 0xff] {
            ask(path, media_type, frame(flag, b"{}"));
        }
        ask(path, media_type, Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 0]));
        ask(path, media_type, [whole.as_ref(), whole.as_ref()].concat().into());
        // A message of nothing, a hundred thousand times.
        ask(path, media_type, frame(0, b"").repeat(100_000).into());
    }
    for (path, media_type) in [
        (method::GET_PRODUCT, CONNECT_JSON),
        (method::WATCH_ORDER, JSON),
        (method::GET_PRODUCT, "application/connect+xml"),
        (method::GET_PRODUCT, "application/grpc-web+"),
        ("/no.such.Service/Method", GRPC_WEB),
        ("/no.such.Service/Method", JSON),
    ] {
        ask(path, media_type, frame(0, b"{}"));
    }
    ask_in_turn(&scene, 8, PACE, asks).await;
}

/// A list of two million empty names, in 4 KiB: a service refuses to unpack it, but the gateway unpacks Connect's, 4 MiB for each
/// caller.
pub(crate) async fn packed_lists(scene: Scene) {
    let bomb = packed(&[0x0a, 0].repeat(LARGEST / 2 - 100));
    let plain = Ask::post(method::BATCH_GET, PROTO, bomb.clone()).with("content-encoding", "gzip");
    let web = Ask::post(method::BATCH_GET, GRPC_WEB, frame(1, &bomb)).with("grpc-encoding", "gzip");
    ask_in_turn(&scene, 40, PACE, vec![plain, web]).await;
}
