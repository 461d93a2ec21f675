//! The conformance suites of the ports: what every adapter must do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use meshwork_aip::page::PageRequest;
use meshwork_api::OrderName;
use meshwork_chassis::consistency::Freshness;
use meshwork_chassis::request::RequestKey;
use meshwork_eventstore::{AppendError, Appended, CommandId};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::adapters::event_store::EventOrderStore;
use crate::domain::{Command, Line, Money, Order, OrderError, OrderEvent, State, fold};
use crate::ports::{
    Awaited, Claim, CommandKey, ExecuteError, Executed, OrderFilter, OrderReadModel, OrderStore, Position, Recorded,
    Settled, StoreError, Waiting,
};

/// The longest that the suites wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The order with this id.
pub fn order_name(id: &str) -> OrderName {
    OrderName::new(id).unwrap()
}

/// So many seconds after 1970.
pub fn second(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
}

/// The creation of an order of two teas by `users/{customer}`.
pub fn created(customer: &str) -> OrderEvent {
    let unit_price = Money { currency: "EUR".to_owned(), minor: 420 };
    let total = Money { minor: 840, ..unit_price.clone() };
    let product = "products/tea".parse().unwrap();
    let line = Line { product, quantity: 2, display_name: "Green tea".to_owned(), unit_price };
    OrderEvent::Created { customer: format!("users/{customer}").parse().unwrap(), lines: vec![line], total }
}

/// The order as its history makes it.
pub async fn folded(store: &dyn OrderStore, name: &OrderName) -> Option<Order> {
    let history = store.history(name, 0).await.unwrap();
    fold(name, history.iter().map(|recorded| (&recorded.event, recorded.at)))
}

/// Appends events to the order as it is, whether a command would make them or not; the command's id is `command_id`.
///
/// # Errors
/// When the order has changed meanwhile, or the store fails.
pub async fn append(
    store: &EventOrderStore,
    id: &str,
    command_id: &str,
    events: &[OrderEvent],
    at: OffsetDateTime,
) -> Result<Appended, AppendError> {
    let stream = order_name(id).to_string();
    let before = store.orders().load(&stream).await?;
    let command = CommandId { id: command_id.to_owned(), hash: [7; 32] };
    store.orders().append(&stream, &before, events, command, at).await
}

/// Runs the suite of [`OrderStore`] on an empty store.
pub async fn order_store_conformance(store: Arc<EventOrderStore>) {
    let at = store.as_ref();
    histories_are_read_back(at).await;
    an_order_is_made_once_and_refuses_what_is_not_allowed(at).await;
    commands_are_held_against_the_version(at).await;
    a_command_is_carried_out_once_and_answered_as_it_was(at).await;
    an_order_is_told_as_it_was_and_where_that_stands(at).await;
    a_request_id_belongs_to_one_body(at).await;
    what_a_request_was_settled_at_stands(at).await;
    of_racing_bodies_one_claims_the_id(&store).await;
    a_placement_claims_the_name_of_its_request(at).await;
    a_change_wakes_who_waits_for_it(at).await;
}

async fn histories_are_read_back(store: &EventOrderStore) {
    let events =
        [created("anna"), OrderEvent::ReservationRequested { attempt: 1, confirmed: false }, OrderEvent::Confirmed];
    append(store, "read", "a", &events[..2], second(1)).await.unwrap();
    let done = append(store, "read", "b", &events[2..], second(2)).await.unwrap();
    assert_eq!((done.commit.version(), done.replayed), (3, false));
    let recorded =
        |version, at: i64, event: &OrderEvent| Recorded { version, at: second(at), event: event.clone(), actor: None };
    let all = [recorded(1, 1, &events[0]), recorded(2, 1, &events[1]), recorded(3, 2, &events[2])];
    let read = order_name("read");
    assert_eq!(store.history(&read, 0).await.unwrap(), all);
    // Also from the middle of what one command has appended.
    assert_eq!(store.history(&read, 1).await.unwrap(), all[1..]);
    assert_eq!(store.history(&read, 3).await.unwrap(), []);
    assert_eq!(store.history(&order_name("absent"), 0).await.unwrap(), []);
}

