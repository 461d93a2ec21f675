//! The machine of reservations: every cell of its table, and what no sequence of events may do.
//!
//! That nothing ships before it is allocated is the order's to see to: it waits for `stock_allocated` (orders' tests). Here, a
//! shipment without an allocation moves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use meshwork_api::{OrderName, ProductName};
use meshwork_products::domain::{
    Decision, Input, Line, Lines, Movement, Outcome, Reservation, ReservationEvent, Shortage, State, Stock,
    StockChange, transition,
};
use meshwork_products::testing::{allocation_requested, created, lines, order, product, requested};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

const HOLD: Duration = meshwork_products::testing::HOLD;
const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::days(20_000));
const LATER: OffsetDateTime = START.saturating_add(HOLD);

fn reservation(state: State) -> Reservation {
    let told = state != State::Tombstone;
    Reservation {
        order: order("o1"),
        state,
        lines: if told { lines(&[("lamp", 2)]).as_slice().to_vec() } else { Vec::new() },
        expires_at: matches!(state, State::Held | State::Expired).then_some(LATER),
        created_at: START,
        updated_at: START,
        version: i64::from(told),
    }
}

/// A decision in short: `hold -> HELD stock_reserved | REJECTED stock_rejected`.
fn short(decision: &Decision) -> String {
    let outcome = |outcome: &Outcome| {
        let event = outcome.event.as_ref().map(|event| match event {
            ReservationEvent::StockReserved { .. } => " stock_reserved",
            ReservationEvent::StockRejected { .. } => " stock_rejected",
            ReservationEvent::StockAllocated => " stock_allocated",
            ReservationEvent::StockReleased { .. } => " stock_released",
            ReservationEvent::ReservationExpired => " reservation_expired",
            ReservationEvent::AllocationFailed { .. } => " allocation_failed",
        });
        format!("{}{}", outcome.state.as_str(), event.unwrap_or_default())
    };
    match decision {
        Decision::Ignore => "-".to_owned(),
        Decision::Repeat => "repeat".to_owned(),
        Decision::Alarm(_) => "alarm".to_owned(),
        Decision::Contradiction(_) => "contradiction".to_owned(),
        Decision::Settle(settled) => outcome(settled),
        Decision::Move { movement, moved, short, .. } => {
            let shortage = Shortage { product: product("lamp"), requested: 2, available: 1 };
            let short = short.outcome(vec![shortage]).map(|short| format!(" | {}", outcome(&short)));
            format!("{} -> {}{}", movement.as_str(), outcome(moved), short.unwrap_or_default())
        }
    }
}

/// A test for each cell of the table in events.md §4.1: what is heard in which state, and what is done about it.
macro_rules! cells {
    ($($test:ident: $input:expr, $state:expr => $expected:expr;)*) => {$(
        #[test]
        fn $test() {
            let state: Option<State> = $state;
            let decision = transition(state.map(reservation).as_ref(), &$input, LATER);
            assert_eq!(short(&decision), $expected);
        }
    )*};
}

const HOLD_OR_REJECT: &str = "hold -> HELD stock_reserved | REJECTED stock_rejected";

