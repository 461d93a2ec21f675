//! Requests that are sent wrong, at a rate that is admitted.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use meshwork_api::meshwork::orders::v1::GetOrderRequest;
use meshwork_api::meshwork::products::v1::GetProductRequest;
use meshwork_api::meshwork::users::v1::GetUserRequest;
use tokio::task::JoinSet;

use super::oversized::{Call, in_turn};
use super::wire::{answer, frame, framed, head_of, send_all, set};
use super::world::{Account, Scene, method, sign_in};

/// The time between two calls of one address: its burst and ten a second are admitted.
const PACE: Duration = Duration::from_millis(30);

/// A method of each service, with a token where it needs one, and a right message.
fn targets(scene: &Scene, account: &Account) -> [(&'static str, Option<String>, Bytes); 4] {
    let token = || Some(account.token.clone());
    let order = GetOrderRequest { name: account.order.clone(), ..GetOrderRequest::default() };
    [
        (method::GET_PRODUCT, None, framed(&GetProductRequest { name: scene.world.products[0].clone() })),
        (method::SIGN_IN, None, framed(&sign_in("nobody@example.com"))),
        (method::GET_ORDER, token(), framed(&order)),
        (method::GET_USER, token(), framed(&GetUserRequest { name: account.name.clone() })),
    ]
}

/// Sends to each target what `wrong` makes of its call, from several addresses and by `accounts` accounts.
async fn send(scene: &Scene, accounts: usize, wrong: impl Fn(Call) -> Vec<Call>) {
    let mut calls = Vec::new();
    for _ in 0..accounts {
        let account = scene.world.account();
        for (path, token, body) in targets(scene, &account) {
            calls.extend(wrong(Call { head: head_of(path, token.as_deref(), None), body }));
        }
    }
    in_turn(scene, 8, PACE, calls).await;
}

/// Well-framed messages that are no protobuf.
pub(crate) async fn garbage(scene: Scene) {
    let payloads: [&[u8]; 6] = [
        &[0xff; 40],
        // A field of length 100 of which nothing comes; a text that isn't UTF-8; a group without its end; a field 0.
        &[0x0a, 0x64],
        &[0x0a, 0x02, 0xc3, 0x28],
        &[0x0b, 0x08, 0x01],
        &[0x00, 0x00],
        // Nested deeper than anybody decodes.
        &[0x0b; 4000],
    ];
    send(&scene, 3, |call| {
        payloads.iter().map(|payload| Call { head: call.head.clone(), body: frame(0, payload) }).collect()
    })
    .await;
}

/// Flags and encodings that don't fit the message.
pub(crate) async fn compression(scene: Scene) {
    send(&scene, 3, |Call { head, body }| {
        let message = body.slice(5..);
        let coded = |encoding: &str, flag: u8, payload: &[u8]| {
            let mut head = head.clone();
            set(&mut head, "grpc-encoding", encoding);
            Call { head, body: frame(flag, payload) }
        };
        let garbage: Vec<u8> = (0..200_u8).collect();
        vec![
            Call { head: head.clone(), body: frame(1, &message) },
            Call { head: head.clone(), body: frame(2, &message) },
            Call { head: head.clone(), body: frame(255, &message) },
            coded("gzip", 1, &garbage),
            coded("gzip", 1, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff]),
            coded("zstd", 1, &garbage),
            coded("snappy", 1, &message),
            coded("snappy", 0, &message),
            coded("identity", 1, &message),
            coded("gzip, gzip", 1, &message),
        ]
    })
    .await;
}

/// Messages that break off, come twice, or not at all.
pub(crate) async fn message_count(scene: Scene) {
    send(&scene, 3, |Call { head, body }| {
        let half = body.slice(..5 + (body.len() - 5) / 2);
        let twice = Bytes::from([body.as_ref(), body.as_ref()].concat());
        let and_a_half = Bytes::from([body.as_ref(), half.as_ref()].concat());
        let mut huge = BytesMut::new();
        huge.put_u8(0);
        huge.put_u32(u32::MAX);
        huge.put_slice(&body[5..]);
        [half, body.slice(..3), body.slice(..5), twice, and_a_half, Bytes::new(), huge.freeze()]
            .map(|body| Call { head: head.clone(), body })
            .into()
    })
    .await;
}