/// The key of a command with this id, whose payload is told by `payload`.
fn key(id: &str, payload: u8) -> CommandKey {
    CommandKey { id: id.to_owned(), hash: [payload; 32], request: None }
}

/// The command that makes the order of [`created`].
fn create(customer: &str) -> Command {
    match created(customer) {
        OrderEvent::Created { customer, lines, .. } => Command::Create { customer, lines },
        other => panic!("{other:?} makes no order"),
    }
}

async fn an_order_is_made_once_and_refuses_what_is_not_allowed(store: &dyn OrderStore) {
    let name = order_name("made");
    let made = store.create(&name, &create("anna"), &key("a", 1), second(1)).await.unwrap();
    assert_eq!((Some(&made.order), made.replayed), (folded(store, &name).await.as_ref(), false));
    assert!(made.position.is_some());
    let again = store.create(&name, &create("anna"), &key("a", 1), second(2)).await.unwrap();
    assert_eq!(again, Executed { replayed: true, ..made });
    let taken = store.create(&name, &create("bert"), &key("b", 1), second(3)).await;
    assert!(matches!(taken, Err(ExecuteError::Refused(OrderError::Exists))), "{taken:?}");
    let early = store.execute(&name, &Command::Deliver, None, &key("c", 1), second(4)).await;
    assert!(matches!(early, Err(ExecuteError::Refused(OrderError::State { .. }))), "{early:?}");
    let absent = store.execute(&order_name("absent"), &Command::Confirm, None, &key("a", 1), second(5)).await;
    assert!(matches!(absent, Err(ExecuteError::Refused(OrderError::Missing))), "{absent:?}");
    // There is nothing to record before the order is confirmed.
    let nothing = store.execute(&name, &Command::RecordAllocation, None, &key("d", 1), second(6)).await.unwrap();
    assert_eq!((nothing.order.version, nothing.position, nothing.replayed), (1, None, false));
    assert_eq!(store.history(&name, 0).await.unwrap().len(), 1);
}

async fn commands_are_held_against_the_version(store: &EventOrderStore) {
    let name = order_name("held");
    append(store, "held", "a", &[created("anna")], second(1)).await.unwrap();
    append(store, "held", "b", &[OrderEvent::Confirmed], second(2)).await.unwrap();
    let cancel = Command::Cancel { reason: "late".to_owned() };
    for expected in [1, 3] {
        let late = store.execute(&name, &cancel, Some(expected), &key("c", 1), second(3)).await;
        assert!(matches!(late, Err(ExecuteError::VersionMismatch)), "{expected}: {late:?}");
    }
    assert_eq!(store.history(&name, 0).await.unwrap().len(), 2);
    let done = store.execute(&name, &cancel, Some(2), &key("c", 1), second(4)).await.unwrap();
    assert_eq!((done.order.version, done.order.state), (3, State::Cancelled));
}

async fn a_command_is_carried_out_once_and_answered_as_it_was(store: &dyn OrderStore) {
    let name = order_name("once");
    store.create(&name, &create("anna"), &key("a", 1), second(1)).await.unwrap();
    let first = store.execute(&name, &Command::Confirm, Some(1), &key("b", 1), second(2)).await.unwrap();
    assert_eq!((first.order.version, first.replayed), (2, false));
    store.execute(&name, &Command::RecordAllocation, None, &key("c", 1), second(3)).await.unwrap();
    // Neither the version that was asked for nor the state of today matters any more.
    let again = store.execute(&name, &Command::Confirm, Some(1), &key("b", 1), second(4)).await.unwrap();
    assert_eq!(again, Executed { replayed: true, ..first });
    assert_eq!(store.answered(&name, &key("b", 1)).await.unwrap(), Some(again));
    for unknown in [(&name, "d"), (&order_name("another"), "b")] {
        assert_eq!(store.answered(unknown.0, &key(unknown.1, 1)).await.unwrap(), None, "{unknown:?}");
    }
    let reused = store.execute(&name, &Command::Confirm, None, &key("b", 2), second(5)).await;
    assert!(matches!(reused, Err(ExecuteError::Reused)), "{reused:?}");
    let reused = store.answered(&name, &key("b", 2)).await;
    assert!(matches!(reused, Err(ExecuteError::Reused)), "{reused:?}");
    assert_eq!(store.history(&name, 0).await.unwrap().len(), 3);
}