cells! {
    created_when_none: created(&[("lamp", 2)]), None => HOLD_OR_REJECT;
    created_when_held: created(&[("lamp", 2)]), Some(State::Held) => "-";
    created_when_allocated: created(&[("lamp", 2)]), Some(State::Allocated) => "-";
    created_when_shipped: created(&[("lamp", 2)]), Some(State::Shipped) => "-";
    created_when_expired: created(&[("lamp", 2)]), Some(State::Expired) => "-";
    created_when_released: created(&[("lamp", 2)]), Some(State::Released) => "-";
    created_when_rejected: created(&[("lamp", 2)]), Some(State::Rejected) => "-";
    created_when_tombstone: created(&[("lamp", 2)]), Some(State::Tombstone) => "-";
    requested_when_none: requested(&[("lamp", 2)]), None => HOLD_OR_REJECT;
    requested_when_held: requested(&[("lamp", 2)]), Some(State::Held) => "repeat";
    requested_when_allocated: requested(&[("lamp", 2)]), Some(State::Allocated) => "repeat";
    requested_when_shipped: requested(&[("lamp", 2)]), Some(State::Shipped) => "repeat";
    requested_when_expired: requested(&[("lamp", 2)]), Some(State::Expired) => "repeat";
    requested_when_released: requested(&[("lamp", 2)]), Some(State::Released) => "repeat";
    requested_when_rejected: requested(&[("lamp", 2)]), Some(State::Rejected) => "repeat";
    // A tombstone has told nothing yet, so there is nothing to tell again.
    requested_when_tombstone: requested(&[("lamp", 2)]), Some(State::Tombstone) => "-";
    // The document has the event wait for what is missing. Here the inbox has had that filled before: nothing is missing.
    confirmed_when_none: Input::OrderConfirmed, None => "contradiction";
    confirmed_when_held: Input::OrderConfirmed, Some(State::Held) => "allocate -> ALLOCATED stock_allocated";
    confirmed_when_allocated: Input::OrderConfirmed, Some(State::Allocated) => "-";
    confirmed_when_shipped: Input::OrderConfirmed, Some(State::Shipped) => "-";
    confirmed_when_expired: Input::OrderConfirmed, Some(State::Expired) => "reallocate -> ALLOCATED stock_allocated | EXPIRED allocation_failed";
    confirmed_when_released: Input::OrderConfirmed, Some(State::Released) => "RELEASED allocation_failed";
    confirmed_when_rejected: Input::OrderConfirmed, Some(State::Rejected) => "REJECTED allocation_failed";
    confirmed_when_tombstone: Input::OrderConfirmed, Some(State::Tombstone) => "TOMBSTONE allocation_failed";
    // The document has no such row: a confirmed order that asks again gets its pieces, or learns that it won't.
    allocation_requested_when_none: allocation_requested(&[("lamp", 2)]), None => "reallocate -> ALLOCATED stock_allocated | REJECTED allocation_failed";
    allocation_requested_when_held: allocation_requested(&[("lamp", 2)]), Some(State::Held) => "allocate -> ALLOCATED stock_allocated";
    allocation_requested_when_allocated: allocation_requested(&[("lamp", 2)]), Some(State::Allocated) => "repeat";
    allocation_requested_when_shipped: allocation_requested(&[("lamp", 2)]), Some(State::Shipped) => "repeat";
    allocation_requested_when_expired: allocation_requested(&[("lamp", 2)]), Some(State::Expired) => "reallocate -> ALLOCATED stock_allocated | EXPIRED allocation_failed";
    allocation_requested_when_released: allocation_requested(&[("lamp", 2)]), Some(State::Released) => "RELEASED allocation_failed";
    allocation_requested_when_rejected: allocation_requested(&[("lamp", 2)]), Some(State::Rejected) => "REJECTED allocation_failed";
    allocation_requested_when_tombstone: allocation_requested(&[("lamp", 2)]), Some(State::Tombstone) => "TOMBSTONE allocation_failed";
    cancelled_when_none: Input::OrderCancelled, None => "TOMBSTONE";
    cancelled_when_held: Input::OrderCancelled, Some(State::Held) => "release -> RELEASED stock_released";
    cancelled_when_allocated: Input::OrderCancelled, Some(State::Allocated) => "return -> RELEASED stock_released";
    // The document has no such cell: the order refuses to be cancelled then.
    cancelled_when_shipped: Input::OrderCancelled, Some(State::Shipped) => "alarm";
    cancelled_when_expired: Input::OrderCancelled, Some(State::Expired) => "-";
    cancelled_when_released: Input::OrderCancelled, Some(State::Released) => "-";
    cancelled_when_rejected: Input::OrderCancelled, Some(State::Rejected) => "-";
    cancelled_when_tombstone: Input::OrderCancelled, Some(State::Tombstone) => "-";
    // As above: no gap is left to be repaired.
    shipped_when_none: Input::OrderShipped, None => "contradiction";
    // An order ships once it has heard stock_allocated, so it was confirmed; that event is not missing either.
    shipped_when_held: Input::OrderShipped, Some(State::Held) => "contradiction";
    shipped_when_allocated: Input::OrderShipped, Some(State::Allocated) => "ship -> SHIPPED";
    shipped_when_shipped: Input::OrderShipped, Some(State::Shipped) => "-";
    shipped_when_expired: Input::OrderShipped, Some(State::Expired) => "alarm";
    shipped_when_released: Input::OrderShipped, Some(State::Released) => "alarm";
    shipped_when_rejected: Input::OrderShipped, Some(State::Rejected) => "alarm";
    shipped_when_tombstone: Input::OrderShipped, Some(State::Tombstone) => "alarm";
    expired_when_none: Input::Expired, None => "-";
    expired_when_held: Input::Expired, Some(State::Held) => "release -> EXPIRED reservation_expired";
    expired_when_allocated: Input::Expired, Some(State::Allocated) => "-";
    expired_when_shipped: Input::Expired, Some(State::Shipped) => "-";
    expired_when_expired: Input::Expired, Some(State::Expired) => "-";
    expired_when_released: Input::Expired, Some(State::Released) => "-";
    expired_when_rejected: Input::Expired, Some(State::Rejected) => "-";
    expired_when_tombstone: Input::Expired, Some(State::Tombstone) => "-";
}

