//! Attacks on the port itself: connections, watches, tokens and answers without number.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::Builder;
use http::{HeaderName, HeaderValue};
use meshwork_api::meshwork::products::v1::GetProductRequest;
use tokio::task::JoinSet;

use super::connections::idle;
use super::streams::{follow, hold};
use super::wire::{Wire, frame, framed, head_of, next, send_all, set};
use super::world::{Scene, method, sign_in};

/// S3: 2,000 health watches from one address.
pub(crate) async fn health_watches(scene: Scene) {
    let from = scene.world.address();
    let mut streams = JoinSet::new();
    let mut wires = Vec::new();
    for _ in 0..10 {
        let Some(wire) = scene.wire(from).await else { continue };
        for _ in 0..200 {
            let (scene, wire) = (scene.clone(), wire.clone());
            streams.spawn(async move {
                let held = async {
                    let mut started = wire.start(head_of(method::HEALTH_WATCH, None, None), false).await?;
                    send_all(&mut started.body, frame(0, &[]), true).await?;
                    follow(&scene, started).await
                };
                hold(&scene, held).await;
            });
        }
        wires.push(wire);
    }
    while streams.join_next().await.is_some() {}
}

/// S4: 3,000 connections from one address, each of which has said its preface.
pub(crate) async fn held_connections(scene: Scene) {
    let from = scene.world.address();
    idle(&scene, &[from], 3000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
}

/// S5: forged tokens, each another, as many as go; at most 30,000 a second.
pub(crate) async fn forged_tokens(scene: Scene) {
    let good = scene.world.account().token;
    let (unsigned, signature) = good.rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let body = framed(&GetProductRequest { name: scene.world.products[0].clone() });
    let mut callers = JoinSet::new();
    for caller in 0..64_u32 {
        let (scene, unsigned, signature, body) = (scene.clone(), unsigned.clone(), signature.clone(), body.clone());
        let from = Ipv4Addr::new(127, 1, 240, 1 + u8::try_from(caller % 4).unwrap());
        callers.spawn(async move {
            let mut turn = 0_u32;
            while scene.lasts() {
                let Some(wire) = scene.wire(from).await else { continue };
                while scene.lasts() && !wire.is_over() {
                    turn += 1;
                    let token = format!("Bearer {unsigned}.{}{:04}{caller:02}", &signature[6..], turn % 10_000);
                    let call = wire.call_with(head_of(method::GET_PRODUCT, Some(&token), None), body.clone());
                    if let Some(outcome) = scene.within(call).await {
                        scene.tally.answer(&outcome);
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
    }
    while callers.join_next().await.is_some() {}
}

/// A question for a file's descriptors: `file_containing_symbol`, which is field 4.
fn question() -> Bytes {
    let symbol = "meshwork.orders.v1.OrderService";
    let mut request = vec![0x22, u8::try_from(symbol.len()).unwrap()];
    request.extend(symbol.as_bytes());
    frame(0, &request)
}

/// S7: answers that nobody reads: windows of 16 bytes, from twenty addresses, each with a hundred streams.
pub(crate) async fn unread_answers(scene: Scene) {
    let mut builder = Builder::new();
    builder.initial_window_size(16).max_header_list_size(1 << 20).enable_push(false);
    let body = Bytes::from(question().repeat(20));
    let mut held = JoinSet::new();
    for _ in 0..20 {
        let from = scene.world.address();
        let Ok(wire) = Wire::open_with(from, scene.world.gateway, &builder).await else { continue };
        for _ in 0..100 {
            let (scene, wire, body) = (scene.clone(), wire.clone(), body.clone());
            held.spawn(async move {
                let unread = async {
                    let mut started = wire.start(head_of(method::REFLECTION, None, None), false).await?;
                    send_all(&mut started.body, body, true).await?;
                    let _unread = started.answer.await?.into_body();
                    scene.tally.note("unread");
                    std::future::pending::<Result<(), h2::Error>>().await
                };
                hold(&scene, unread).await;
            });
        }
    }
    while held.join_next().await.is_some() {}
}

/// S13: 20,000 questions on one reflection stream, for which the rate limit asks one token.
pub(crate) async fn reflection_flood(scene: Scene) {
    let Some(wire) = scene.wire(scene.world.address()).await else { return };
    let many = Bytes::from(question().repeat(100));
    let flood = async {
        let started = wire.start(head_of(method::REFLECTION, None, None), false).await?;
        let mut body = started.body;
        let asking = async {
            for _ in 0..200 {
                send_all(&mut body, many.clone(), false).await?;
                scene.tally.add("asked", 100);
            }
            std::future::pending::<Result<(), h2::Error>>().await
        };
        let reading = async {
            let mut stream = started.answer.await?.into_body();
            while let Some(data) = next(&mut stream).await {
                scene.tally.add("KiB answered", u64::try_from(data?.len()).unwrap().div_ceil(1024));
            }
            Ok(())
        };
        tokio::select! {
            ended = asking => ended,
            ended = reading => ended,
        }
    };
    hold(&scene, flood).await;
}

/// S16: metadata between 15,900 and 16,400 bytes, where a header that the gateway adds tips the limit behind it.
pub(crate) async fn metadata_at_the_limit(scene: Scene) {
    let body = framed(&GetProductRequest { name: scene.world.products[0].clone() });
    let mut callers = JoinSet::new();
    for caller in 0..6 {
        let (scene, from, body) = (scene.clone(), scene.world.address(), body.clone());
        callers.spawn(async move {
            let mut size = 15_700 + caller * 10;
            while scene.lasts() {
                let Some(wire) = scene.wire(from).await else { continue };
                while scene.lasts() && !wire.is_over() {
                    let mut head = head_of(method::GET_PRODUCT, None, None);
                    set(&mut head, "x-long", &"v".repeat(size));
                    size = if size > 16_400 { 15_700 } else { size + 31 };
                    if let Some(outcome) = scene.within(wire.call_with(head, body.clone())).await {
                        scene.tally.answer(&outcome);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
    while callers.join_next().await.is_some() {}
}

/// S18, D10: eight addresses with a hundred sign-ins in flight each.
pub(crate) async fn sign_ins(scene: Scene) {
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let from = scene.world.address();
        let Some(wire) = scene.wire(from).await else { continue };
        for at in 0..100 {
            let (scene, wire) = (scene.clone(), wire.clone());
            callers.spawn(async move {
                let email = format!("nobody-{at}@example.com");
                while scene.lasts() && !wire.is_over() {
                    let call = wire.call(head_of(method::SIGN_IN, None, None), &sign_in(&email)).await;
                    scene.tally.answer(&call);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
    }
    while scene.within(callers.join_next()).await.flatten().is_some() {}
}

/// S19: 2,000 small metadata fields.
pub(crate) async fn many_fields(scene: Scene) {
    let body = framed(&GetProductRequest { name: scene.world.products[0].clone() });
    let mut head = head_of(method::GET_PRODUCT, None, None);
    for at in 0..2000 {
        let name = HeaderName::from_bytes(format!("x-{at}").as_bytes()).unwrap();
        head.headers_mut().insert(name, HeaderValue::from_static("1"));
    }
    let from = scene.world.address();
    while scene.lasts() {
        let Some(wire) = scene.wire(from).await else { continue };
        // Beside it on the connection, as behind a proxy, are calls of others.
        let good = head_of(method::GET_PRODUCT, None, None);
        let calls =
            async { tokio::join!(wire.call_with(head.clone(), body.clone()), wire.call_with(good, body.clone())) };
        if let Some((many, beside)) = scene.within(calls).await {
            scene.tally.answer(&many);
            scene.tally.note(if beside.is_ok() { "beside it: answered" } else { "beside it: broken" });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
