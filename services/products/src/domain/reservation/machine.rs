//! The machine: states, what is heard, and what is done about it.

use time::{Duration, OffsetDateTime};

use super::{Reservation, ReservationEvent, Shortage, State};
use crate::domain::{Line, Lines, Movement};

/// What a reservation hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The order was placed.
    OrderCreated {
        /// What was ordered.
        lines: Lines,
        /// How long the pieces would be held.
        hold: Duration,
    },
    /// The order hasn't heard from us in time and asks again.
    ReservationRequested {
        /// What was ordered.
        lines: Lines,
        /// How long the pieces would be held.
        hold: Duration,
    },
    /// The order knows that its pieces are held, and wants them.
    OrderConfirmed,
    /// The order was confirmed, hasn't heard in time that it has its pieces, and asks for them again.
    AllocationRequested {
        /// What was ordered.
        lines: Lines,
    },
    /// The order was cancelled or rejected.
    OrderCancelled,
    /// The order's pieces have left.
    OrderShipped,
    /// The time to hold pieces may be over.
    Expired,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Ignore,
    /// Tell the last event again, as a new one.
    Repeat,
    /// Nothing, but people must know: pieces have gone where we can't follow them.
    Alarm(&'static str),
    /// Nothing, and nothing later of this order either: what must have come before never came.
    Contradiction(&'static str),
    /// No pieces move; this follows.
    Settle(Outcome),
    /// Move the pieces of all lines or, if any is short, of none.
    Move {
        /// From where to where.
        movement: Movement,
        /// The pieces.
        lines: Vec<Line>,
        /// What follows when they have moved.
        moved: Outcome,
        /// What follows when there were too few.
        short: OnShortage,
    },
}

/// What a reservation has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its state.
    pub state: State,
    /// Until when its pieces are or were held.
    pub expires_at: Option<OffsetDateTime>,
    /// What it tells the world.
    pub event: Option<ReservationEvent>,
}

impl Outcome {
    fn new(state: State, event: ReservationEvent) -> Self {
        Self { state, expires_at: None, event: Some(event) }
    }

    fn silent(state: State) -> Self {
        Self { state, expires_at: None, event: None }
    }
}

/// What follows when there were too few pieces to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnShortage {
    /// The reservation is rejected.
    Reject,
    /// The reservation stays expired, and the order learns that its allocation has failed.
    FailAllocation {
        /// When the reservation expired.
        expires_at: Option<OffsetDateTime>,
    },
    /// The reservation is rejected, and the order, which is confirmed, learns that its allocation has failed.
    RejectConfirmed,
    /// It can't be: the pieces were kept. The stock is damaged.
    Damage,
}

impl OnShortage {
    /// What follows from these shortages; `None` for damage.
    pub fn outcome(self, shortages: Vec<Shortage>) -> Option<Outcome> {
        match self {
            OnShortage::Reject => Some(Outcome::new(State::Rejected, ReservationEvent::StockRejected { shortages })),
            OnShortage::FailAllocation { expires_at } => {
                let reason = format!("the reservation had expired, and there were {}", too_few(&shortages));
                let event = ReservationEvent::AllocationFailed { reason };
                Some(Outcome { expires_at, ..Outcome::new(State::Expired, event) })
            }
            OnShortage::RejectConfirmed => {
                let event = ReservationEvent::AllocationFailed { reason: too_few(&shortages) };
                Some(Outcome::new(State::Rejected, event))
            }
            OnShortage::Damage => None,
        }
    }
}

/// The shortages in words. Customers read them with their order: how many are left is not for them.
fn too_few(shortages: &[Shortage]) -> String {
    let missing: Vec<_> = shortages.iter().map(|short| short.product.to_string()).collect();
    format!("too few pieces of {}", missing.join(", "))
}

/// Decides what an order's reservation does; `current` is `None` when it has none, and `now` is the time by the clock that
/// its times were set by.
///
/// | heard | none | held | allocated | shipped | expired | released, tombstone, rejected |
/// |---|---|---|---|---|---|---|
/// | created | hold or reject | – | – | – | – | – |
/// | requested | as created | repeat | repeat | repeat | repeat | repeat |
/// | confirmed | contradiction | allocate | – | – | allocate again or fail | fail |
/// | requested by a confirmed order | allocate or reject | allocate | repeat | repeat | allocate again or fail | fail |
/// | cancelled | tombstone | release | release | alarm | – | – |
/// | shipped | contradiction | contradiction | ship | – | alarm | alarm |
/// | expired | – | expire, if it is time | – | – | – | – |
///
/// It hears of every event of an order, in their order: what is missing is fetched before. So a contradiction is no gap that
/// waiting would fill, but an order that can't be. A tombstone that has told nothing has nothing to repeat.
///
/// What a confirmed order asks for needs nothing of what came before: an event of the order may have been discarded. So it
/// gets its pieces or learns that it won't, whatever the state, and however often it asks.
pub fn transition(current: Option<&Reservation>, input: &Input, now: OffsetDateTime) -> Decision {
    match input {
        Input::OrderCreated { lines, hold } => match current {
            None => keep(lines, now.saturating_add(*hold)),
            Some(_) => Decision::Ignore,
        },
        Input::ReservationRequested { lines, hold } => match current {
            None => keep(lines, now.saturating_add(*hold)),
            // A tombstone has told nothing yet.
            Some(reservation) if reservation.version == 0 => Decision::Ignore,
            Some(_) => Decision::Repeat,
        },
        Input::OrderConfirmed => confirm(current),
        Input::AllocationRequested { lines } => request_allocation(current, lines),
        Input::OrderCancelled => cancel(current),
        Input::OrderShipped => ship(current),
        Input::Expired => match current {
            Some(reservation) if reservation.state == State::Held => expire(reservation, now),
            _ => Decision::Ignore,
        },
    }
}