/// Headers that gRPC doesn't allow, or that say something of the body that isn't so.
pub(crate) async fn headers(scene: Scene) {
    const WRONG: &[(&str, &str)] = &[
        ("grpc-timeout", ""),
        ("grpc-timeout", "S"),
        ("grpc-timeout", "1"),
        ("grpc-timeout", "-1S"),
        ("grpc-timeout", "1x"),
        ("grpc-timeout", "999999999999999999999S"),
        ("grpc-timeout", "99999999H"),
        ("content-type", "text/plain"),
        ("content-type", "application/json"),
        ("content-type", "application/grpc+json"),
        ("content-type", "application/grpc-web+proto"),
        ("content-type", ""),
        ("te", "gzip"),
        ("content-length", "3"),
        ("content-length", "1000000"),
        ("grpc-accept-encoding", "snappy"),
        ("accept-encoding", "br"),
        ("expect", "100-continue"),
        ("x-broken-bin", "%%%"),
        ("grpc-status", "14"),
        ("grpc-previous-rpc-attempts", "1000"),
        ("grpc-retry-pushback-ms", "-1"),
        ("traceparent", "00-zz-zz-zz"),
        ("baggage", "=,;=,"),
        ("forwarded", "for=127.9.9.9"),
        ("x-forwarded-for", "127.9.9.9"),
    ];
    send(&scene, 1, |Call { head, body }| {
        let headers = WRONG.iter().map(|(name, value)| {
            let mut head = head.clone();
            set(&mut head, name, value);
            Call { head, body: body.clone() }
        });
        let methods = ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"].map(|method| {
            let mut head = head.clone();
            *head.method_mut() = method.parse().unwrap();
            Call { head, body: body.clone() }
        });
        let mut doubled = head.clone();
        doubled.headers_mut().append("content-type", HeaderValue::from_static("text/html"));
        let mut timeouts = head.clone();
        for timeout in ["1H", "1S"] {
            timeouts.headers_mut().append("grpc-timeout", HeaderValue::from_static(timeout));
        }
        let mut bare = head.clone();
        bare.headers_mut().remove("content-type");
        let more = [doubled, timeouts, bare].map(|head| Call { head, body: body.clone() });
        headers.chain(methods).chain(more).collect()
    })
    .await;
}

/// Forged, expired and broken tokens, at a moderate rate.
pub(crate) async fn tokens(scene: Scene) {
    let good = scene.world.account().token;
    let parts: Vec<_> = good.trim_start_matches("Bearer ").split('.').map(str::to_owned).collect();
    let (head, claims, signature) = (&parts[0], &parts[1], &parts[2]);
    let turned: String = signature.chars().rev().collect();
    // {"alg":"none"}, and claims that ended in 1970.
    let (none, past) = ("eyJhbGciOiJub25lIn0", "eyJzdWIiOiJ1c2Vycy9hbm5hIiwiZXhwIjoxfQ");
    let forged = [
        format!("Bearer {head}.{claims}.{turned}"),
        format!("Bearer {head}.{past}.{signature}"),
        format!("Bearer {none}.{claims}."),
        format!("Bearer {head}.{claims}"),
        format!("Bearer {}", "x".repeat(4000)),
        "Bearer".to_owned(),
        "Bearer ..".to_owned(),
        "Basic YTpi".to_owned(),
        format!("bearer  {head}.{claims}.{signature}x"),
    ];
    let body = framed(&GetProductRequest { name: scene.world.products[0].clone() });
    let calls = forged
        .iter()
        .flat_map(|token| [method::GET_PRODUCT, method::GET_USER, method::LIST_ORDERS].map(|path| (path, token)))
        .map(|(path, token)| Call { head: head_of(path, Some(token), None), body: body.clone() })
        .collect();
    in_turn(&scene, 8, PACE, calls).await;
}

/// Trailers in requests, small ones and some of 15 KiB.
pub(crate) async fn trailers(scene: Scene) {
    let account = scene.world.account();
    let targets = targets(&scene, &account);
    let mut callers = JoinSet::new();
    for at in 0..6 {
        let (scene, from, targets) = (scene.clone(), scene.world.address(), targets.clone());
        callers.spawn(async move {
            let mut round = at;
            while scene.lasts() {
                let Some(wire) = scene.wire(from).await else { continue };
                while scene.lasts() && !wire.is_over() {
                    let (path, token, body) = targets[round % targets.len()].clone();
                    let call = async {
                        let mut started = wire.start(head_of(path, token.as_deref(), None), false).await?;
                        if round % 3 != 2 {
                            send_all(&mut started.body, body, false).await?;
                        }
                        started.body.send_trailers(some_trailers(round))?;
                        answer(started.answer).await
                    };
                    if let Some(outcome) = scene.within(call).await {
                        scene.tally.answer(&outcome);
                    }
                    round += 1;
                    scene.within(tokio::time::sleep(PACE)).await;
                }
            }
        });
    }
    while callers.join_next().await.is_some() {}
}

fn some_trailers(round: usize) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        trailers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    };
    match round % 4 {
        0 => put("x-more", "1"),
        1 => put("x-more", &"t".repeat(15 << 10)),
        2 => {
            put("grpc-status", "13");
            put("grpc-message", "no");
        }
        _ => {
            for (at, name) in ["x-a", "x-b", "x-c", "x-d", "x-e-bin"].into_iter().enumerate() {
                put(name, &"u".repeat(500 * at));
            }
        }
    }
    trailers
}
