//! The machine of reservations: every cell of its table, and what no sequence of events may do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use meshwork_api::{OrderName, ProductName};
use meshwork_products::domain::{
    Decision, Input, Line, Lines, Movement, Outcome, Reservation, ReservationEvent, Shortage, State, Stock,
    StockChange, transition,
};
use meshwork_products::testing::{START, created, lines, order, product, requested};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

const HOLD: Duration = meshwork_products::testing::HOLD;
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

#[test]
fn every_cell_of_the_table() {
    const STATES: [Option<State>; 8] = [
        None,
        Some(State::Held),
        Some(State::Allocated),
        Some(State::Shipped),
        Some(State::Expired),
        Some(State::Released),
        Some(State::Rejected),
        Some(State::Tombstone),
    ];
    let hold = "hold -> HELD stock_reserved | REJECTED stock_rejected";
    let again = "reallocate -> ALLOCATED stock_allocated | EXPIRED allocation_failed";
    let fail = ["RELEASED allocation_failed", "REJECTED allocation_failed", "TOMBSTONE allocation_failed"];
    let table: [(Input, [&str; 8]); 6] = [
        (created(&[("lamp", 2)]), [hold, "-", "-", "-", "-", "-", "-", "-"]),
        // A tombstone has nothing to tell again.
        (requested(&[("lamp", 2)]), [hold, "repeat", "repeat", "repeat", "repeat", "repeat", "repeat", "-"]),
        (
            Input::OrderConfirmed,
            ["contradiction", "allocate -> ALLOCATED stock_allocated", "-", "-", again, fail[0], fail[1], fail[2]],
        ),
        (
            Input::OrderCancelled,
            [
                "TOMBSTONE",
                "release -> RELEASED stock_released",
                "return -> RELEASED stock_released",
                "alarm",
                "-",
                "-",
                "-",
                "-",
            ],
        ),
        (
            Input::OrderShipped,
            ["contradiction", "contradiction", "ship -> SHIPPED", "-", "alarm", "alarm", "alarm", "alarm"],
        ),
        (Input::Expired, ["-", "release -> EXPIRED reservation_expired", "-", "-", "-", "-", "-", "-"]),
    ];
    for (input, row) in table {
        for (state, expected) in STATES.into_iter().zip(row) {
            let current = state.map(reservation);
            let decision = transition(current.as_ref(), &input, LATER);
            assert_eq!(short(&decision), expected, "{state:?} hears {input:?}");
        }
    }
}

#[test]
fn a_tombstone_that_has_told_something_tells_it_again() {
    let told = Reservation { version: 1, ..reservation(State::Tombstone) };
    assert_eq!(transition(Some(&told), &requested(&[("lamp", 2)]), LATER), Decision::Repeat);
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
    (0..6_usize, 0..9_u8, wanted, 0..200_i64, 1..4_usize)
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
            let hold_until = now + HOLD;
            let input = match kind {
                0..=2 => Input::OrderCreated { lines, hold_until },
                3 => Input::ReservationRequested { lines, hold_until },
                4 | 5 => Input::OrderConfirmed,
                6 => Input::OrderCancelled,
                7 => Input::OrderShipped,
                _ => Input::Expired,
            };
            // Even without an inbox, what comes several times does no harm to the pieces.
            for _ in 0..times {
                world.hear(&order(&format!("o{which}")), &input, now);
                world.assert_sound(10)?;
            }
        }
    }
}
