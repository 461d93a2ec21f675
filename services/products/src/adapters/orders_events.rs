//! What happens to orders, as the bus brings it.

use async_trait::async_trait;
use meshwork_api::meshwork::events::v1 as pb;
use meshwork_api::{OrderName, ProductName};
use meshwork_events::{Envelope, HandleError, Handler};
use prost::Message;

use crate::app::App;
use crate::app::commands::{OrderMessage, What};
use crate::domain::{Line, Lines};
use crate::ports::{Applied, StoreError};

/// As whom the bus knows us.
pub const CONSUMER: &str = "inventory";
/// The stream that we listen to.
pub const STREAM: &str = "orders";

/// Hands the events of orders to the use case.
pub struct OrderEvents(App);

impl OrderEvents {
    /// A handler over these use cases.
    pub fn new(app: App) -> Self {
        Self(app)
    }
}

#[async_trait]
impl Handler for OrderEvents {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        let message = decode(event).map_err(HandleError::Poison)?;
        let applied = self.0.handle_order_event(message).await;
        match applied.map_err(failed)? {
            Applied::Now | Applied::Alarm(_) | Applied::Before => Ok(()),
            Applied::Hole { last } => Err(HandleError::Hole { last }),
            Applied::Parked => Err(HandleError::Parked),
            // No event is missing, so waiting would not help.
            Applied::Contradiction(why) => Err(HandleError::Poison(why.to_owned())),
        }
    }
}

/// What an outage has stopped is tried again; what would fail each time must not hold up the other orders (NT-5).
fn failed(error: StoreError) -> HandleError {
    match error {
        StoreError::Unavailable(_) | StoreError::Conflict(_) | StoreError::OutcomeUnknown(_) => {
            HandleError::Retry(error.to_string())
        }
        StoreError::Damaged(_) | StoreError::Refused(_) | StoreError::RequestReused | StoreError::BadCursor => {
            HandleError::Poison(error.to_string())
        }
    }
}

/// Reads an event. Types that don't concern reservations, and those that we don't know, are [`What::Other`] (NT-8).
fn decode(event: &Envelope) -> Result<OrderMessage, String> {
    let subject: OrderName =
        event.subject.parse().map_err(|error| format!("the subject {:?} {error}", event.subject))?;
    let (order, what) = match event.event_type.as_str() {
        "order_created" => {
            let created: pb::OrderCreated = message(event)?;
            (created.order, What::Created(lines(&created.lines)?))
        }
        "reservation_requested" => {
            let requested: pb::ReservationRequested = message(event)?;
            let lines = lines(&requested.lines)?;
            let what =
                if requested.confirmed { What::AllocationRequested(lines) } else { What::ReservationRequested(lines) };
            (requested.order, what)
        }
        "order_confirmed" => (message::<pb::OrderConfirmed>(event)?.order, What::Confirmed),
        "order_cancelled" => (message::<pb::OrderCancelled>(event)?.order, What::Cancelled),
        "order_rejected" => (message::<pb::OrderRejected>(event)?.order, What::Cancelled),
        "order_shipped" => (message::<pb::OrderShipped>(event)?.order, What::Shipped),
        _ => (event.subject.clone(), What::Other),
    };
    if order != event.subject {
        return Err(format!("the event is of {}, but speaks of {order:?}", event.subject));
    }
    Ok(OrderMessage { order: subject, version: event.version, what })
}

fn message<M: Message + Default>(event: &Envelope) -> Result<M, String> {
    M::decode(event.data.clone()).map_err(|error| format!("the {} can't be decoded: {error}", event.event_type))
}

