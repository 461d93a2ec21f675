//! The second caller: a rightful one, plain and without retries, who calls the whole time from an address of its own.
//! A call of its that isn't OK within five seconds has failed.
//!
//! Most of its calls are gRPC; some are HTTP/JSON, over a connection of HTTP/1.1 of their own.
//!
//! It stays below the default rate limits: nine calls a second without a token, eight and a half with one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use h2::RecvStream;
use meshwork_api::meshwork::orders::v1::{ListOrdersRequest, WatchOrderRequest};
use meshwork_api::meshwork::products::v1::{BatchGetProductsRequest, GetProductRequest};
use meshwork_api::meshwork::users::v1::GetUserRequest;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Code;

use super::asks::Ask;
use super::raw::Raw;
use super::tally;
use super::wire::{Started, Wire, framed, head_of, next, send_all, status};
use super::world::{SECOND_CALLER, World, an_order_of, method, sign_in};

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// What the second caller does, and how often.
const HABITS: [(Habit, Duration); 10] = [
    (Habit::GetProduct, Duration::from_millis(250)),
    (Habit::BatchGet, Duration::from_millis(500)),
    (Habit::NewConnection, Duration::from_secs(1)),
    (Habit::SignIn, Duration::from_secs(1)),
    (Habit::GetUser, Duration::from_millis(400)),
    (Habit::ListOrders, Duration::from_millis(500)),
    (Habit::CreateOrder, Duration::from_millis(500)),
    (Habit::WatchOrder, Duration::from_secs(1)),
    (Habit::GetProductJson, Duration::from_secs(1)),
    (Habit::GetOrderJson, Duration::from_secs(1)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    GetProduct,
    BatchGet,
    /// GetProduct on a connection of its own.
    NewConnection,
    SignIn,
    GetUser,
    ListOrders,
    CreateOrder,
    /// Up to the first message of the stream.
    WatchOrder,
    /// Over HTTP/1.1, as the next one.
    GetProductJson,
    GetOrderJson,
}

impl Habit {
    const fn is_json(self) -> bool {
        matches!(self, Self::GetProductJson | Self::GetOrderJson)
    }
}

/// A call that is over.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    /// When it began.
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    /// What went wrong.
    pub(crate) failure: Option<String>,
}

/// The calls so far.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    over: Vec<Called>,
    /// When those began that aren't over.
    open: Vec<Instant>,
}

impl Calls {
    fn begin(&self) -> Instant {
        let at = Instant::now();
        self.0.lock().unwrap().open.push(at);
        at
    }

    fn end(&self, habit: Habit, at: Instant, outcome: Result<(), String>) {
        let failure = outcome.err().map(|problem| format!("{habit:?}: {problem}"));
        let mut book = self.0.lock().unwrap();
        if let Some(place) = book.open.iter().position(|open| *open == at) {
            book.open.swap_remove(place);
        }
        book.over.push(Called { at, took: at.elapsed(), failure });
    }
}

/// The second caller, calling until it is dropped.
pub(crate) struct SecondCaller {
    calls: Calls,
    _habits: JoinSet<()>,
}

impl SecondCaller {
    /// Begins to call.
    pub(crate) fn begin(world: &Arc<World>) -> Self {
        let calls = Calls::default();
        let mut habits = JoinSet::new();
        for (at, (habit, every)) in HABITS.into_iter().enumerate() {
            let (world, calls) = (Arc::clone(world), calls.clone());
            // Not all at the same moment.
            let first = Instant::now() + Duration::from_millis(37 * u64::try_from(at).unwrap());
            habits.spawn(go_on(world, habit, every, first, calls));
        }
        Self { calls, _habits: habits }
    }

    /// The calls that began from `from` to `until` and are over.
    pub(crate) fn between(&self, from: Instant, until: Instant) -> Vec<Called> {
        let book = self.calls.0.lock().unwrap();
        book.over.iter().filter(|call| (from..until).contains(&call.at)).cloned().collect()
    }

