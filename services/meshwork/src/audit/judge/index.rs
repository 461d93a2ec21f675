//! What is looked up again and again.

use std::collections::HashMap;

use crate::audit::evidence::{Event, Evidence, Folded, Name, Order, Reservation};

/// Orders, their events and their reservations, by the orders' names.
pub struct Index<'e> {
    /// The orders as their events make them.
    pub folded: HashMap<&'e str, &'e Folded>,
    /// The events of each order, in order of position.
    pub events: HashMap<&'e str, Vec<&'e Event>>,
    /// The orders by the requests that have created them.
    pub created: HashMap<&'e str, &'e Name>,
    /// What is kept for them.
    pub reservations: HashMap<&'e str, &'e Reservation>,
}

impl<'e> Index<'e> {
    /// The index of this evidence.
    pub fn of(evidence: &'e Evidence) -> Self {
        let mut events: HashMap<&str, Vec<&Event>> = HashMap::new();
        let mut created = HashMap::new();
        for source in evidence.sources.iter().filter(|source| source.service == "orders") {
            for event in &source.events {
                events.entry(&event.subject).or_default().push(event);
            }
            let made = source.commits.iter().filter_map(|commit| Some((commit.request.as_deref()?, &commit.subject)));
            created.extend(made);
        }
        Self {
            folded: evidence.folded.iter().map(|folded| (folded.name.as_ref(), folded)).collect(),
            events,
            created,
            reservations: evidence.reservations.iter().map(|kept| (kept.order.as_ref(), kept)).collect(),
        }
    }

    /// An order as its events make it.
    pub fn order(&self, name: &str) -> Option<&'e Order> {
        self.folded.get(name)?.order.as_ref()
    }

    /// The events of an order.
    pub fn events_of(&self, name: &str) -> &[&'e Event] {
        self.events.get(name).map_or(&[], Vec::as_slice)
    }
}