fn lines(lines: &[pb::OrderLine]) -> Result<Lines, String> {
    let line = |line: &pb::OrderLine| {
        let product: ProductName =
            line.product.parse().map_err(|error| format!("the product {:?} {error}", line.product))?;
        Ok::<_, String>(Line { product, quantity: line.quantity })
    };
    Lines::new(lines.iter().map(line).collect::<Result<Vec<_>, _>>()?).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use meshwork_events::{Context, Position};
    use time::OffsetDateTime;

    use super::*;

    fn envelope(event_type: &str, data: &impl Message) -> Envelope {
        Envelope {
            id: "orders/o1:1".to_owned(),
            source: "orders".to_owned(),
            event_type: event_type.to_owned(),
            schema_version: 1,
            subject: "orders/o1".to_owned(),
            version: 1,
            position: Position { partition: 0, n: 1, index: 0 },
            time: OffsetDateTime::UNIX_EPOCH,
            context: Context::default(),
            data: data.encode_to_vec().into(),
        }
    }

    fn created(order: &str, product: &str, quantity: i64) -> pb::OrderCreated {
        let line = pb::OrderLine { product: product.to_owned(), quantity, ..pb::OrderLine::default() };
        pb::OrderCreated { order: order.to_owned(), lines: vec![line], ..pb::OrderCreated::default() }
    }

    #[test]
    fn a_sound_event_is_read() {
        let message = decode(&envelope("order_created", &created("orders/o1", "products/lamp", 2))).unwrap();
        assert_eq!((message.order.id(), message.version), ("o1", 1));
        let What::Created(lines) = message.what else { panic!("{:?}", message.what) };
        assert_eq!(lines.as_slice().len(), 1);
        assert_eq!(lines.as_slice()[0].quantity, 2);
    }

    #[test]
    fn a_request_is_told_from_that_of_a_confirmed_order() {
        let lines = created("orders/o1", "products/lamp", 2).lines;
        let requested = |confirmed| {
            let order = "orders/o1".to_owned();
            let request = pb::ReservationRequested { order, attempt: 1, lines: lines.clone(), confirmed };
            decode(&envelope("reservation_requested", &request)).unwrap().what
        };
        assert!(matches!(requested(false), What::ReservationRequested(lines) if lines.as_slice().len() == 1));
        assert!(matches!(requested(true), What::AllocationRequested(lines) if lines.as_slice().len() == 1));
    }

    #[test]
    fn an_event_that_can_not_be_is_refused() {
        for (data, problem) in [
            (created("orders/o2", "products/lamp", 2), "speaks of \"orders/o2\""),
            (created("orders/o1", "lamp", 2), "the product \"lamp\" must be a name"),
            (created("orders/o1", "products/lamp", 0), "0 pieces of products/lamp can't be ordered"),
            (pb::OrderCreated { order: "orders/o1".to_owned(), ..Default::default() }, "at least one line"),
        ] {
            let refused = decode(&envelope("order_created", &data)).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
        let mut garbled = envelope("order_confirmed", &created("orders/o1", "products/lamp", 1));
        garbled.data = vec![0xff; 3].into();
        assert!(decode(&garbled).unwrap_err().starts_with("the order_confirmed can't be decoded"));
        let mut misnamed = garbled.clone();
        misnamed.subject = "reservations/o1".to_owned();
        assert!(decode(&misnamed).unwrap_err().starts_with("the subject \"reservations/o1\" must be"));
    }

    #[test]
    fn damage_parks_the_order_and_an_outage_does_not() {
        let why = || "why".to_owned();
        assert!(matches!(failed(StoreError::Damaged(why())), HandleError::Poison(_)));
        assert!(matches!(failed(StoreError::Unavailable(why())), HandleError::Retry(_)));
        assert!(matches!(failed(StoreError::Conflict(why())), HandleError::Retry(_)));
        assert!(matches!(failed(StoreError::OutcomeUnknown(why())), HandleError::Retry(_)));
    }

    #[test]
    fn unknown_types_pass_whatever_their_data() {
        let mut unknown = envelope("order_gift_wrapped", &created("", "", 0));
        unknown.data = vec![0xff; 3].into();
        assert!(matches!(decode(&unknown).unwrap().what, What::Other));
    }
}
