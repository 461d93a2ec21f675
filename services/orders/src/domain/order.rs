//! The order: `decide` says what a command makes happen, `evolve` what the order is after it happened.

use meshwork_api::{OrderName, ProductName, UserName};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Money;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for the inventory's answer.
    Pending,
    /// The pieces are reserved.
    Confirmed,
    /// It can't be fulfilled.
    Rejected,
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
    /// Called off.
    Cancelled,
}

impl State {
    /// The state's word, as stores and messages carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Confirmed => "CONFIRMED",
            State::Rejected => "REJECTED",
            State::Shipped => "SHIPPED",
            State::Delivered => "DELIVERED",
            State::Cancelled => "CANCELLED",
        }
    }

    /// Whether nothing can happen to the order any more.
    pub const fn is_final(self) -> bool {
        matches!(self, State::Rejected | State::Delivered | State::Cancelled)
    }
}

/// One product of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The product.
    pub product: ProductName,
    /// How many pieces.
    pub quantity: i64,
    /// What the product was called when the order was placed.
    pub display_name: String,
    /// The price of one piece when the order was placed.
    pub unit_price: Money,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub name: OrderName,
    /// Who ordered.
    pub customer: UserName,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// The sum over the lines.
    pub total: Money,
    /// Where it stands.
    pub state: State,
    /// Why it was rejected or cancelled.
    pub state_reason: String,
    /// The carrier's number, once it is shipped.
    pub tracking_number: String,
    /// The number of the last time that the inventory was asked again; 0 when it never was.
    pub reservation_requests: u32,
    /// How many events it has.
    pub version: i64,
    /// When the inventory allocated its pieces.
    #[serde(with = "time::serde::rfc3339::option")]
    pub allocated_at: Option<OffsetDateTime>,
    /// When it was placed.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When its last event was recorded.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

impl Order {
    /// Whether it waits for the inventory: to reserve its pieces, or to allocate them once it is confirmed.
    pub const fn is_waiting(&self) -> bool {
        match self.state {
            State::Pending => true,
            State::Confirmed => self.allocated_at.is_none(),
            State::Rejected | State::Shipped | State::Delivered | State::Cancelled => false,
        }
    }

    /// The number that the next request to the inventory has, when it is asked `at_most` so many times in each state.
    ///
    /// Those of a confirmed order are numbered behind all that it may have made before: no number comes twice, and it has
    /// all its requests, however many it needed to be confirmed.
    pub fn next_request(&self, at_most: u32) -> u32 {
        let before = match self.state {
            State::Confirmed => self.reservation_requests.max(at_most),
            _ => self.reservation_requests,
        };
        before.saturating_add(1)
    }
}

/// What somebody wants to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Place it.
    Create {
        /// Who orders.
        customer: UserName,
        /// What, at the prices of this moment.
        lines: Vec<Line>,
    },
    /// The inventory has reserved its pieces.
    Confirm,
    /// The inventory can't reserve its pieces.
    Reject {
        /// Why.
        reason: String,
    },
    /// The inventory has allocated its pieces.
    RecordAllocation,
    /// The inventory has lost its pieces after the order was confirmed.
    FailAllocation {
        /// Why.
        reason: String,
    },
    /// The inventory hasn't answered; ask again, or give up after so many times.
    AskAgain {
        /// How often the inventory is asked again at most, in each state in which the order waits for it.
        at_most: u32,
    },
    /// Call it off.
    Cancel {
        /// Why.
        reason: String,
    },
    /// It was handed to a carrier.
    Ship {
        /// The carrier's number.
        tracking_number: String,
    },
    /// It has arrived.
    Deliver,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderEvent {
    /// A request that has placed another order has claimed the name for its id: there is no order of this name, and never will
    /// be one.
    RequestClaimed,
    /// It was placed.
    Created {
        /// Who ordered.
        customer: UserName,
        /// What.
        lines: Vec<Line>,
        /// The sum over the lines.
        total: Money,
    },
    /// The inventory has reserved its pieces.
    Confirmed,
    /// It can't be fulfilled.
    Rejected {
        /// Why.
        reason: String,
    },
    /// The inventory has allocated its pieces.
    Allocated,
    /// It was handed to a carrier.
    Shipped {
        /// The carrier's number.
        tracking_number: String,
    },
    /// It has arrived.
    Delivered,
    /// It was called off.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// The inventory was asked again.
    ReservationRequested {
        /// The request's number, as [`Order::next_request`] has it.
        attempt: u32,
        /// Whether the order was confirmed: the pieces are to be allocated, and not only reserved.
        confirmed: bool,
    },
}