async fn an_order_is_told_as_it_was_and_where_that_stands(store: &EventOrderStore) {
    let first = append(store, "placed", "a", &[created("anna")], second(1)).await.unwrap().commit.position;
    let both = [OrderEvent::Confirmed, OrderEvent::Allocated];
    let then = append(store, "placed", "b", &both, second(2)).await.unwrap().commit.position;
    assert_eq!(first.partition, then.partition);
    assert!(first.n < then.n, "{first:?} {then:?}");
    let order = order_name("placed");
    for (version, position) in [(1, first), (2, then), (3, then)] {
        let (told, stands) = store.order_at(&order, version).await.unwrap().unwrap();
        assert_eq!((told.version, stands), (version, position));
        assert_eq!(told.allocated_at.is_some(), version == 3);
    }
    assert_eq!(store.order_at(&order, 4).await.unwrap(), None);
    assert_eq!(store.order_at(&order_name("absent"), 1).await.unwrap(), None);
}

/// A request by `users/{user}`, whose body is told by `body`.
fn request(user: &str, method: &'static str, id: &str, body: u8) -> RequestKey {
    RequestKey { principal: format!("users/{user}"), method, id: id.to_owned(), hash: [body; 32] }
}

const OURS: Claim = Claim::Ours { settled: None };

async fn a_request_id_belongs_to_one_body(store: &dyn OrderStore) {
    let (first, other) = (request("anna", "CancelOrder", "1", 1), request("anna", "CancelOrder", "1", 2));
    assert_eq!(store.look_up(&first).await.unwrap(), Claim::Free);
    assert_eq!(store.claim(&first, second(1)).await.unwrap(), OURS);
    for _ in 0..2 {
        assert_eq!(store.look_up(&first).await.unwrap(), OURS);
        assert_eq!(store.look_up(&other).await.unwrap(), Claim::Reused);
        assert_eq!(store.claim(&other, second(2)).await.unwrap(), Claim::Reused);
        assert_eq!(store.claim(&first, second(2)).await.unwrap(), OURS);
    }
    // Another caller's id, another method's and another id are other requests.
    let strangers = [
        request("bert", "CancelOrder", "1", 2),
        request("anna", "ShipOrder", "1", 2),
        request("anna", "CancelOrder", "2", 2),
    ];
    for stranger in strangers {
        assert_eq!(store.look_up(&stranger).await.unwrap(), Claim::Free, "{stranger:?}");
        assert_eq!(store.claim(&stranger, second(3)).await.unwrap(), OURS, "{stranger:?}");
    }
}

async fn what_a_request_was_settled_at_stands(store: &dyn OrderStore) {
    let (settled, other) = (request("anna", "ShipOrder", "3", 1), request("anna", "ShipOrder", "3", 2));
    store.claim(&settled, second(1)).await.unwrap();
    assert_eq!(store.settle(&settled, 4, second(2)).await.unwrap(), Settled { version: 4, replayed: false });
    assert_eq!(store.settle(&settled, 5, second(3)).await.unwrap(), Settled { version: 4, replayed: true });
    assert_eq!(store.look_up(&settled).await.unwrap(), Claim::Ours { settled: Some(4) });
    assert_eq!(store.look_up(&other).await.unwrap(), Claim::Reused);
}

async fn of_racing_bodies_one_claims_the_id(store: &Arc<EventOrderStore>) {
    let mut racers = JoinSet::new();
    for body in 0..16 {
        let (store, request) = (store.clone(), request("anna", "CreateOrder", "raced", body));
        racers.spawn(async move { (request.clone(), store.claim(&request, second(1)).await.unwrap()) });
    }
    let (ours, reused): (Vec<_>, Vec<_>) = racers.join_all().await.into_iter().partition(|(_, claim)| *claim == OURS);
    assert_eq!((ours.len(), reused.len()), (1, 15));
    assert_eq!(store.look_up(&ours[0].0).await.unwrap(), OURS);
}

