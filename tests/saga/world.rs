//! The world of the search: orders with their reservations, and what they tell each other.

use std::collections::VecDeque;
use std::fmt::Write as _;

use meshwork_api::{OrderName, ProductName};
use meshwork_orders::domain::{self as orders, Command, Money, Order, OrderEvent, decide, evolve};
use meshwork_products::domain::{
    Decision, Input, Line, Lines, Movement, Reservation, ReservationEvent, Shortage, State, Stock, StockChange,
    transition,
};
use time::{Duration, OffsetDateTime};

/// The one moment of this world. Pieces are held for no time at all, so that they may expire at any step.
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
/// How often the inventory is asked again in each state, as the watchdog of the service does.
const ASK_AT_MOST: u32 = 3;

/// A bug that the search has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// The watchdog looks after orders that wait to be confirmed, and after no others.
    OnlyPendingIsWatched,
    /// Staff ship what is confirmed, without waiting for the pieces.
    ShipBeforeAllocation,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The inventory hears an order's next event.
    Hear(usize),
    /// An order's next event was parked by the inventory, and somebody discards it.
    Discard(usize),
    /// An order hears one of its answers.
    Answer(usize, usize),
    /// An answer is lost, or discarded.
    Lose(usize, usize),
    /// The watchdog looks at an order that waits.
    Watch(usize),
    /// The sweeper looks at a reservation.
    Expire(usize),
    /// An order is cancelled by its customer.
    Cancel(usize),
    /// An order is shipped by staff.
    Ship(usize),
    /// Another customer takes a piece.
    Take,
    /// Another customer gives a piece back.
    GiveBack,
}

impl Step {
    /// Whether it comes some time if nothing else does.
    pub(crate) fn must_come(self) -> bool {
        matches!(self, Step::Hear(_) | Step::Answer(..) | Step::Watch(_) | Step::Expire(_))
    }

    /// Whether something told is never heard.
    pub(crate) fn is_loss(self) -> bool {
        matches!(self, Step::Discard(_) | Step::Lose(..))
    }
}

/// An order of one piece, and its reservation.
#[derive(Clone)]
struct Side {
    order: Order,
    /// What the inventory hasn't heard yet, in its order: the inbox sees to that.
    events: VecDeque<OrderEvent>,
    reservation: Option<Reservation>,
    /// What the reservation has told last.
    told: Option<ReservationEvent>,
    /// What the order hasn't heard yet. It may come in any order.
    answers: Vec<ReservationEvent>,
    /// Whether the event with which the order has left the inventory's hands was discarded.
    uninformed: bool,
}

impl Side {
    fn new(number: usize) -> Self {
        let name = OrderName::new(format!("o{number}")).unwrap();
        let unit_price = Money { currency: "EUR".to_owned(), minor: 420 };
        let line = orders::Line { product: lamp(), quantity: 1, display_name: "Lamp".to_owned(), unit_price };
        let create = Command::Create { customer: "users/anna".parse().unwrap(), lines: vec![line] };
        let [created] = <[OrderEvent; 1]>::try_from(decide(None, &create).unwrap()).unwrap();
        let order = evolve(None, &name, &created, NOW).unwrap();
        let events = VecDeque::from([created]);
        Self { order, events, reservation: None, told: None, answers: Vec::new(), uninformed: false }
    }

    /// Whether the reservation is in this state.
    fn is(&self, state: State) -> bool {
        self.reservation.as_ref().is_some_and(|reservation| reservation.state == state)
    }

    /// Whether a command would make something happen.
    fn takes(&self, command: &Command) -> bool {
        decide(Some(&self.order), command).is_ok_and(|events| !events.is_empty())
    }

    /// Carries out a command; one that is refused makes nothing happen.
    fn carry_out(&mut self, command: &Command) {
        for event in decide(Some(&self.order), command).unwrap_or_default() {
            self.happens(event);
        }
    }

