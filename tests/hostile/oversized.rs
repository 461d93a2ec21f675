//! Requests that are larger than anybody needs, or that ask for a large answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use meshwork_api::meshwork::orders::v1::{
    CancelOrderRequest, CreateOrderRequest, GetOrderRequest, ListOrderEventsRequest, ListOrdersRequest, Order,
    WatchOrderRequest, order,
};
use meshwork_api::meshwork::products::v1::{BatchGetProductsRequest, GetProductRequest, ListProductsRequest};
use meshwork_api::meshwork::users::v1::{
    CreateUserRequest, GetUserRequest, RefreshSessionRequest, SignInRequest, UpdateUserRequest, User,
};
use prost_types::FieldMask;
use tokio::task::JoinSet;
use tonic::Code;

use super::wire::{Answer, framed, head_of, set};
use super::world::{Account, Scene, method};

/// A call to send.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) head: Request<()>,
    pub(crate) body: Bytes,
}

/// Makes the calls in turn, `callers` at once, each caller from an address of its own, with `pause` between its calls. A call
/// that was answered in a way that harms nobody isn't made again before all have been: what may open a circuit is not diluted.
pub(crate) async fn in_turn(scene: &Scene, callers: usize, pause: Duration, calls: Vec<Call>) {
    let round = Arc::new(Round { harmless: Mutex::new(vec![false; calls.len()]), calls });
    let mut running = JoinSet::new();
    for first in 0..callers {
        let (scene, from, round) = (scene.clone(), scene.world.address(), Arc::clone(&round));
        running.spawn(async move {
            // They begin at different places of the list.
            let mut turn = first * round.calls.len() / callers;
            while scene.lasts() {
                let Some(wire) = scene.wire(from).await else { continue };
                while scene.lasts() && !wire.is_over() {
                    turn = round.next(turn);
                    let Call { head, body } = round.calls[turn].clone();
                    match scene.within(wire.call_with(head, body)).await {
                        Some(outcome) => {
                            scene.tally.answer(&outcome);
                            round.answered(turn, &outcome);
                        }
                        None => scene.tally.note("unanswered"),
                    }
                    turn += 1;
                    scene.within(tokio::time::sleep(pause)).await;
                }
            }
        });
    }
    while running.join_next().await.is_some() {}
}

/// Calls that are made in turn.
struct Round {
    calls: Vec<Call>,
    /// Which of them need not be made again.
    harmless: Mutex<Vec<bool>>,
}

impl Round {
    /// The place of the next call, from `turn` on.
    fn next(&self, turn: usize) -> usize {
        let mut harmless = self.harmless.lock().unwrap();
        if harmless.iter().all(|harmless| *harmless) {
            harmless.fill(false);
        }
        let places = (0..self.calls.len()).map(|step| (turn + step) % self.calls.len());
        places.into_iter().find(|place| !harmless[*place]).unwrap_or_default()
    }

    fn answered(&self, place: usize, outcome: &Result<Answer, h2::Error>) {
        let told = outcome.as_ref().ok().map(|answer| answer.code);
        self.harmless.lock().unwrap()[place] = told.is_some_and(|code| {
            !matches!(
                code,
                Code::Internal | Code::Unknown | Code::Unavailable | Code::DeadlineExceeded | Code::DataLoss
                    // The rate limit's; says nothing of the call.
                    | Code::ResourceExhausted
            )
        });
    }
}

fn update(account: &Account, paths: Vec<String>) -> Call {
    let user = User { name: account.name.clone(), display_name: "Eve".to_owned(), ..User::default() };
    let update_mask = Some(FieldMask { paths });
    let request = UpdateUserRequest { user: Some(user), update_mask, ..UpdateUserRequest::default() };
    Call { head: head_of(method::UPDATE_USER, Some(&account.token), None), body: framed(&request) }
}

/// An update mask of just below 4 MiB: 1.4 million paths. One at a time: decoded it may take some 60 MiB for a moment.
pub(crate) async fn mask_of_4_mib(scene: Scene) {
    let account = scene.world.account();
    let call = update(&account, vec!["a".to_owned(); (4 << 20) / 3 - 100]);
    in_turn(&scene, 1, Duration::from_millis(300), vec![call]).await;
}

/// Update masks of 1,000 unknown paths, ten at once.
pub(crate) async fn mask_of_1000_paths(scene: Scene) {
    let account = scene.world.account();
    let call = update(&account, (0..1000).map(|at| format!("unknown_{at}")).collect());
    in_turn(&scene, 10, Duration::from_millis(50), vec![call]).await;
}

/// BatchGetProducts with 100 bad names of 200 characters, and with 10,000 names.
pub(crate) async fn bad_batches(scene: Scene) {
    let batch =
        |names| Call { head: head_of(method::BATCH_GET, None, None), body: framed(&BatchGetProductsRequest { names }) };
    let long = (0..100).map(|at| format!("{at}{}", "x".repeat(200))).collect();
    let wide = (0..100).map(|at| format!("products/{at}{}", "ö".repeat(200))).collect();
    let many = (0..10_000).map(|at| format!("products/product-{at}")).collect();
    let bad = (0..10_000).map(|at| format!("product-{at}")).collect();
    let calls = vec![batch(long), batch(wide), batch(many), batch(bad)];
    in_turn(&scene, 6, Duration::from_millis(40), calls).await;
}