async fn a_placement_claims_the_name_of_its_request(store: &dyn OrderStore) {
    let name = order_name("claimed");
    let (named, unnamed) = (key("create/users/anna/1", 1), key("create/users/anna/1", 2));
    assert_eq!(store.look_up_placement(&name, &named).await.unwrap(), Claim::Free);
    assert!(!store.is_taken(&name).await.unwrap());
    for at in 1..=2 {
        store.claim_placement(&name, &named, second(at)).await.unwrap();
        assert_eq!(store.look_up_placement(&name, &named).await.unwrap(), OURS);
        assert_eq!(store.look_up_placement(&name, &unnamed).await.unwrap(), Claim::Reused);
    }
    // There is no order, and none comes.
    assert!(store.is_taken(&name).await.unwrap());
    assert_eq!(store.load(&name).await.unwrap(), None);
    assert_eq!(store.order_at(&name, 1).await.unwrap(), None);
    let reused = store.create(&name, &create("anna"), &unnamed, second(3)).await;
    assert!(matches!(reused, Err(ExecuteError::Reused)), "{reused:?}");
    let taken = store.create(&name, &create("anna"), &key("another", 1), second(3)).await;
    assert!(matches!(taken, Err(ExecuteError::Refused(OrderError::Exists))), "{taken:?}");
    let absent = store.execute(&name, &Command::Confirm, None, &key("event", 1), second(3)).await;
    assert!(matches!(absent, Err(ExecuteError::Refused(OrderError::Missing))), "{absent:?}");
    assert_eq!(store.history(&name, 0).await.unwrap().len(), 1);
    // The other way round.
    let name = order_name("unclaimed");
    store.create(&name, &create("anna"), &unnamed, second(4)).await.unwrap();
    assert_eq!(store.look_up_placement(&name, &named).await.unwrap(), Claim::Reused);
    let reused = store.claim_placement(&name, &named, second(5)).await;
    assert!(matches!(reused, Err(ExecuteError::Reused)), "{reused:?}");
    let taken = store.claim_placement(&name, &key("another", 1), second(5)).await;
    assert!(matches!(taken, Err(ExecuteError::Refused(OrderError::Exists))), "{taken:?}");
    assert_eq!(store.history(&name, 0).await.unwrap().len(), 1);
}

async fn a_change_wakes_who_waits_for_it(store: &EventOrderStore) {
    let mut changes = store.changes(&order_name("woken"));
    append(store, "woken", "a", &[created("anna")], second(1)).await.unwrap();
    let woken = tokio::time::timeout(PATIENCE, changes.next(Duration::from_secs(600))).await;
    assert!(woken.is_ok(), "nothing woke the watcher");
}

/// Runs the suite of [`OrderReadModel`] on one that follows `store`; both are empty.
pub async fn read_model_conformance(store: Arc<EventOrderStore>, read_model: Arc<dyn OrderReadModel>) {
    let (store, view) = (store.as_ref(), read_model.as_ref());
    the_view_follows_the_store(store, view).await;
    who_waits_for_a_position_sees_it(store, view).await;
    lists_are_filtered_and_newest_first(store, view).await;
    pages_have_no_gap_and_no_repeat(store, view).await;
    cursors_of_another_form_are_refused(view).await;
    the_longest_waiting_come_first(store, view).await;
}

/// Everything that passes a filter.
pub async fn listed(view: &dyn OrderReadModel, filter: &OrderFilter) -> Vec<Order> {
    view.list(filter, &PageRequest { size: 10_000, after: None }, Freshness::Latest, None).await.unwrap().page.items
}

/// Waits until the view shows an order as its history makes it.
///
/// # Panics
/// When it doesn't within a bound.
pub async fn shown(store: &dyn OrderStore, view: &dyn OrderReadModel, id: &str) {
    let order = folded(store, &order_name(id)).await.unwrap();
    let seen = async {
        while !listed(view, &OrderFilter::default()).await.contains(&order) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("the view never showed {order:?}"));
}

