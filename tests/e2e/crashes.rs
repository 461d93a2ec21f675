//! `kill -9` of the whole shop, again and again on one data folder.
//!
//! The client keeps a journal: what it asked for, and which answers it got. After each start it first reads what was
//! answered, then asks for everything again with the same request ids, and holds what it gets against the journal. The
//! order of the two matters: the name of an order derives from its request id, so that asking again would make a lost
//! order anew.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use meshwork_api::meshwork::notifications::v1::notification;
use meshwork_api::meshwork::orders::v1::order_event::Event;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{
    GetOrderRequest, ListOrderEventsRequest, ListOrdersRequest, Order, OrderEvent, order,
};
use meshwork_testkit::Up;
use meshwork_testkit::up::{Token, UNLIMITED, with};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::shop::{
    eventually, get_order, notifications, order_request, settled, settled_order, stock, stocked_product,
};

/// The metadata that marks the answer to a repeated request.
const REPLAY: &str = "idempotent-replay";
/// How many orders are placed at once in a round.
pub const BURST: usize = 32;
/// How many of them must be unfinished at the moment of the kill.
const UNFINISHED: usize = 8;
/// The process is killed when the client has so many answers.
const ANSWERS: usize = 12;

/// What the client knows of a request.
#[derive(Clone, Default)]
pub struct Entry {
    /// The answer, once there was one.
    pub answer: Option<Order>,
    /// How many pieces.
    quantity: i64,
}

impl Entry {
    /// The name of the order.
    pub fn name(&self) -> String {
        self.answer.clone().unwrap().name
    }
}

pub type Journal = HashMap<String, Entry>;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_nothing_and_double_nothing() {
    let rounds = if crate::full() { 200 } else { 50 };
    let at_most = rounds + rounds / 5;
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), UNLIMITED);
    let staff = up.staff().await;
    // Too few pieces for all orders, so that some are rejected.
    let pieces = i64::try_from(rounds * BURST).unwrap();
    let product = stocked_product(&up, &staff, "crashed", pieces).await;
    let (_, customer) = up.customer("survivor").await;

    let mut journal = Journal::new();
    let (mut round, mut counted) = (0, 0);
    while counted < rounds {
        assert!(round < at_most, "only {counted} of {round} kills met {UNFINISHED} unfinished orders");
        let killed_at = place_and_kill(&mut up, &mut journal, &customer, &product, round).await;
        up = Up::start(folder.path(), UNLIMITED);
        let this_round = of_round(&journal, round);
        nothing_is_lost(&up, &journal, &this_round, &customer).await;
        ask_again(&up, &mut journal, &this_round, &customer, &product).await;
        // A round counts if the kill came in the middle of its work: on a machine that settles orders as fast as it
        // answers some don't, so a fifth more rounds may be needed.
        let names: Vec<_> = this_round.iter().map(|id| journal[id].name()).collect();
        let unfinished = unfinished_at(&up.channel(), &customer, &names, killed_at).await;
        counted += usize::from(unfinished >= UNFINISHED);
        round += 1;
    }
    let confirmed = check(&up, &journal, &staff, &customer, &product, pieces).await;
    assert!(0 < confirmed && confirmed < journal.len(), "{confirmed} of {} confirmed", journal.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_lose_nothing_and_double_nothing() {
    let kills = if crate::full() { 60 } else { 12 };
    kills_at_any_moment(UNLIMITED, kills, || {}).await;
}

/// Kills an `up` with these `settings` so often, in the middle of its work and of its starts. `opened` is called after the
/// first start.
pub async fn kills_at_any_moment(settings: &[(&str, &str)], kills: usize, opened: impl FnOnce()) {
    let seed = match std::env::var("MESHWORK_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => Uuid::new_v4().as_u64_pair().0,
    };
    println!("MESHWORK_TEST_SEED={seed}");
    let mut random = seed;
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), settings);
    opened();
    let staff = up.staff().await;
    let pieces = i64::try_from(kills * BURST).unwrap();
    let product = stocked_product(&up, &staff, "crashed", pieces).await;
    let (_, customer) = up.customer("survivor").await;

    // The first kill leaves work to be recovered, which the others then meet: some before the process is ready, some
    // after that, when orders are placed again.
    let mut journal = Journal::new();
    place_and_kill(&mut up, &mut journal, &customer, &product, 0).await;
    for round in 1..=kills {
        let moment = Instant::now() + Duration::from_micros(next(&mut random) % 600_000);
        up = Up::spawn(folder.path(), settings);
        if up.ready_by(moment) {
            let answered = place(&up, &mut journal, &customer, &product, round);
            tokio::time::sleep_until(moment.into()).await;
            up.kill();
            note_rest(&mut journal, answered).await;
        } else {
            up.kill();
        }
    }
    up = Up::start(folder.path(), settings);
    for round in 0..=kills {
        let of_round = of_round(&journal, round);
        nothing_is_lost(&up, &journal, &of_round, &customer).await;
        ask_again(&up, &mut journal, &of_round, &customer, &product).await;
    }
    for entry in journal.values() {
        settled_order(up.channel(), &customer, &entry.name()).await;
    }
    assert!(check(&up, &journal, &staff, &customer, &product, pieces).await > 0);
}

