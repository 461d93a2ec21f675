//! Events of orders and users, and the notifications that they call for.

use std::sync::Arc;

use async_trait::async_trait;
use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::events::v1 as pb;
use meshwork_api::public_reason;
use meshwork_chassis::money::currency_digits;
use meshwork_events::{Envelope, HandleError, Handler};
use prost::Message;

use crate::app::Notifications;
use crate::domain::{Amount, Notice, Occasion};
use crate::ports::{Arrival, Recorded, StoreError};

/// The name under which the bus knows this service.
pub const CONSUMER: &str = "notifications";
/// The streams that it consumes.
pub const STREAMS: [&str; 2] = ["orders", "users"];

/// Hands events to the use case.
pub struct EventHandler {
    app: Arc<Notifications>,
}

impl EventHandler {
    /// Hands them to `app`.
    pub fn new(app: Arc<Notifications>) -> Self {
        Self { app }
    }
}

#[async_trait]
impl Handler for EventHandler {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        let notice = notice(&event.event_type, &event.data)
            .map_err(|problem| HandleError::Poison(format!("{} can't be understood: {problem}", event.event_type)))?;
        let arrival = Arrival {
            event_id: event.id.clone(),
            subject: event.subject.clone(),
            version: event.version,
            time: event.time,
        };
        match self.app.note_event(arrival, notice).await {
            Ok(Recorded::Applied | Recorded::Duplicate) => Ok(()),
            Ok(Recorded::Hole { last }) => Err(HandleError::Hole { last }),
            Ok(Recorded::Parked) => Err(HandleError::Parked),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// What an outage has stopped is tried again; what would fail each time must not hold up what is behind it (NT-5).
fn failed(error: &StoreError) -> HandleError {
    match error {
        StoreError::Damaged(_) => HandleError::Poison(error.to_string()),
        StoreError::Unavailable(_)
        | StoreError::Conflict(_)
        | StoreError::OutcomeUnknown(_)
        | StoreError::UnknownCursor => HandleError::Retry(error.to_string()),
    }
}

/// What the event calls for. Types that it doesn't know call for nothing (NT-8).
fn notice(event_type: &str, data: &[u8]) -> Result<Notice, String> {
    let (recipient, occasion) = match event_type {
        "user_registered" => {
            let event: pb::UserRegistered = decode(data)?;
            if event.role != "customer" {
                return Ok(Notice::Nothing);
            }
            (event.user.clone(), Occasion::Welcome { user: name(&event.user)? })
        }
        "user_erased" => {
            let event: pb::UserErased = decode(data)?;
            return Ok(Notice::Erased { user: name(&event.user)? });
        }
        "order_confirmed" => {
            let event: pb::OrderConfirmed = decode(data)?;
            let total = event.total.as_ref().map(amount).transpose()?;
            return Ok(Notice::Confirmed { order: name(&event.order)?, customer: name(&event.customer)?, total });
        }
        "order_allocated" => {
            let event: pb::OrderAllocated = decode(data)?;
            return Ok(Notice::Allocated { order: name(&event.order)? });
        }
        "order_rejected" => {
            let event: pb::OrderRejected = decode(data)?;
            let reason = public_reason(&event.reason).into_owned();
            (event.customer, Occasion::OrderRejected { order: name(&event.order)?, reason })
        }
        "order_shipped" => {
            let event: pb::OrderShipped = decode(data)?;
            let (order, tracking_number) = (name(&event.order)?, event.tracking_number);
            (event.customer, Occasion::OrderShipped { order, tracking_number })
        }
        "order_delivered" => {
            let event: pb::OrderDelivered = decode(data)?;
            (event.customer, Occasion::OrderDelivered { order: name(&event.order)? })
        }
        "order_cancelled" => {
            let event: pb::OrderCancelled = decode(data)?;
            let reason = public_reason(&event.reason).into_owned();
            (event.customer, Occasion::OrderCancelled { order: name(&event.order)?, reason })
        }
        _ => return Ok(Notice::Nothing),
    };
    Ok(Notice::Letter { recipient: name(&recipient)?, occasion })
}

fn decode<M: Message + Default>(data: &[u8]) -> Result<M, String> {
    M::decode(data).map_err(|error| error.to_string())
}

fn name<N: std::str::FromStr<Err: std::fmt::Display>>(name: &str) -> Result<N, String> {
    name.parse().map_err(|error| format!("{name:?} {error}"))
}

fn amount(money: &Money) -> Result<Amount, String> {
    let currency = money.currency_code.clone();
    let digits = currency_digits(&currency).unwrap_or(2);
    let unit = 10_i64.pow(digits);
    let minor = money.units.checked_mul(unit);
    let minor = minor.and_then(|minor| minor.checked_add(i64::from(money.nanos) * unit / 1_000_000_000));
    Ok(Amount { minor: minor.ok_or("the total is too large")?, currency, digits })
}

#[cfg(test)]
mod tests {
    use meshwork_api::UserName;

    use super::*;

    fn called_for(event_type: &str, event: &impl Message) -> Notice {
        notice(event_type, &event.encode_to_vec()).unwrap()
    }

    #[test]
    fn customers_are_welcomed_and_others_are_not() {
        let event = |role: &str| pb::UserRegistered { user: "users/anna".to_owned(), role: role.to_owned() };
        let anna: UserName = "users/anna".parse().unwrap();
        let welcome = Notice::Letter { recipient: anna.clone(), occasion: Occasion::Welcome { user: anna } };
        assert_eq!(called_for("user_registered", &event("customer")), welcome);
        for role in ["staff", "service", "a role of later days"] {
            assert_eq!(called_for("user_registered", &event(role)), Notice::Nothing);
        }
    }

    #[test]
    fn d4_what_an_erased_account_was_told_is_to_go() {
        let event = pb::UserErased { user: "users/anna".to_owned() };
        assert_eq!(called_for("user_erased", &event), Notice::Erased { user: "users/anna".parse().unwrap() });
        assert!(notice("user_erased", b"\xff").is_err());
    }

    #[test]
    fn an_order_that_was_placed_and_unknown_types_call_for_nothing() {
        for event_type in ["order_created", "reservation_requested", "user_deleted", "order_gilded"] {
            assert_eq!(notice(event_type, b"\xff").unwrap(), Notice::Nothing);
        }
    }

    #[test]
    fn a_store_that_holds_something_unreadable_parks_the_event_and_an_outage_does_not() {
        let cause = || "why".to_owned();
        let poison = failed(&StoreError::Damaged(cause()));
        assert!(matches!(&poison, HandleError::Poison(problem) if problem.contains("why")), "{poison}");
        for error in
            [StoreError::Unavailable(cause()), StoreError::Conflict(cause()), StoreError::OutcomeUnknown(cause())]
        {
            let retry = failed(&error);
            assert!(matches!(retry, HandleError::Retry(_)), "{retry}");
        }
    }

    #[test]
    fn totals_keep_their_cents() {
        let total = |currency: &str, units, nanos| {
            let total = Some(Money { currency_code: currency.to_owned(), units, nanos });
            let (order, customer) = ("orders/a".to_owned(), "users/anna".to_owned());
            match called_for("order_confirmed", &pb::OrderConfirmed { order, customer, total }) {
                Notice::Confirmed { total: Some(total), .. } => total.to_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(total("EUR", 12, 340_000_000), "12.34 EUR");
        assert_eq!(total("JPY", 1200, 0), "1200 JPY");
    }

    #[test]
    fn what_can_not_be_understood_says_why() {
        for event_type in ["order_confirmed", "order_allocated"] {
            assert!(notice(event_type, b"\xff").is_err());
        }
        let event = pb::OrderDelivered { order: "orders/a".to_owned(), customer: "anna".to_owned() };
        let problem = notice("order_delivered", &event.encode_to_vec()).unwrap_err();
        assert!(problem.contains("\"anna\" must be a name like `users/{user}`"), "{problem}");
        let total = Some(Money { currency_code: "EUR".to_owned(), units: i64::MAX, nanos: 0 });
        let event = pb::OrderConfirmed { order: "orders/a".to_owned(), customer: "users/anna".to_owned(), total };
        assert!(notice("order_confirmed", &event.encode_to_vec()).is_err());
    }
}