fn ids(orders: &[Order]) -> Vec<&str> {
    orders.iter().map(|order| order.name.id()).collect()
}

async fn the_view_follows_the_store(store: &EventOrderStore, view: &dyn OrderReadModel) {
    append(store, "followed", "a", &[created("anna")], second(10)).await.unwrap();
    shown(store, view, "followed").await;
    let ending = [OrderEvent::Confirmed, OrderEvent::Allocated, OrderEvent::Cancelled { reason: "enough".to_owned() }];
    append(store, "followed", "b", &ending[..2], second(11)).await.unwrap();
    append(store, "followed", "c", &ending[2..], second(12)).await.unwrap();
    shown(store, view, "followed").await;
    assert_eq!(ids(&listed(view, &OrderFilter::default()).await), ["followed"], "one order, listed once");
}

async fn who_waits_for_a_position_sees_it(store: &EventOrderStore, view: &dyn OrderReadModel) {
    let cancelled = [created("anna"), OrderEvent::Cancelled { reason: "enough".to_owned() }];
    let order = folded(store, &order_name("followed")).await.unwrap();
    let (_, Position { partition, n }) = store.order_at(&order.name, order.version).await.unwrap().unwrap();
    for freshness in [Freshness::Latest, Freshness::Bounded] {
        let list = async |position, at_most| {
            let (all, page) = (OrderFilter::default(), PageRequest { size: 10_000, after: None });
            view.list(&all, &page, freshness, Some(Awaited { position, at_most })).await.unwrap()
        };
        let shown = list(Position { partition, n }, Duration::ZERO).await;
        assert!(!shown.behind && shown.page.items.contains(&order), "what is shown is waited for: {shown:?}");
        let ahead = list(Position { partition, n: n + 1000 }, Duration::from_millis(20)).await;
        assert!(ahead.behind && ahead.page.items.contains(&order), "it comes as it is: {ahead:?}");
        let id = format!("waited-for-{freshness:?}").to_lowercase();
        let next = append(store, &id, "a", &cancelled, second(9)).await.unwrap();
        let seen = list(next.commit.position, PATIENCE).await;
        assert!(!seen.behind && seen.page.items.iter().any(|order| order.name == order_name(&id)), "{seen:?}");
    }
}

async fn lists_are_filtered_and_newest_first(store: &EventOrderStore, view: &dyn OrderReadModel) {
    append(store, "anna-1", "a", &[created("anna")], second(20)).await.unwrap();
    append(store, "bert-1", "a", &[created("bert")], second(21)).await.unwrap();
    append(store, "anna-2", "a", &[created("anna"), OrderEvent::Confirmed], second(22)).await.unwrap();
    for id in ["anna-1", "bert-1", "anna-2"] {
        shown(store, view, id).await;
    }
    let customer = |name: &str| Some(format!("users/{name}").parse().unwrap());
    let before = ["followed", "waited-for-latest", "waited-for-bounded"];
    let filters = [
        (OrderFilter::default(), [&["anna-2", "bert-1", "anna-1"][..], &before[..]].concat()),
        (OrderFilter { customer: customer("anna"), state: None }, [&["anna-2", "anna-1"][..], &before[..]].concat()),
        (OrderFilter { customer: None, state: Some(State::Pending) }, vec!["bert-1", "anna-1"]),
        (OrderFilter { customer: customer("anna"), state: Some(State::Pending) }, vec!["anna-1"]),
        (OrderFilter { customer: customer("carl"), state: None }, vec![]),
        (OrderFilter { customer: None, state: Some(State::Delivered) }, vec![]),
    ];
    for (filter, expected) in filters {
        assert_eq!(ids(&listed(view, &filter).await), expected, "{filter:?}");
    }
    // One is pending and one confirmed; the others are cancelled.
    for (name, at_most, open) in [("anna", 100, 2), ("anna", 1, 1), ("bert", 100, 1), ("carl", 100, 0)] {
        let customer = format!("users/{name}").parse().unwrap();
        assert_eq!(view.open_orders(&customer, at_most).await.unwrap(), open, "{name}, at most {at_most}");
    }
}