    fn happens(&mut self, event: OrderEvent) {
        self.order = evolve(Some(self.order.clone()), &self.order.name, &event, NOW).unwrap();
        if input(&event).is_some() {
            self.events.push_back(event);
        }
    }

    /// What a reservation tells, on its way to the order.
    fn tell(&mut self, event: ReservationEvent) {
        if command(&event).is_some() {
            self.answers.push(event.clone());
        }
        self.told = Some(event);
    }
}

/// Some orders of one piece each.
#[derive(Clone)]
pub(crate) struct World {
    stock: Stock,
    /// Pieces that other customers keep.
    others: i64,
    /// How often another customer takes one yet.
    takes: u32,
    sides: Vec<Side>,
    planted: Option<Planted>,
}

impl World {
    /// So many orders that were just placed, and so many pieces; other customers take one so many times.
    pub(crate) fn new(orders: usize, pieces: i64, takes: u32) -> Self {
        let mut stock = Stock::new(lamp(), NOW);
        if pieces > 0 {
            stock = stock.changed(StockChange::Receive { quantity: pieces }.delta(), NOW).unwrap();
        }
        Self { stock, others: 0, takes, sides: (0..orders).map(Side::new).collect(), planted: None }
    }

    /// With a bug.
    pub(crate) fn with(self, planted: Planted) -> Self {
        Self { planted: Some(planted), ..self }
    }