    /// Waits until all calls that began before `until` are over, each of which has a deadline.
    pub(crate) async fn settled(&self, until: Instant) {
        let patience = until + DEADLINE + Duration::from_secs(1);
        while self.calls.0.lock().unwrap().open.iter().any(|at| *at < until) && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One habit, for ever: each call begins at its time, whether the last one is over or not.
async fn go_on(world: Arc<World>, habit: Habit, every: Duration, first: Instant, calls: Calls) {
    let mut ticks = tokio::time::interval_at(first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut wire: Option<Wire> = None;
    let mut running = JoinSet::new();
    loop {
        ticks.tick().await;
        let at = calls.begin();
        while running.try_join_next().is_some() {}
        if habit.is_json() {
            let (world, calls) = (Arc::clone(&world), calls.clone());
            running.spawn(async move {
                let outcome = tokio::time::timeout_at(at + DEADLINE, ask(&world, habit)).await;
                calls.end(habit, at, outcome.unwrap_or_else(|_| Err("no answer within 5 s".to_owned())));
            });
            continue;
        }
        // One connection for all calls of a habit, opened again only when the shop has closed it.
        let kept = wire.take().filter(|wire| !wire.is_over() && habit != Habit::NewConnection);
        let opened = match kept {
            Some(wire) => Ok(wire),
            None => match tokio::time::timeout(DEADLINE, Wire::open(SECOND_CALLER, world.gateway)).await {
                Ok(opened) => opened,
                Err(_) => Err("no connection within 5 s".to_owned()),
            },
        };
        let opened = match opened {
            Ok(opened) => wire.insert(opened).clone(),
            Err(problem) => {
                calls.end(habit, at, Err(problem));
                continue;
            }
        };
        let (world, calls) = (Arc::clone(&world), calls.clone());
        running.spawn(async move {
            let left = at + DEADLINE;
            let outcome = tokio::time::timeout_at(left, make(&world, habit, &opened)).await;
            calls.end(habit, at, outcome.unwrap_or_else(|_| Err("no answer within 5 s".to_owned())));
        });
    }
}

async fn make(world: &World, habit: Habit, wire: &Wire) -> Result<(), String> {
    let token = Some(world.second.token.as_str());
    let product = &world.products[0];
    match habit {
        Habit::GetProduct | Habit::NewConnection => {
            call(wire, method::GET_PRODUCT, None, &GetProductRequest { name: product.clone() }).await
        }
        Habit::BatchGet => {
            call(wire, method::BATCH_GET, None, &BatchGetProductsRequest { names: world.products.clone() }).await
        }
        Habit::SignIn => call(wire, method::SIGN_IN, None, &sign_in(&world.second.email)).await,
        Habit::GetUser => {
            call(wire, method::GET_USER, token, &GetUserRequest { name: world.second.name.clone() }).await
        }
        Habit::ListOrders => {
            let request = ListOrdersRequest { page_size: 5, ..ListOrdersRequest::default() };
            call(wire, method::LIST_ORDERS, token, &request).await
        }
        Habit::CreateOrder => call(wire, method::CREATE_ORDER, token, &an_order_of(product)).await,
        Habit::WatchOrder => watch(wire, &world.second.token, &world.second.order).await,
        Habit::GetProductJson | Habit::GetOrderJson => ask(world, habit).await,
    }
}

/// Gets something by HTTP/JSON, over a connection of its own.
async fn ask(world: &World, habit: Habit) -> Result<(), String> {
    let ask = match habit {
        Habit::GetOrderJson => {
            Ask::new("GET", format!("/v1/{}", world.second.order)).with("authorization", world.second.token.as_str())
        }
        _ => Ask::new("GET", format!("/v1/{}", world.products[0])),
    };
    let ask = ask.with("connection", "close");
    let told = |error: std::io::Error| error.to_string();
    let mut raw = Raw::open(SECOND_CALLER, world.gateway).await.map_err(told)?;
    match raw.ask(&ask.text(), false).await.map_err(told)? {
        200 => Ok(()),
        status => Err(format!("HTTP {status}")),
    }
}

async fn call(wire: &Wire, path: &str, token: Option<&str>, request: &impl Message) -> Result<(), String> {
    match wire.call(head_of(path, token, Some("5S")), request).await {
        Ok(answer) if answer.code == Code::Ok => Ok(()),
        Ok(answer) => Err(format!("{}: {}", tally::name(answer.code), answer.message)),
        Err(error) => Err(error.to_string()),
    }
}

/// Opens a watch, takes its first message and lets go.
async fn watch(wire: &Wire, token: &str, order: &str) -> Result<(), String> {
    let told = |error: h2::Error| error.to_string();
    let request = WatchOrderRequest { name: order.to_owned(), ..WatchOrderRequest::default() };
    let mut started = wire.start(head_of(method::WATCH_ORDER, Some(token), None), false).await.map_err(told)?;
    send_all(&mut started.body, framed(&request), true).await.map_err(told)?;
    let Started { answer, mut body } = started;
    let response = answer.await.map_err(told)?;
    if let Some((code, message)) = status(response.headers()) {
        return Err(format!("{}: {message}", tally::name(code)));
    }
    let mut stream: RecvStream = response.into_body();
    let first = next(&mut stream).await.ok_or("the stream ended without a message")?.map_err(told)?;
    body.send_reset(h2::Reason::CANCEL);
    if first.is_empty() { Err("an empty first message".to_owned()) } else { Ok(()) }
}