async fn pages_have_no_gap_and_no_repeat(store: &EventOrderStore, view: &dyn OrderReadModel) {
    let filter = OrderFilter { customer: Some("users/pager".parse().unwrap()), state: None };
    // Three orders of one moment, so that the time alone doesn't tell them apart.
    for id in ["page-1", "page-2", "page-3"] {
        append(store, id, "a", &[created("pager")], second(30)).await.unwrap();
        shown(store, view, id).await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    for newer in ["newer-1", "newer-2", "newer-3", "newer-4"] {
        let page = view.list(&filter, &PageRequest { size: 1, after }, Freshness::Latest, None).await.unwrap().page;
        seen.extend(page.items.iter().map(|order| order.name.id().to_owned()));
        after = page.next;
        if after.is_none() {
            break;
        }
        append(store, newer, "a", &[created("pager")], second(31)).await.unwrap();
        shown(store, view, newer).await;
    }
    assert_eq!(seen, ["page-3", "page-2", "page-1"]);
}

async fn cursors_of_another_form_are_refused(view: &dyn OrderReadModel) {
    for cursor in ["", "/", "here", "1", "one/page-1", "1/NO ID", "1/page-1/2"] {
        let page = PageRequest { size: 1, after: Some(cursor.to_owned()) };
        let listed = view.list(&OrderFilter::default(), &page, Freshness::Latest, None).await;
        assert!(matches!(listed, Err(StoreError::Cursor)), "{cursor}: {listed:?}");
    }
}

async fn the_longest_waiting_come_first(store: &EventOrderStore, view: &dyn OrderReadModel) {
    let asked = OrderEvent::ReservationRequested { attempt: 1, confirmed: false };
    let (placed, confirmed) = ([created("anna")], [created("anna"), OrderEvent::Confirmed]);
    let allocated = [created("anna"), OrderEvent::Confirmed, OrderEvent::Allocated];
    let cancelled = [created("anna"), OrderEvent::Confirmed, OrderEvent::Cancelled { reason: "enough".to_owned() }];
    append(store, "waits-long", "a", &placed, second(1)).await.unwrap();
    append(store, "waits-again", "a", &placed, second(1)).await.unwrap();
    append(store, "waits-again", "b", &[asked], second(3)).await.unwrap();
    append(store, "waits-less", "a", &placed, second(2)).await.unwrap();
    // One that is confirmed waits until its pieces are allocated.
    append(store, "waits-confirmed", "a", &confirmed, second(2)).await.unwrap();
    append(store, "waits-not", "a", &allocated, second(1)).await.unwrap();
    append(store, "waits-no-more", "a", &cancelled, second(1)).await.unwrap();
    for id in ["waits-long", "waits-again", "waits-less", "waits-confirmed", "waits-not", "waits-no-more"] {
        shown(store, view, id).await;
    }
    let waiting =
        async |before, after: Option<&Waiting>, limit| view.waiting(second(before), after, limit).await.unwrap();
    let ids = |waiting: &[Waiting]| waiting.iter().map(|found| found.id.clone()).collect::<Vec<_>>();
    assert_eq!(waiting(0, None, 10).await, []);
    assert_eq!(ids(&waiting(1, None, 10).await), ["waits-long"]);
    let all = waiting(3, None, 10).await;
    assert_eq!(ids(&all), ["waits-long", "waits-confirmed", "waits-less", "waits-again"]);
    assert_eq!(all.iter().map(|found| found.updated_at).collect::<Vec<_>>(), [1, 2, 2, 3].map(second));
    assert_eq!(waiting(3, None, 2).await, all[..2]);
    // Two of one moment are told apart by their names.
    for (at, after) in all.iter().enumerate() {
        assert_eq!(waiting(3, Some(after), 10).await, all[at + 1..], "behind {after:?}");
    }
}