/// The next number of a sequence that looks random (SplitMix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The first group of a round's request ids.
fn prefix(round: usize) -> String {
    format!("{round:08x}-")
}

/// The request ids of a round.
pub fn of_round(journal: &Journal, round: usize) -> Vec<String> {
    journal.keys().filter(|id| id.starts_with(&prefix(round))).cloned().collect()
}

/// A UUID of version 4 that names round and place.
fn request_id(round: usize, at: usize) -> String {
    format!("{}0000-4000-8000-{at:012x}", prefix(round))
}

/// Sends a burst of orders; their answers come by the channel, which ends with the last call.
pub fn place(
    up: &Up,
    journal: &mut Journal,
    customer: &Token,
    product: &str,
    round: usize,
) -> mpsc::UnboundedReceiver<(String, Order)> {
    let channel = up.channel();
    let (answers, answered) = mpsc::unbounded_channel();
    for at in 0..BURST {
        let (id, quantity) = (request_id(round, at), i64::try_from(at % 3).unwrap() + 1);
        journal.insert(id.clone(), Entry { answer: None, quantity });
        let request = with(customer, order_request(product, quantity, &id));
        let (channel, answers) = (channel.clone(), answers.clone());
        tokio::spawn(async move {
            if let Ok(order) = OrderServiceClient::new(channel).create_order(request).await {
                answers.send((id, order.into_inner())).unwrap();
            }
        });
    }
    answered
}

/// Writes down the answers that are still under way after a kill: they are promises too.
pub async fn note_rest(journal: &mut Journal, mut answered: mpsc::UnboundedReceiver<(String, Order)>) {
    while let Some((id, order)) = answered.recv().await {
        journal.get_mut(&id).unwrap().answer = Some(order);
    }
}

/// Places a burst of orders and kills the process in the middle of it. Returns when that was.
async fn place_and_kill(
    up: &mut Up,
    journal: &mut Journal,
    customer: &Token,
    product: &str,
    round: usize,
) -> SystemTime {
    let mut answered = place(up, journal, customer, product, round);
    for _ in 0..ANSWERS {
        let answer = tokio::time::timeout(Duration::from_secs(30), answered.recv()).await.unwrap();
        let (id, order) = answer.expect("the shop took too few orders");
        journal.get_mut(&id).unwrap().answer = Some(order);
    }
    up.kill();
    let killed_at = SystemTime::now();
    note_rest(journal, answered).await;
    killed_at
}