/// Why a command can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such order.
    #[error("there is no such order")]
    Missing,
    /// There is an order with this id already.
    #[error("there is an order with this id already")]
    Exists,
    /// The order's state doesn't allow it.
    #[error("an order that is {} can't be {action}", state.as_str())]
    State {
        /// The state.
        state: State,
        /// What was to be done, as in "can't be shipped".
        action: &'static str,
    },
    /// The inventory hasn't allocated the pieces yet.
    #[error("the inventory has not allocated the order's pieces yet; try again in a moment")]
    NotAllocated,
    /// The lines' prices are in several currencies.
    #[error("must be priced in the order's one currency")]
    Currencies {
        /// The first line whose currency differs from the first's.
        line: usize,
    },
    /// The total is too large to count.
    #[error("the order's total is too large")]
    Total,
    /// The total is another than the caller has seen.
    #[error("the order's total has changed")]
    TotalChanged {
        /// What it is at the prices of this moment.
        total: Money,
    },
}

/// What a command makes happen to an order, `None` being one that doesn't exist. A command whose effect stands already
/// makes nothing happen.
///
/// # Errors
/// When the order can't be what the command wants.
pub fn decide(order: Option<&Order>, command: &Command) -> Result<Vec<OrderEvent>, OrderError> {
    if let Command::Create { customer, lines } = command {
        return match order {
            Some(_) => Err(OrderError::Exists),
            None => {
                Ok(vec![OrderEvent::Created { customer: customer.clone(), total: total(lines)?, lines: lines.clone() }])
            }
        };
    }
    let order = order.ok_or(OrderError::Missing)?;
    let refuse = |action| Err(OrderError::State { state: order.state, action });
    match (command, order.state) {
        (Command::Create { .. }, _) => Err(OrderError::Exists),

        // What the inventory says arrives late or twice; only an order that waits for it listens.
        (Command::Confirm, State::Pending) => Ok(vec![OrderEvent::Confirmed]),
        (Command::Reject { reason }, State::Pending) => Ok(vec![OrderEvent::Rejected { reason: reason.clone() }]),
        (Command::RecordAllocation, State::Confirmed) if order.allocated_at.is_none() => {
            Ok(vec![OrderEvent::Allocated])
        }
        // One whose pieces were allocated too: the inventory may have been put back to an older copy, without them.
        (Command::FailAllocation { reason }, State::Confirmed) => {
            Ok(vec![OrderEvent::Cancelled { reason: reason.clone() }])
        }
        (Command::AskAgain { at_most }, _) if order.is_waiting() => Ok(vec![ask_again(order, *at_most)]),
        (
            Command::Confirm
            | Command::Reject { .. }
            | Command::RecordAllocation
            | Command::FailAllocation { .. }
            | Command::AskAgain { .. },
            _,
        ) => Ok(Vec::new()),

        (Command::Cancel { reason }, State::Pending | State::Confirmed) => {
            Ok(vec![OrderEvent::Cancelled { reason: reason.clone() }])
        }
        (Command::Cancel { .. }, State::Cancelled) => Ok(Vec::new()),
        (Command::Cancel { .. }, _) => refuse("cancelled"),

        // Shipping before the pieces are allocated could send the same piece to two people.
        (Command::Ship { .. }, State::Confirmed) if order.allocated_at.is_none() => Err(OrderError::NotAllocated),
        (Command::Ship { tracking_number }, State::Confirmed) => {
            Ok(vec![OrderEvent::Shipped { tracking_number: tracking_number.clone() }])
        }
        (Command::Ship { tracking_number }, State::Shipped | State::Delivered)
            if *tracking_number == order.tracking_number =>
        {
            Ok(Vec::new())
        }
        (Command::Ship { .. }, _) => refuse("shipped"),

        (Command::Deliver, State::Shipped) => Ok(vec![OrderEvent::Delivered]),
        (Command::Deliver, State::Delivered) => Ok(Vec::new()),
        (Command::Deliver, _) => refuse("delivered"),
    }
}