#[test]
fn a_tombstone_that_has_told_something_tells_it_again() {
    let told = Reservation { version: 1, ..reservation(State::Tombstone) };
    assert_eq!(transition(Some(&told), &requested(&[("lamp", 2)]), LATER), Decision::Repeat);
}

#[test]
fn a_hold_begins_when_the_order_is_heard_of() {
    for input in [created(&[("lamp", 2)]), requested(&[("lamp", 2)])] {
        let Decision::Move { moved, .. } = transition(None, &input, START) else { panic!("nothing is held") };
        assert_eq!(moved.expires_at, Some(START + HOLD));
    }
}

#[test]
fn a_hold_ends_at_its_time_and_not_before() {
    let held = reservation(State::Held);
    let early = LATER - Duration::NANOSECOND;
    assert_eq!(transition(Some(&held), &Input::Expired, early), Decision::Ignore);
    assert_ne!(transition(Some(&held), &Input::Expired, LATER), Decision::Ignore);
    // Until it has expired, late as it may be, a confirmation gets the pieces.
    let confirmed = transition(Some(&held), &Input::OrderConfirmed, LATER + HOLD);
    assert_eq!(short(&confirmed), "allocate -> ALLOCATED stock_allocated");
}

#[test]
fn versions_count_events_and_times_count_states() {
    let now = LATER + HOLD;
    let failed = match transition(Some(&reservation(State::Released)), &Input::OrderConfirmed, now) {
        Decision::Settle(outcome) => outcome,
        other => panic!("{other:?}"),
    };
    let after = Reservation::after(Some(&reservation(State::Released)), &order("o1"), &[], &failed, now);
    assert_eq!((after.version, after.updated_at), (2, START));
    let Decision::Move { moved, .. } = transition(Some(&reservation(State::Allocated)), &Input::OrderShipped, now)
    else {
        panic!("nothing was shipped")
    };
    let after = Reservation::after(Some(&reservation(State::Allocated)), &order("o1"), &[], &moved, now);
    assert_eq!((after.state, after.version, after.updated_at), (State::Shipped, 1, now));
}

/// A world in memory that does what the machine decides.
#[derive(Default)]
struct World {
    stocks: BTreeMap<ProductName, Stock>,
    reservations: BTreeMap<OrderName, Reservation>,
    events: BTreeMap<OrderName, Vec<ReservationEvent>>,
}

impl World {
    fn with(products: usize, pieces: i64) -> Self {
        let mut world = Self::default();
        for at in 0..products {
            let name = product(&format!("p{at}"));
            let delta = StockChange::Receive { quantity: pieces }.delta();
            world.stocks.insert(name.clone(), Stock::new(name, START).changed(delta, START).unwrap());
        }
        world
    }

    fn hear(&mut self, order: &OrderName, input: &Input, now: OffsetDateTime) {
        let current = self.reservations.get(order).cloned();
        let (lines, outcome) = match transition(current.as_ref(), input, now) {
            Decision::Ignore | Decision::Alarm(_) | Decision::Contradiction(_) => return,
            Decision::Repeat => {
                let told = self.events.get_mut(order).unwrap();
                told.push(told.last().unwrap().clone());
                self.reservations.get_mut(order).unwrap().version += 1;
                return;
            }
            Decision::Settle(outcome) => (Vec::new(), outcome),
            Decision::Move { movement, lines, moved, short } => {
                let shortages = self.shift(movement, &lines, now);
                let outcome = if shortages.is_empty() { Some(moved) } else { short.outcome(shortages) };
                (lines, outcome.expect("kept pieces are there"))
            }
        };
        let after = Reservation::after(current.as_ref(), order, &lines, &outcome, now);
        self.reservations.insert(order.clone(), after);
        self.events.entry(order.clone()).or_default().extend(outcome.event);
    }