/// Reads what was answered before the kill: it must be there before anybody asks for it again.
pub async fn nothing_is_lost(up: &Up, journal: &Journal, ids: &[String], customer: &Token) {
    let (channel, mut reads) = (up.channel(), JoinSet::new());
    for answer in ids.iter().filter_map(|id| journal[id].answer.clone()) {
        let (channel, customer) = (channel.clone(), customer.clone());
        reads.spawn(async move {
            let request = with(&customer, GetOrderRequest { name: answer.name.clone(), ..Default::default() });
            let order = OrderServiceClient::new(channel).get_order(request).await;
            let order = order.unwrap_or_else(|status| panic!("{} was answered and is lost: {status}", answer.name));
            (order.into_inner(), answer)
        });
    }
    for (order, answer) in reads.join_all().await {
        assert_eq!(order.lines, answer.lines, "{}", answer.name);
        assert_eq!(order.total, answer.total, "{}", answer.name);
        assert_eq!(order.create_time, answer.create_time, "{}", answer.name);
    }
}

/// Sends the requests again: those with an answer must get the same one, marked as a repetition, the others get theirs.
pub async fn ask_again(up: &Up, journal: &mut Journal, ids: &[String], customer: &Token, product: &str) {
    let channel = up.channel();
    let mut calls = JoinSet::new();
    for id in ids {
        let request = with(customer, order_request(product, journal[id].quantity, id));
        let (channel, id) = (channel.clone(), id.clone());
        calls.spawn(async move {
            let response = OrderServiceClient::new(channel).create_order(request).await;
            (id, response.unwrap_or_else(|status| panic!("a repeated request failed: {status}")))
        });
    }
    for (id, response) in calls.join_all().await {
        let repeated = response.metadata().get(REPLAY).is_some_and(|value| value == "true");
        let (entry, order) = (journal.get_mut(&id).unwrap(), response.into_inner());
        assert_eq!(order.lines[0].quantity, entry.quantity, "{}", order.name);
        if let Some(answer) = &entry.answer {
            assert!(repeated, "the request {id} was answered before, and has now made {}", order.name);
            assert_eq!(order.encode_to_vec(), answer.encode_to_vec(), "{order:?} instead of {answer:?}");
        }
        entry.answer = Some(order);
    }
}

/// The history of an order.
pub async fn events(channel: Channel, order: &str, token: &Token) -> Vec<OrderEvent> {
    let request = ListOrderEventsRequest { parent: order.to_owned(), ..ListOrderEventsRequest::default() };
    let mut client = OrderServiceClient::new(channel);
    client.list_order_events(with(token, request)).await.unwrap().into_inner().order_events
}

/// Waits until the orders are settled and counts those that were begun and not settled at `moment`.
pub async fn unfinished_at(channel: &Channel, token: &Token, names: &[String], moment: SystemTime) -> usize {
    let mut orders = JoinSet::new();
    for name in names {
        let (channel, token, name) = (channel.clone(), token.clone(), name.clone());
        orders.spawn(async move {
            settled_order(channel.clone(), &token, &name).await;
            let events = events(channel, &name, &token).await;
            let time = |event: &OrderEvent| SystemTime::try_from(event.create_time.unwrap()).unwrap();
            time(&events[0]) <= moment && time(events.last().unwrap()) > moment
        });
    }
    orders.join_all().await.into_iter().filter(|unfinished| *unfinished).count()
}

/// Orders with their histories.
async fn read_all(up: &Up, token: &Token, orders: Vec<(String, i64)>) -> Vec<(String, i64, Order, Vec<OrderEvent>)> {
    let (channel, mut reads, mut all) = (up.channel(), JoinSet::new(), Vec::new());
    for (name, quantity) in orders {
        let (channel, token) = (channel.clone(), token.clone());
        reads.spawn(async move {
            let order = get_order(channel.clone(), &token, &name).await;
            let history = events(channel, &name, &token).await;
            (name, quantity, order, history)
        });
        if reads.len() >= 16 {
            all.push(reads.join_next().await.unwrap().unwrap());
        }
    }
    all.extend(reads.join_all().await);
    all
}