fn keep(lines: &Lines, until: OffsetDateTime) -> Decision {
    let lines = lines.as_slice().to_vec();
    let event = ReservationEvent::StockReserved { lines: lines.clone(), expires_at: until };
    let moved = Outcome { expires_at: Some(until), ..Outcome::new(State::Held, event) };
    Decision::Move { movement: Movement::Hold, lines, moved, short: OnShortage::Reject }
}

fn confirm(current: Option<&Reservation>) -> Decision {
    let Some(reservation) = current else {
        return Decision::Contradiction("the order was confirmed, but it was never placed");
    };
    let allocate = |movement, short| {
        let moved = Outcome::new(State::Allocated, ReservationEvent::StockAllocated);
        Decision::Move { movement, lines: reservation.lines.clone(), moved, short }
    };
    let fail = |reason: &str| {
        let event = ReservationEvent::AllocationFailed { reason: reason.to_owned() };
        Decision::Settle(Outcome::new(reservation.state, event))
    };
    match reservation.state {
        State::Held => allocate(Movement::Allocate, OnShortage::Damage),
        State::Allocated | State::Shipped => Decision::Ignore,
        State::Expired => {
            allocate(Movement::Reallocate, OnShortage::FailAllocation { expires_at: reservation.expires_at })
        }
        State::Released => fail("the reservation was released"),
        State::Tombstone => fail("the order was cancelled before its reservation was made"),
        State::Rejected => fail("the reservation was rejected for want of pieces"),
    }
}

fn request_allocation(current: Option<&Reservation>, lines: &Lines) -> Decision {
    match current.map(|reservation| reservation.state) {
        None => {
            let moved = Outcome::new(State::Allocated, ReservationEvent::StockAllocated);
            let lines = lines.as_slice().to_vec();
            Decision::Move { movement: Movement::Reallocate, lines, moved, short: OnShortage::RejectConfirmed }
        }
        // The last that they have told is that they are allocated: a shipment isn't announced.
        Some(State::Allocated | State::Shipped) => Decision::Repeat,
        Some(State::Held | State::Expired | State::Released | State::Rejected | State::Tombstone) => confirm(current),
    }
}

fn cancel(current: Option<&Reservation>) -> Decision {
    let Some(reservation) = current else { return Decision::Settle(Outcome::silent(State::Tombstone)) };
    let release = |movement| {
        let lines = reservation.lines.clone();
        let moved = Outcome::new(State::Released, ReservationEvent::StockReleased { lines: lines.clone() });
        Decision::Move { movement, lines, moved, short: OnShortage::Damage }
    };
    match reservation.state {
        State::Held => release(Movement::Release),
        State::Allocated => release(Movement::Return),
        State::Shipped => Decision::Alarm("an order was cancelled whose pieces have left"),
        State::Expired | State::Released | State::Rejected | State::Tombstone => Decision::Ignore,
    }
}

fn ship(current: Option<&Reservation>) -> Decision {
    match current.map(|reservation| (reservation, reservation.state)) {
        None => Decision::Contradiction("the order was shipped, but it was never placed"),
        Some((_, State::Held)) => Decision::Contradiction("the order was shipped, but it was never confirmed"),
        Some((reservation, State::Allocated)) => Decision::Move {
            movement: Movement::Ship,
            lines: reservation.lines.clone(),
            moved: Outcome::silent(State::Shipped),
            short: OnShortage::Damage,
        },
        Some((_, State::Shipped)) => Decision::Ignore,
        Some((_, State::Expired | State::Released | State::Rejected | State::Tombstone)) => {
            Decision::Alarm("an order was shipped that no pieces were allocated to")
        }
    }
}

fn expire(reservation: &Reservation, now: OffsetDateTime) -> Decision {
    if reservation.expires_at.is_none_or(|expires_at| expires_at > now) {
        return Decision::Ignore;
    }
    let outcome = Outcome::new(State::Expired, ReservationEvent::ReservationExpired);
    Decision::Move {
        movement: Movement::Release,
        lines: reservation.lines.clone(),
        moved: Outcome { expires_at: reservation.expires_at, ..outcome },
        short: OnShortage::Damage,
    }
}
