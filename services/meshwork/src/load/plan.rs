//! What a load consists of: when each order is due, what it is for, and who is needed to place it.

use std::time::Duration;

use crate::cli::LoadArgs;
use crate::failure::Failure;

/// The least and the most orders a second.
const RATES: (f64, f64) = (0.1, 10_000.0);
/// The most orders of a run.
const MOST: u32 = 100_000_000;
/// How much of its time an account has for one order of its own: a gateway admits 10 calls a second of an account unless
/// it is told otherwise, and an order takes about five.
const TIME_OF_CUSTOMER: Duration = Duration::from_millis(500);
/// How much of its time somebody of the staff has for an order that is shipped and delivered.
const TIME_OF_STAFF: Duration = Duration::from_millis(400);
/// How often a customer may ask for the events of an order of theirs, at most.
const ASKS: Duration = Duration::from_millis(160);

/// The orders of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Orders a second.
    pub rate: f64,
    /// For how many seconds they are placed.
    pub seconds: u32,
    /// The time between two orders.
    interval: Duration,
    cancel: u8,
    ship: u8,
    short: u8,
    customers: Option<u16>,
}

/// What is done with an order once it is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing more.
    Keep,
    /// Its customer cancels it.
    Cancel,
    /// Staff ship and deliver it.
    Ship,
}

impl Plan {
    /// The plan that the flags make.
    ///
    /// # Errors
    /// When a value is out of its range, or they don't go together.
    pub fn of(args: &LoadArgs) -> Result<Self, Failure> {
        let (least, most) = RATES;
        if !(least..=most).contains(&args.rate) {
            let hint = format!("give {least} to {most} orders a second");
            return Err(Failure::new(format!("the value of --rate is {}", args.rate), hint));
        }
        if args.cancel.saturating_add(args.ship) > 100 {
            let sentence = format!("--cancel {} and --ship {} are more than all orders", args.cancel, args.ship);
            return Err(Failure::new(sentence, "no order is both cancelled and shipped: give at most 100 together"));
        }
        let plan = Self {
            rate: args.rate,
            seconds: args.seconds,
            interval: Duration::from_secs_f64(1.0 / args.rate),
            cancel: args.cancel,
            ship: args.ship,
            short: args.short,
            customers: args.customers,
        };
        if plan.orders() > MOST {
            let sentence = format!("--rate {} for --seconds {} are too many orders", args.rate, args.seconds);
            return Err(Failure::new(sentence, format!("place at most {MOST} orders in a run")));
        }
        Ok(plan)
    }

    /// How many orders there are.
    pub fn orders(&self) -> u32 {
        let interval = self.interval.as_nanos();
        let length = Duration::from_secs(self.seconds.into()).as_nanos();
        u32::try_from((length + interval / 2) / interval).unwrap_or(u32::MAX).max(1)
    }

    /// How many of them ask for the product that runs out.
    pub fn short_orders(&self) -> u32 {
        u32::try_from(u64::from(self.orders()) * u64::from(self.short) / 100).unwrap_or(u32::MAX)
    }

    /// When an order is due, counted from the start, whatever became of the others.
    pub fn due(&self, index: u32) -> Duration {
        self.interval.saturating_mul(index)
    }

    /// What is done with an order. Of a hundred in a row it is as many as the flags say.
    pub fn purpose(&self, index: u32) -> Purpose {
        let place = spread(index, 37, 0);
        if place < u64::from(self.cancel) {
            Purpose::Cancel
        } else if place < u64::from(self.cancel) + u64::from(self.ship) {
            Purpose::Ship
        } else {
            Purpose::Keep
        }
    }

    /// Whether an order asks for the product that runs out.
    pub fn is_short(&self, index: u32) -> bool {
        spread(index, 61, 17) < u64::from(self.short)
    }

    /// How many customers place the orders.
    pub fn customers(&self) -> usize {
        let needed = TIME_OF_CUSTOMER.as_nanos().div_ceil(self.interval.as_nanos());
        self.customers.map_or_else(|| usize::try_from(needed).unwrap_or(usize::MAX), usize::from).max(1)
    }

    /// How many of the staff ship and deliver.
    pub fn staff(&self) -> usize {
        let needed = (TIME_OF_STAFF.as_nanos() * u128::from(self.ship)).div_ceil(self.interval.as_nanos() * 100);
        usize::try_from(needed).unwrap_or(usize::MAX)
    }

    /// How long a customer waits from one look at an order's events to the next, of whichever order: so that looking
    /// takes nothing from placing.
    pub fn time_between_asks(&self) -> Duration {
        let customers = u32::try_from(self.customers()).unwrap_or(u32::MAX);
        ASKS.min(self.interval.saturating_mul(customers) / 3)
    }
}

/// A number below 100 that each of a hundred indexes in a row gives once, if `step` is coprime to 100.
fn spread(index: u32, step: u64, offset: u64) -> u64 {
    (u64::from(index) * step + offset) % 100
}

#[cfg(test)]
impl Plan {
    /// Without anything but orders, for tests.
    pub fn plain(rate: f64, seconds: u32) -> Self {
        let interval = Duration::from_secs_f64(1.0 / rate);
        Self { rate, seconds, interval, cancel: 0, ship: 0, short: 0, customers: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_due_by_its_number_alone() {
        let plan = Plan::plain(20.0, 3);
        assert_eq!(plan.orders(), 60);
        assert_eq!(plan.due(0), Duration::ZERO);
        assert_eq!(plan.due(59), Duration::from_millis(2950));
        for (rate, seconds, orders) in [(300.0, 20, 6000), (7.0, 10, 70), (0.1, 1, 1), (10_000.0, 3600, 36_000_000)] {
            assert_eq!(Plan::plain(rate, seconds).orders(), orders, "{rate}/s for {seconds} s");
        }
    }

    #[test]
    fn of_a_hundred_orders_as_many_are_cancelled_shipped_and_short_as_was_asked_for() {
        let plan = Plan { cancel: 7, ship: 20, short: 30, ..Plan::plain(50.0, 60) };
        for first in [0, 1, 4711] {
            let orders = first..first + 100;
            let count = |purpose| orders.clone().filter(|index| plan.purpose(*index) == purpose).count();
            assert_eq!((count(Purpose::Cancel), count(Purpose::Ship), count(Purpose::Keep)), (7, 20, 73));
            assert_eq!(orders.filter(|index| plan.is_short(*index)).count(), 30);
        }
        assert_eq!(plan.short_orders(), 900);
    }

    #[test]
    fn there_are_as_many_accounts_as_the_limit_of_each_needs() {
        let plan = Plan { ship: 20, ..Plan::plain(50.0, 60) };
        assert_eq!((plan.customers(), plan.staff()), (25, 4));
        assert_eq!(Plan::plain(300.0, 1).customers(), 151);
        assert_eq!((Plan::plain(0.5, 1).customers(), Plan::plain(0.5, 1).staff()), (1, 0));
        // Two orders and six looks a second are below the ten calls that are admitted.
        assert!(plan.time_between_asks() >= Duration::from_millis(155), "{:?}", plan.time_between_asks());
        let few = Plan { customers: Some(3), ..Plan::plain(300.0, 1) };
        assert_eq!(few.customers(), 3);
        assert!(few.time_between_asks() < Duration::from_millis(4), "so few have to look often");
    }
}