    /// What may happen next.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, side) in self.sides.iter().enumerate() {
            if !side.events.is_empty() {
                steps.extend([Step::Hear(at), Step::Discard(at)]);
            }
            for (which, answer) in side.answers.iter().enumerate() {
                // Of several that say the same, one.
                if !side.answers[..which].iter().any(|other| answer_word(other) == answer_word(answer)) {
                    steps.extend([Step::Answer(at, which), Step::Lose(at, which)]);
                }
            }
            let pending = side.order.state == orders::State::Pending;
            if side.order.is_waiting() && (pending || self.planted != Some(Planted::OnlyPendingIsWatched)) {
                steps.push(Step::Watch(at));
            }
            if side.is(State::Held) {
                steps.push(Step::Expire(at));
            }
            if side.takes(&cancel()) {
                steps.push(Step::Cancel(at));
            }
            if side.takes(&ship()) || self.ships_too_soon(side) {
                steps.push(Step::Ship(at));
            }
        }
        if self.takes > 0 && self.stock.available > 0 {
            steps.push(Step::Take);
        }
        if self.others > 0 {
            steps.push(Step::GiveBack);
        }
        steps
    }

    fn ships_too_soon(&self, side: &Side) -> bool {
        self.planted == Some(Planted::ShipBeforeAllocation) && side.order.state == orders::State::Confirmed
    }

    /// Does a step. An error tells what must never be.
    pub(crate) fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Hear(at) => {
                let event = self.sides[at].events.pop_front();
                if let Some(input) = event.as_ref().and_then(input) {
                    self.hear(at, &input)?;
                }
            }
            Step::Discard(at) => {
                let side = &mut self.sides[at];
                let event = side.events.pop_front();
                side.uninformed |= matches!(
                    event,
                    Some(OrderEvent::Rejected { .. } | OrderEvent::Cancelled { .. } | OrderEvent::Shipped { .. })
                );
            }
            Step::Answer(at, which) => {
                let side = &mut self.sides[at];
                if let Some(command) = command(&side.answers.remove(which)) {
                    side.carry_out(&command);
                }
            }
            Step::Lose(at, which) => drop(self.sides[at].answers.remove(which)),
            Step::Watch(at) => self.sides[at].carry_out(&Command::AskAgain { at_most: ASK_AT_MOST }),
            Step::Expire(at) => self.hear(at, &Input::Expired)?,
            Step::Cancel(at) => self.sides[at].carry_out(&cancel()),
            Step::Ship(at) if self.ships_too_soon(&self.sides[at]) => {
                self.sides[at].happens(OrderEvent::Shipped { tracking_number: String::new() });
            }
            Step::Ship(at) => self.sides[at].carry_out(&ship()),
            Step::Take => {
                self.stock = self.stock.changed(Movement::Hold.delta(1), NOW).unwrap();
                self.others += 1;
                self.takes -= 1;
            }
            Step::GiveBack => {
                self.stock = self.stock.changed(Movement::Release.delta(1), NOW).unwrap();
                self.others -= 1;
            }
        }
        self.check()
    }

    /// Does what the reservation's machine decides.
    fn hear(&mut self, at: usize, input: &Input) -> Result<(), String> {
        let side = &mut self.sides[at];
        let (lines, outcome) = match transition(side.reservation.as_ref(), input, NOW) {
            Decision::Ignore => return Ok(()),
            Decision::Alarm(why) | Decision::Contradiction(why) => return Err(why.to_owned()),
            Decision::Repeat => {
                let told = side.told.clone().ok_or("there is nothing to tell again")?;
                side.tell(told);
                return Ok(());
            }
            Decision::Settle(outcome) => (Vec::new(), outcome),
            Decision::Move { movement, lines, moved, short } => match self.stock.changed(movement.delta(1), NOW) {
                Ok(stock) => {
                    self.stock = stock;
                    (lines, moved)
                }
                Err(_) => {
                    let shortage = Shortage { product: lamp(), requested: 1, available: 0 };
                    (lines, short.outcome(vec![shortage]).ok_or("pieces that were kept are missing")?)
                }
            },
        };
        let after = Reservation::after(side.reservation.as_ref(), &side.order.name, &lines, &outcome, NOW);
        side.reservation = Some(after);
        if let Some(event) = outcome.event {
            side.tell(event);
        }
        Ok(())
    }

    /// What holds at each moment: I1, I2, I3, and that nothing is shipped but an order's own piece.
    fn check(&self) -> Result<(), String> {
        if !self.stock.is_sound() {
            return Err(format!("I1: {:?}", self.stock));
        }
        let count = |state| i64::try_from(self.sides.iter().filter(|side| side.is(state)).count()).unwrap();
        let sums = [count(State::Held) + self.others, count(State::Allocated), count(State::Shipped)];
        if [self.stock.held, self.stock.allocated, self.stock.shipped] != sums {
            return Err(format!("I2: {:?} of {sums:?}", self.stock));
        }
        for side in &self.sides {
            let has_its_piece = side.is(State::Allocated) || side.is(State::Shipped);
            if side.order.state == orders::State::Shipped && !has_its_piece {
                return Err(format!("{} was shipped without its piece", side.order.name));
            }
        }
        Ok(())
    }

    /// What holds when nothing more comes by itself: every order has ended or can be shipped (I5), and its reservation is as
    /// it says (I6), unless the inventory's people have discarded the event that tells of the end.
    pub(crate) fn check_at_rest(&self) -> Result<(), String> {
        for side in &self.sides {
            let (order, reservation) = (&side.order, side.reservation.as_ref().map(|reservation| reservation.state));
            if order.is_waiting() {
                return Err(format!("{} is {:?} and waits for ever", order.name, order.state));
            }
            let agrees = match order.state {
                orders::State::Pending => false,
                orders::State::Confirmed => reservation == Some(State::Allocated),
                orders::State::Shipped | orders::State::Delivered => reservation == Some(State::Shipped),
                orders::State::Rejected | orders::State::Cancelled => {
                    matches!(reservation, Some(State::Released | State::Expired | State::Rejected | State::Tombstone))
                }
            };
            if !agrees && !side.uninformed {
                return Err(format!("I6: {} is {:?}, and its reservation {reservation:?}", order.name, order.state));
            }
        }
        Ok(())
    }

    /// Where the orders and their reservations stand, in words.
    pub(crate) fn ends(&self) -> Vec<(&'static str, &'static str)> {
        let reservation =
            |side: &Side| side.reservation.as_ref().map_or("NONE", |reservation| reservation.state.as_str());
        self.sides.iter().map(|side| (side.order.state.as_str(), reservation(side))).collect()
    }

    /// What tells this state from others, as far as it matters for what may come.
    pub(crate) fn key(&self) -> String {
        let mut key = format!("{} {} {}", self.stock.available, self.others, self.takes);
        for Side { order, events, reservation, told, answers, uninformed } in &self.sides {
            let mut answers: Vec<_> = answers.iter().map(answer_word).collect();
            answers.sort_unstable();
            let events: Vec<_> = events.iter().map(event_word).collect();
            let state = reservation.as_ref().map(|reservation| reservation.state);
            let (requests, allocated) = (order.reservation_requests, order.allocated_at.is_some());
            write!(key, "/{:?} {requests} {allocated} {events:?} {state:?} ", order.state).unwrap();
            write!(key, "{:?} {answers:?} {uninformed}", told.as_ref().map(answer_word)).unwrap();
        }
        key
    }
}