/// CreateOrder with 100 bad lines, and ListOrders with a filter of 20 KB.
pub(crate) async fn bad_orders(scene: Scene) {
    let mut calls = Vec::new();
    for _ in 0..3 {
        let account = scene.world.account();
        let line = |at| order::Line { product: format!("{at}{}", "y".repeat(200)), ..order::Line::default() };
        let order = Order { lines: (0..100).map(line).collect(), ..Order::default() };
        let request = CreateOrderRequest { order: Some(order), ..CreateOrderRequest::default() };
        let head = |path| head_of(path, Some(&account.token), None);
        calls.push(Call { head: head(method::CREATE_ORDER), body: framed(&request) });
        for filter in [
            (0..1000).map(|at| format!("unknown_{at} = x")).collect::<Vec<_>>().join(" AND "),
            format!("{} = x", "z".repeat(20_000)),
            format!("state = {}", "ö".repeat(10_000)),
            format!("customer = \"{}\"", "w".repeat(20_000)),
        ] {
            let request = ListOrdersRequest { filter, ..ListOrdersRequest::default() };
            calls.push(Call { head: head(method::LIST_ORDERS), body: framed(&request) });
        }
    }
    in_turn(&scene, 6, Duration::from_millis(40), calls).await;
}

/// A long text in each field that an error may repeat.
pub(crate) async fn long_fields(scene: Scene) {
    let account = scene.world.account();
    let mut calls = Vec::new();
    for text in ["x".repeat(20_000), "ö".repeat(8_000), "\u{1}".repeat(6_000), "x".repeat(300_000)] {
        let named = |prefix: &str| format!("{prefix}{text}");
        let text = || text.clone();
        let mut nobody = |path, body| calls.push(Call { head: head_of(path, None, None), body });
        nobody(method::GET_PRODUCT, framed(&GetProductRequest { name: text() }));
        nobody(method::GET_PRODUCT, framed(&GetProductRequest { name: named("products/") }));
        nobody(method::LIST_PRODUCTS, framed(&ListProductsRequest { page_token: text(), page_size: 1 }));
        nobody(method::SIGN_IN, framed(&SignInRequest { email: text(), password: text() }));
        nobody(method::SIGN_IN, framed(&SignInRequest { email: named("a@example.com"), password: text() }));
        nobody(method::REFRESH, framed(&RefreshSessionRequest { refresh_token: text() }));
        let user = User { email: text(), display_name: text(), password: text(), etag: text(), ..User::default() };
        let request = CreateUserRequest { user: Some(user), user_id: text(), request_id: text() };
        nobody(method::CREATE_USER, framed(&request));
        let token = account.token.as_str();
        let mut customer = |path, body| calls.push(Call { head: head_of(path, Some(token), None), body });
        customer(method::GET_USER, framed(&GetUserRequest { name: named("users/") }));
        let name = named("orders/");
        customer(method::GET_ORDER, framed(&GetOrderRequest { name: name.clone(), ..Default::default() }));
        customer(method::LIST_EVENTS, framed(&ListOrderEventsRequest { parent: name.clone(), ..Default::default() }));
        let request = CancelOrderRequest { name, reason: text(), etag: text(), request_id: text() };
        customer(method::CANCEL_ORDER, framed(&request));
        let request = WatchOrderRequest { name: account.order.clone(), resume_token: text() };
        customer(method::WATCH_ORDER, framed(&request));
        let order = Order { customer: named("users/"), ..Order::default() };
        let request =
            CreateOrderRequest { order: Some(order), order_id: text(), request_id: text(), ..Default::default() };
        customer(method::CREATE_ORDER, framed(&request));
    }
    in_turn(&scene, 8, Duration::from_millis(25), calls).await;
}

/// Method paths of 8 KiB, known services among them, and metadata of 15 KiB.
pub(crate) async fn long_heads(scene: Scene) {
    let product = framed(&GetProductRequest { name: scene.world.products[0].clone() });
    let mut calls = Vec::new();
    let long = "A".repeat(8 << 10);
    for path in [
        format!("/{long}"),
        format!("/{long}/Get"),
        format!("/meshwork.products.v1.ProductService/{long}"),
        format!("/meshwork.orders.v1.OrderService/{}", "%C3%B6".repeat(1300)),
        format!("{}?{long}", method::GET_PRODUCT),
    ] {
        calls.push(Call { head: head_of(&path, None, None), body: product.clone() });
    }
    for (path, name) in [
        (method::GET_PRODUCT, "x-long"),
        (method::GET_PRODUCT, "x-long-bin"),
        (method::GET_PRODUCT, "meshwork-consistency-token"),
        (method::GET_PRODUCT, "traceparent"),
        (method::GET_PRODUCT, "tracestate"),
        (method::GET_PRODUCT, "baggage"),
        (method::SIGN_IN, "user-agent"),
        (method::GET_ORDER, "authorization"),
    ] {
        let mut head = head_of(path, None, None);
        set(&mut head, name, &"v".repeat(15 << 10));
        calls.push(Call { head, body: product.clone() });
    }
    in_turn(&scene, 6, Duration::from_millis(25), calls).await;
}