/// The next request of an order that waits; its end when the inventory was asked often enough in this state.
fn ask_again(order: &Order, at_most: u32) -> OrderEvent {
    let attempt = order.next_request(at_most);
    match order.state {
        // The first half of the numbers is that of its requests before it was confirmed.
        State::Confirmed if attempt <= at_most.saturating_mul(2) => {
            OrderEvent::ReservationRequested { attempt, confirmed: true }
        }
        State::Confirmed => {
            let reason = "the inventory did not allocate the order's pieces in time".to_owned();
            OrderEvent::Cancelled { reason }
        }
        _ if attempt <= at_most => OrderEvent::ReservationRequested { attempt, confirmed: false },
        _ => OrderEvent::Rejected { reason: "the inventory did not answer in time".to_owned() },
    }
}

/// Whether the sum over the lines is the total that the caller has seen.
///
/// # Errors
/// When it is another, in amount or currency; else as a creation with these lines.
pub fn agree(lines: &[Line], expected: &Money) -> Result<(), OrderError> {
    let total = total(lines)?;
    if total == *expected { Ok(()) } else { Err(OrderError::TotalChanged { total }) }
}

/// The sum over the lines.
fn total(lines: &[Line]) -> Result<Money, OrderError> {
    let (first, rest) = lines.split_first().ok_or(OrderError::Total)?;
    if let Some(at) = rest.iter().position(|line| line.unit_price.currency != first.unit_price.currency) {
        return Err(OrderError::Currencies { line: at + 1 });
    }
    let amount = |line: &Line| line.unit_price.times(line.quantity).ok_or(OrderError::Total);
    rest.iter().try_fold(amount(first)?, |sum, line| sum.plus(&amount(line)?).ok_or(OrderError::Total))
}

/// The order after an event that was recorded at `at`.
///
/// Events of an order that doesn't exist, other than its creation, leave it so: but for the claim of its name, they can't be
/// in a sound history.
pub fn evolve(order: Option<Order>, name: &OrderName, event: &OrderEvent, at: OffsetDateTime) -> Option<Order> {
    if let OrderEvent::Created { customer, lines, total } = event {
        return Some(Order {
            name: name.clone(),
            customer: customer.clone(),
            lines: lines.clone(),
            total: total.clone(),
            state: State::Pending,
            state_reason: String::new(),
            tracking_number: String::new(),
            reservation_requests: 0,
            version: 1,
            allocated_at: None,
            created_at: at,
            updated_at: at,
        });
    }
    if *event == OrderEvent::RequestClaimed {
        return order;
    }
    let mut order = order?;
    order.version += 1;
    order.updated_at = at;
    match event {
        OrderEvent::Created { .. } | OrderEvent::RequestClaimed => {}
        OrderEvent::Confirmed => order.state = State::Confirmed,
        OrderEvent::Rejected { reason } => {
            order.state = State::Rejected;
            order.state_reason.clone_from(reason);
        }
        OrderEvent::Allocated => order.allocated_at = Some(at),
        OrderEvent::Shipped { tracking_number } => {
            order.state = State::Shipped;
            order.tracking_number.clone_from(tracking_number);
        }
        OrderEvent::Delivered => order.state = State::Delivered,
        OrderEvent::Cancelled { reason } => {
            order.state = State::Cancelled;
            order.state_reason.clone_from(reason);
        }
        OrderEvent::ReservationRequested { attempt, .. } => order.reservation_requests = *attempt,
    }
    Some(order)
}

/// The order that a history makes.
pub fn fold<'e>(
    name: &OrderName,
    history: impl IntoIterator<Item = (&'e OrderEvent, OffsetDateTime)>,
) -> Option<Order> {
    history.into_iter().fold(None, |order, (event, at)| evolve(order, name, event, at))
}