/// Holds everything that the shop has against the journal. Returns how many orders are confirmed.
pub async fn check(up: &Up, journal: &Journal, staff: &Token, customer: &Token, product: &str, pieces: i64) -> usize {
    let names: HashSet<_> = journal.values().map(Entry::name).collect();
    assert_eq!(names.len(), journal.len(), "two requests share an order");

    // The list has every order of the journal, and no other.
    // It may be behind: what isn't listed yet is no reason to believe that all is settled.
    eventually("the list", async || {
        let listed = list(up, customer).await;
        listed.len() >= names.len() && listed.iter().all(settled)
    })
    .await;
    let listed = list(up, customer).await;
    let listed_names: HashSet<_> = listed.iter().map(|order| order.name.clone()).collect();
    assert_eq!(listed.len(), listed_names.len(), "an order is listed twice");
    assert_eq!(listed_names, names);

    let mut confirmed = HashSet::new();
    let mut sold = 0;
    let orders = journal.values().map(|entry| (entry.name(), entry.quantity));
    for (name, quantity, order, history) in read_all(up, customer, orders.collect()).await {
        let count = |wanted: fn(&Event) -> bool| {
            history.iter().filter(|event| event.event.as_ref().is_some_and(wanted)).count()
        };
        assert_eq!(count(|event| matches!(event, Event::OrderCreated(_))), 1, "{name}");
        let is_confirmed = order.state() == order::State::Confirmed;
        assert!(is_confirmed || order.state() == order::State::Rejected, "{name} is {:?}", order.state());
        assert_eq!(count(|event| matches!(event, Event::OrderConfirmed(_))), usize::from(is_confirmed), "{name}");
        assert_eq!(count(|event| matches!(event, Event::OrderAllocated(_))), usize::from(is_confirmed), "{name}");
        assert_eq!(count(|event| matches!(event, Event::OrderRejected(_))), usize::from(!is_confirmed), "{name}");
        if is_confirmed {
            sold += quantity;
            confirmed.insert(name);
        }
    }

    // Each piece is where the orders say it is.
    let stock = stock(up, staff, product).await;
    assert_eq!((stock.received, stock.held, stock.allocated, stock.shipped), (pieces, 0, sold, 0));
    assert_eq!(stock.available, pieces - sold);

    // Each confirmation was mailed, once.
    let mailed = async || {
        let sent = notifications(&up.channel(), customer).await;
        sent.into_iter()
            .filter(|n| n.template == "order_confirmed")
            .map(|n| (n.about.clone(), n.state()))
            .collect::<Vec<_>>()
    };
    let sent = |mails: &[(String, notification::State)]| {
        mails.len() >= confirmed.len() && mails.iter().all(|(_, state)| *state == notification::State::Sent)
    };
    eventually("all mails", async || sent(&mailed().await)).await;
    let about: Vec<_> = mailed().await.into_iter().map(|(about, _)| about).collect();
    assert_eq!(about.len(), confirmed.len(), "an order was mailed twice");
    assert_eq!(about.into_iter().collect::<HashSet<_>>(), confirmed);
    let files = up.mails().iter().filter(|file| std::fs::read_to_string(file).unwrap().contains("onfirmed")).count();
    assert_eq!(files, confirmed.len(), "one file a mail");
    up.audit(None);
    confirmed.len()
}

async fn list(up: &Up, token: &Token) -> Vec<Order> {
    let (mut client, mut orders, mut page_token) = (OrderServiceClient::new(up.channel()), Vec::new(), String::new());
    loop {
        let request = ListOrdersRequest { page_size: 200, page_token, ..ListOrdersRequest::default() };
        let page = client.list_orders(with(token, request)).await.unwrap().into_inner();
        orders.extend(page.orders);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return orders;
        }
    }
}
