//! A small shop at rest, made by hand, in which everything is as it must be.

use std::collections::HashMap;

use meshwork_api::meshwork::notifications::v1::notification;
use meshwork_api::meshwork::orders::v1::order::State;
use meshwork_api::meshwork::products::v1::reservation;

use crate::audit::evidence::{
    Carried, Commit, Consumer, Event, Evidence, Folded, Letter, Line, List, Name, Order, Reservation, Source, Stock,
    Term,
};
use crate::history::Amount;

/// When it is looked at, and when everything happened.
pub const NOW: i64 = 1_000_000;
const THEN: i64 = NOW - 60;
/// The bus keeps events for a week.
const RETENTION: i64 = 7 * 24 * 60 * 60;

/// The kinds of an order's events behind its creation, the order's last state, and its reservation's. The orders ask for one,
/// two, three and four pieces.
type Way = (&'static str, &'static [&'static str], State, reservation::State);
const WAYS: [Way; 4] = [
    (
        "a",
        &["order_confirmed", "order_allocated", "order_shipped", "order_delivered"],
        State::Delivered,
        reservation::State::Shipped,
    ),
    ("b", &["order_rejected"], State::Rejected, reservation::State::Rejected),
    ("c", &["order_confirmed", "order_allocated", "order_cancelled"], State::Cancelled, reservation::State::Released),
    ("d", &["order_confirmed", "order_allocated"], State::Confirmed, reservation::State::Allocated),
];

/// A source with a commit for each of these events, in one partition.
fn source(service: &'static str, prunes: bool, events: &[(String, i64, &str)]) -> Source {
    let event = |(n, (subject, version, kind)): (i64, &(String, i64, &str))| Event {
        subject: subject.as_str().into(),
        version: *version,
        kind: (*kind).into(),
        place: (0, n, 0),
        time: THEN,
        micros: 0,
        content: n.unsigned_abs(),
        odd_id: None,
    };
    let events: Vec<_> = (1..).zip(events).map(event).collect();
    let commit = |event: &Event| Commit {
        place: (0, event.place.1),
        subject: event.subject.clone(),
        command: Some(event.content),
        creates: event.kind.as_ref() == "order_created",
        request: (event.kind.as_ref() == "order_created").then(|| format!("by {}", event.subject).into()),
        tombstone: false,
        problem: String::new(),
    };
    let lane: Name = format!("{service}.p00").into();
    let carried = |event: &Event| Carried { event: event.clone(), lane: lane.clone(), repaired: false };
    Source {
        service,
        prunes,
        heads: vec![(0, events.last().map_or(0, |event| event.place.1))],
        commits: events.iter().map(commit).collect(),
        stream: service.to_owned(),
        retention: RETENTION,
        carried: events.iter().map(carried).collect(),
        events,
    }
}

/// A consumer that has applied all of these sources.
fn versioned(name: &str, sources: &[&Source]) -> Consumer {
    let mut last = HashMap::new();
    for event in sources.iter().flat_map(|source| &source.events) {
        last.insert(event.subject.clone(), event.version);
    }
    Consumer {
        name: name.to_owned(),
        streams: sources.iter().map(|source| source.stream.clone()).collect(),
        versioned: true,
        noted: Vec::new(),
        applied: last.into_iter().collect(),
    }
}

fn order((id, kinds, state, _): &Way, quantity: i64) -> Order {
    Order {
        name: format!("orders/{id}").into(),
        customer: "users/1".into(),
        lines: vec![Line { product: "products/1".into(), quantity, content: 1 }],
        total: Some(Amount { currency_code: "EUR".to_owned(), units: quantity, nanos: 0 }),
        state: *state,
        state_reason: String::new(),
        tracking_number: String::new(),
        version: i64::try_from(kinds.len()).unwrap() + 1,
        allocated: kinds.contains(&"order_allocated").then_some((THEN, 0)),
        // The first one is the newest.
        created: Some((THEN, 1_000_000 - i32::try_from(quantity).unwrap() * 1_000)),
        updated: Some((THEN, 0)),
    }
}

fn letters((id, kinds, ..): &Way) -> Vec<Letter> {
    let template = |kind: &str| match kind {
        "order_confirmed" => None,
        "order_allocated" => Some("order_confirmed".to_owned()),
        kind => Some(kind.to_owned()),
    };
    let letter = |(version, template): (i64, String)| Letter {
        name: format!("notifications/{id}-{template}"),
        about: format!("orders/{id}").into(),
        event_id: format!("orders/{id}:{version}"),
        template: template.into(),
        recipient: "users/1".into(),
        state: notification::State::Sent,
        attempts: 1,
        handed_over: true,
    };
    let due = (2..).zip(*kinds).filter_map(|(version, kind)| Some((version, template(kind)?)));
    due.map(letter).collect()
}

/// The shop.
pub fn sound() -> Evidence {
    let mut of_orders = Vec::new();
    let mut of_products = vec![("products/1".to_owned(), 1, "product_created")];
    let mut evidence = Evidence { now: NOW, ..Evidence::default() };
    for (quantity, way) in (1..).zip(&WAYS) {
        let (id, kinds, _, state) = way;
        of_orders.push((format!("orders/{id}"), 1, "order_created"));
        of_orders.extend((2..).zip(*kinds).map(|(version, kind)| (format!("orders/{id}"), version, *kind)));
        of_products.push((format!("reservations/{id}"), 1, "stock_reserved"));
        let order = order(way, quantity);
        evidence.reservations.push(Reservation {
            order: order.name.clone(),
            state: *state,
            lines: vec![("products/1".into(), quantity)],
        });
        evidence.letters.extend(letters(way));
        evidence.listed.push(order.clone());
        let name = order.name.clone();
        evidence.folded.push(Folded { order: Some(order), name, problem: String::new() });
    }
    evidence.asked = evidence.listed[..2].to_vec();
    let states =
        [State::Pending, State::Confirmed, State::Rejected, State::Shipped, State::Delivered, State::Cancelled];
    let terms = states.into_iter().map(Term::State).chain([Term::Customer("users/1".into())]);
    let list = |term: Term| {
        let orders = evidence.listed.iter().filter(|order| term.admits(order));
        List { names: orders.map(|order| order.name.clone()).collect(), term, is_cut: false }
    };
    evidence.lists = terms.map(list).collect();
    evidence.stocks =
        vec![Stock { product: "products/1".into(), available: 5, held: 0, allocated: 4, shipped: 1, received: 10 }];
    let users = source("users", true, &[("users/1".to_owned(), 1, "user_registered")]);
    let products = source("products", true, &of_products);
    let orders = source("orders", false, &of_orders);
    let noted = vec![("products".to_owned(), products.events.last().unwrap().place)];
    evidence.consumers = vec![
        versioned("inventory", &[&orders]),
        versioned("notifications", &[&orders, &users]),
        Consumer {
            name: "orders".to_owned(),
            streams: vec!["products".to_owned(), "users".to_owned()],
            noted,
            ..Consumer::default()
        },
    ];
    evidence.sources = vec![users, products, orders];
    evidence
}
