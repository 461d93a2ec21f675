//! What a shop tells of itself: all that the invariants are judged by.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use meshwork_api::meshwork::notifications::v1::notification;
use meshwork_api::meshwork::orders::v1::order;
use meshwork_api::meshwork::products::v1::reservation;
use meshwork_chassis::bus::LANES_PER_SHARD;

use crate::history::Amount;

/// A name or another word; the same one is kept once.
pub type Name = Arc<str>;

/// When something happened: seconds since 1970, and nanoseconds.
pub type Moment = (i64, i32);

/// All that was gathered.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// When it was gathered, in seconds since 1970.
    pub now: i64,
    /// The products' stocks.
    pub stocks: Vec<Stock>,
    /// What is kept for orders.
    pub reservations: Vec<Reservation>,
    /// The orders as their events make them.
    pub folded: Vec<Folded>,
    /// The orders as lists show them.
    pub listed: Vec<Order>,
    /// Some orders as they are shown by themselves.
    pub asked: Vec<Order>,
    /// Some of the lists that are narrowed by a filter.
    pub lists: Vec<List>,
    /// What was asked for of the orders and is definitely not shown.
    pub refused: Vec<Refused>,
    /// What can't be listed at all, as something in it is damaged.
    pub unlisted: Vec<Refused>,
    /// The sources of events, each with what is published of it.
    pub sources: Vec<Source>,
    /// Who follows the events.
    pub consumers: Vec<Consumer>,
    /// The letters to people.
    pub letters: Vec<Letter>,
    /// What is parked.
    pub parked: Vec<Parked>,
}

/// A product's pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// The product, `products/…`.
    pub product: Name,
    /// Pieces that can be sold.
    pub available: i64,
    /// Pieces that are held.
    pub held: i64,
    /// Pieces that belong to confirmed orders.
    pub allocated: i64,
    /// Pieces that have left.
    pub shipped: i64,
    /// Pieces that ever came.
    pub received: i64,
}

/// Pieces kept for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The order, `orders/…`.
    pub order: Name,
    /// Where it stands.
    pub state: reservation::State,
    /// The products and how many pieces of each.
    pub lines: Vec<(Name, i64)>,
}

/// An order, from wherever it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The name, `orders/…`.
    pub name: Name,
    /// Who ordered, `users/…`.
    pub customer: Name,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// The sum.
    pub total: Option<Amount>,
    /// Where it stands.
    pub state: order::State,
    /// Why it was rejected or cancelled.
    pub state_reason: String,
    /// The carrier's number.
    pub tracking_number: String,
    /// How many events it has.
    pub version: i64,
    /// When its pieces were allocated.
    pub allocated: Option<Moment>,
    /// When it was placed.
    pub created: Option<Moment>,
    /// When it changed last.
    pub updated: Option<Moment>,
}

/// One product of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub product: Name,
    /// How many pieces.
    pub quantity: i64,
    /// A hash of its name and price at that time.
    pub content: u64,
}

/// Orders that have something in common, as they are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// What they have in common.
    pub term: Term,
    /// Their names, in the order of the list.
    pub names: Vec<Name>,
    /// Whether there are more behind these.
    pub is_cut: bool,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// Orders in this state.
    State(order::State),
    /// Orders of this customer.
    Customer(Name),
}

impl Term {
    /// Whether an order belongs to it.
    pub fn admits(&self, order: &Order) -> bool {
        match self {
            Self::State(state) => order.state == *state,
            Self::Customer(customer) => order.customer == *customer,
        }
    }
}

impl fmt::Display for Term {
    /// As the filter of a list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => write!(f, "state = {}", state.as_str_name().trim_start_matches("STATE_")),
            Self::Customer(customer) => write!(f, "customer = \"{customer}\""),
        }
    }
}

/// Something that a service has definitely refused to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What, such as `orders/…`.
    pub subject: Name,
    /// What was answered.
    pub answer: String,
}

/// An order as its events make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The order; `None` when its events make none.
    pub order: Option<Order>,
    /// Its name, `orders/…`.
    pub name: Name,
    /// What is wrong with its events; empty when nothing is.
    pub problem: String,
}

/// Where an event stands in its source: partition, position, and place in the commit.
pub type Place = (i32, i64, i32);

