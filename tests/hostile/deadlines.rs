//! Calls that their caller cuts short, by a deadline or by letting go.

use std::time::Duration;

use meshwork_api::meshwork::orders::v1::{GetOrderRequest, ListOrdersRequest, WatchOrderRequest};
use meshwork_api::meshwork::products::v1::GetProductRequest;
use tokio::task::JoinSet;

use super::wire::{Wire, framed, head_of, send_all};
use super::world::{Scene, an_order_of, method, sign_in};

/// Thirty watches at once, each for 300 ms, again and again, by one customer.
pub(crate) async fn short_watches(scene: Scene) {
    let account = scene.world.account();
    let from = scene.world.address();
    while scene.lasts() {
        let Some(wire) = scene.wire(from).await else { continue };
        let mut calls = JoinSet::new();
        for _ in 0..30 {
            let (scene, wire, account) = (scene.clone(), wire.clone(), account.clone());
            calls.spawn(async move {
                let request = WatchOrderRequest { name: account.order, ..WatchOrderRequest::default() };
                let head = head_of(method::WATCH_ORDER, Some(&account.token), Some("300m"));
                let outcome = wire.call(head, &request).await;
                scene.tally.answer(&outcome);
            });
        }
        while scene.within(calls.join_next()).await.flatten().is_some() {}
    }
}

/// Unary calls that have 1, 20 and 200 ms, to all services.
pub(crate) async fn short_calls(scene: Scene) {
    let mut callers = JoinSet::new();
    for (at, timeout) in ["1m", "20m", "200m", "0m"].into_iter().enumerate() {
        let (scene, account, from) = (scene.clone(), scene.world.account(), scene.world.address());
        callers.spawn(async move {
            let mut round = at;
            while scene.lasts() {
                let Some(wire) = scene.wire(from).await else { continue };
                while scene.lasts() && !wire.is_over() {
                    let call = short_call(&scene, &wire, &account, timeout, round);
                    if let Some(outcome) = scene.within(call).await {
                        scene.tally.answer(&outcome);
                    }
                    round += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
    }
    while callers.join_next().await.is_some() {}
}

async fn short_call(
    scene: &Scene,
    wire: &Wire,
    account: &super::world::Account,
    timeout: &str,
    round: usize,
) -> Result<super::wire::Answer, h2::Error> {
    let product = &scene.world.products[0];
    let head = |path, token| head_of(path, token, Some(timeout));
    let token = Some(account.token.as_str());
    match round % 5 {
        0 => wire.call(head(method::GET_PRODUCT, None), &GetProductRequest { name: product.clone() }).await,
        // Hashing takes longer than 20 ms.
        1 => wire.call(head(method::SIGN_IN, None), &sign_in(&account.email)).await,
        2 => wire.call(head(method::CREATE_ORDER, token), &an_order_of(product)).await,
        3 => {
            let request = GetOrderRequest { name: account.order.clone(), ..GetOrderRequest::default() };
            wire.call(head(method::GET_ORDER, token), &request).await
        }
        _ => wire.call(head(method::LIST_ORDERS, token), &ListOrdersRequest::default()).await,
    }
}

/// Calls that are reset as soon as they are sent, by the hundred.
pub(crate) async fn cancelled(scene: Scene) {
    let mut callers = JoinSet::new();
    for _ in 0..3 {
        let (scene, account, from) = (scene.clone(), scene.world.account(), scene.world.address());
        callers.spawn(async move {
            let product = framed(&GetProductRequest { name: scene.world.products[0].clone() });
            let order = GetOrderRequest { name: account.order.clone(), ..GetOrderRequest::default() };
            let order = framed(&order);
            while scene.lasts() {
                let Some(wire) = scene.wire(from).await else { continue };
                for at in 0..200 {
                    let (path, token, body) = match at % 3 {
                        0 => (method::GET_PRODUCT, None, product.clone()),
                        1 => (method::GET_ORDER, Some(account.token.as_str()), order.clone()),
                        _ => (method::SIGN_IN, None, framed(&sign_in(&account.email))),
                    };
                    let Some(Ok(mut started)) = scene.within(wire.start(head_of(path, token, None), false)).await
                    else {
                        break;
                    };
                    // Some before the message, some after it, some before the end.
                    if at % 4 != 0 {
                        scene.within(send_all(&mut started.body, body, at % 2 == 0)).await;
                    }
                    if at % 8 == 7 {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    started.reset();
                    scene.tally.note("cancelled");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    while callers.join_next().await.is_some() {}
}