    fn shift(&mut self, movement: Movement, lines: &[Line], now: OffsetDateTime) -> Vec<Shortage> {
        let mut shifted = self.stocks.clone();
        let mut shortages = Vec::new();
        for line in lines {
            let stock = shifted.get_mut(&line.product).unwrap();
            match stock.changed(movement.delta(line.quantity), now) {
                Ok(after) => *stock = after,
                Err(_) => shortages.push(Shortage {
                    product: line.product.clone(),
                    requested: line.quantity,
                    available: stock.available,
                }),
            }
        }
        if shortages.is_empty() {
            self.stocks = shifted;
        }
        shortages
    }

    /// What a confirmed order hears after it has asked is whether it has its pieces.
    fn assert_answered(&self, order: &OrderName) -> Result<(), TestCaseError> {
        let has = matches!(self.reservations[order].state, State::Allocated | State::Shipped);
        let told = self.events[order].last();
        let answered = match told {
            Some(ReservationEvent::StockAllocated) => has,
            Some(ReservationEvent::AllocationFailed { .. }) => !has,
            _ => false,
        };
        prop_assert!(answered, "{has} {told:?}");
        Ok(())
    }

    fn assert_sound(&self, received: i64) -> Result<(), TestCaseError> {
        for stock in self.stocks.values() {
            prop_assert!(stock.is_sound() && stock.received == received, "I1: {stock:?}");
            let sum = |state| -> i64 {
                let lines =
                    self.reservations.values().filter(|found| found.state == state).flat_map(|found| &found.lines);
                lines.filter(|line| line.product == stock.product).map(|line| line.quantity).sum()
            };
            let kept = [stock.held, stock.allocated, stock.shipped];
            let sums = [sum(State::Held), sum(State::Allocated), sum(State::Shipped)];
            prop_assert_eq!(kept, sums, "I2 of {}", stock.product);
            prop_assert!(sums.iter().sum::<i64>() <= received, "I3 of {}", stock.product);
        }
        for (order, reservation) in &self.reservations {
            let told = self.events.get(order).map_or(0, Vec::len);
            prop_assert_eq!(reservation.version, i64::try_from(told).unwrap());
        }
        Ok(())
    }
}

fn inputs() -> impl Strategy<Value = (usize, u8, Vec<(usize, i64)>, i64, usize)> {
    let quantity = prop_oneof![9 => 1..6_i64, 1 => Just(i64::MAX)];
    let wanted = proptest::collection::vec((0..3_usize, quantity), 1..4);
    (0..6_usize, 0..10_u8, wanted, 0..200_i64, 1..4_usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_sequence_of_events_breaks_the_invariants(sequence in proptest::collection::vec(inputs(), 1..80)) {
        let mut world = World::with(3, 10);
        let mut now = START;
        for (which, kind, wanted, seconds, times) in sequence {
            now += Duration::seconds(seconds);
            let wanted = wanted.into_iter().map(|(at, quantity)| Line { product: product(&format!("p{at}")), quantity });
            // Lines that can't be counted are refused before they come here.
            let Ok(lines) = Lines::new(wanted) else { continue };
            let input = match kind {
                0..=2 => Input::OrderCreated { lines, hold: HOLD },
                3 => Input::ReservationRequested { lines, hold: HOLD },
                4 | 5 => Input::OrderConfirmed,
                6 => Input::OrderCancelled,
                7 => Input::OrderShipped,
                8 => Input::AllocationRequested { lines },
                _ => Input::Expired,
            };
            // Even without an inbox, what comes several times does no harm to the pieces.
            for _ in 0..times {
                world.hear(&order(&format!("o{which}")), &input, now);
                world.assert_sound(10)?;
            }
            if matches!(input, Input::AllocationRequested { .. }) {
                world.assert_answered(&order(&format!("o{which}")))?;
            }
        }
    }
}