/// An event, without what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The aggregate.
    pub subject: Name,
    /// The aggregate's version after it.
    pub version: i64,
    /// The type.
    pub kind: Name,
    /// Where it stands.
    pub place: Place,
    /// When it happened, in seconds since 1970.
    pub time: i64,
    /// And in which microsecond of that second: more is kept nowhere.
    pub micros: i32,
    /// A hash of its content.
    pub content: u64,
    /// Its id, where that isn't made of aggregate and version as all are.
    pub odd_id: Option<Name>,
}

/// What one command has appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The partition and the position in it.
    pub place: (i32, i64),
    /// The aggregate; empty for a tombstone.
    pub subject: Name,
    /// A hash of the command's id; `None` where it isn't kept.
    pub command: Option<u64>,
    /// Whether it has created an order.
    pub creates: bool,
    /// The id of the request that has created an order with it; a word of its own where there was none.
    pub request: Option<Name>,
    /// Whether it only fills its position.
    pub tombstone: bool,
    /// What is wrong with it; empty when nothing is.
    pub problem: String,
}

/// A service's source of events, and what the bus has of it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The service.
    pub service: &'static str,
    /// Whether it removes what has been published long ago.
    pub prunes: bool,
    /// Each partition with its last position; -1 where that isn't known.
    pub heads: Vec<(i32, i64)>,
    /// Its commits, by partition in order of position.
    pub commits: Vec<Commit>,
    /// Their events, in the same order.
    pub events: Vec<Event>,
    /// The stream that they are published to.
    pub stream: String,
    /// For how many seconds the bus keeps them.
    pub retention: i64,
    /// What the bus has of them, each lane in its order.
    pub carried: Vec<Carried>,
}

impl Source {
    /// Its events, those of an aggregate in the order in which they were appended. One that has moved between shards has some in
    /// several partitions: each goes on where another has stopped.
    pub fn in_order(&self) -> Vec<&Event> {
        if self.heads.len() <= usize::from(LANES_PER_SHARD) {
            return self.events.iter().collect();
        }
        let mut aggregates: BTreeMap<&Name, BTreeMap<i32, VecDeque<&Event>>> = BTreeMap::new();
        for event in &self.events {
            let of = aggregates.entry(&event.subject).or_default();
            of.entry(event.place.0).or_default().push_back(event);
        }
        let mut events = Vec::with_capacity(self.events.len());
        for mut partitions in aggregates.into_values() {
            let next = |queue: &&mut VecDeque<&Event>| queue.front().map(|event| event.version);
            while let Some(first) = partitions.values_mut().filter(|queue| !queue.is_empty()).min_by_key(next) {
                events.extend(first.pop_front());
            }
        }
        events
    }

    /// Whether the events of an aggregate may begin later than they did: what was appended first may have been removed from the
    /// partition of this one, or of the shard that had it before.
    pub fn may_be_cut(&self, first: &HashMap<i32, i64>, event: &Event) -> bool {
        let shards = i32::from(LANES_PER_SHARD);
        first.iter().any(|(partition, n)| partition % shards == event.place.0 % shards && *n > 1)
    }
}

/// An event as the bus has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The event.
    pub event: Event,
    /// The lane that it lies in.
    pub lane: Name,
    /// Whether it was published beside the lane.
    pub repaired: bool,
}

/// Who follows events.
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// The streams that it follows.
    pub streams: Vec<String>,
    /// Whether it notes the versions that it has applied.
    pub versioned: bool,
    /// How far it has come: stream, partition, position and place in the commit.
    pub noted: Vec<(String, Place)>,
    /// The versions that it has applied.
    pub applied: Vec<(Name, i64)>,
}

/// A letter to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The name, `notifications/…`.
    pub name: String,
    /// What it is about, such as `orders/…`.
    pub about: Name,
    /// The event that has caused it.
    pub event_id: String,
    /// The template, such as `order_confirmed`.
    pub template: Name,
    /// Whom it goes to, `users/…`.
    pub recipient: Name,
    /// Where it stands.
    pub state: notification::State,
    /// How often it was tried.
    pub attempts: i32,
    /// Whether it is known when it was handed over.
    pub handed_over: bool,
}

/// Something that waits for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Where it waits, such as `the consumer inventory of products`.
    pub place: String,
    /// The aggregate.
    pub subject: String,
    /// Why.
    pub reason: String,
}