fn lamp() -> ProductName {
    ProductName::new("lamp").unwrap()
}

fn cancel() -> Command {
    Command::Cancel { reason: String::new() }
}

fn ship() -> Command {
    Command::Ship { tracking_number: String::new() }
}

/// What an order's event is to the inventory.
fn input(event: &OrderEvent) -> Option<Input> {
    let lines = || Lines::new([Line { product: lamp(), quantity: 1 }]).unwrap();
    let hold = Duration::ZERO;
    match event {
        OrderEvent::Created { .. } => Some(Input::OrderCreated { lines: lines(), hold }),
        OrderEvent::ReservationRequested { confirmed: false, .. } => {
            Some(Input::ReservationRequested { lines: lines(), hold })
        }
        OrderEvent::ReservationRequested { confirmed: true, .. } => Some(Input::AllocationRequested { lines: lines() }),
        OrderEvent::Confirmed => Some(Input::OrderConfirmed),
        OrderEvent::Rejected { .. } | OrderEvent::Cancelled { .. } => Some(Input::OrderCancelled),
        OrderEvent::Shipped { .. } => Some(Input::OrderShipped),
        OrderEvent::Allocated | OrderEvent::Delivered | OrderEvent::RequestClaimed => None,
    }
}

/// What a reservation's event is to the order.
fn command(event: &ReservationEvent) -> Option<Command> {
    match event {
        ReservationEvent::StockReserved { .. } => Some(Command::Confirm),
        ReservationEvent::StockRejected { .. } | ReservationEvent::ReservationExpired => {
            Some(Command::Reject { reason: String::new() })
        }
        ReservationEvent::StockAllocated => Some(Command::RecordAllocation),
        ReservationEvent::AllocationFailed { .. } => Some(Command::FailAllocation { reason: String::new() }),
        ReservationEvent::StockReleased { .. } => None,
    }
}

fn event_word(event: &OrderEvent) -> &'static str {
    match event {
        OrderEvent::Created { .. } => "created",
        OrderEvent::ReservationRequested { confirmed: false, .. } => "reservation requested",
        OrderEvent::ReservationRequested { confirmed: true, .. } => "allocation requested",
        OrderEvent::Confirmed => "confirmed",
        OrderEvent::Rejected { .. } => "rejected",
        OrderEvent::Allocated => "allocated",
        OrderEvent::Shipped { .. } => "shipped",
        OrderEvent::Delivered => "delivered",
        OrderEvent::Cancelled { .. } => "cancelled",
        OrderEvent::RequestClaimed => "request claimed",
    }
}

fn answer_word(event: &ReservationEvent) -> &'static str {
    match event {
        ReservationEvent::StockReserved { .. } => "reserved",
        ReservationEvent::StockRejected { .. } => "rejected",
        ReservationEvent::StockAllocated => "allocated",
        ReservationEvent::StockReleased { .. } => "released",
        ReservationEvent::ReservationExpired => "expired",
        ReservationEvent::AllocationFailed { .. } => "failed",
    }
}
