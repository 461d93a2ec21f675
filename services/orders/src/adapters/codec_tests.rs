use meshwork_eventstore::read_event;
use proptest::prelude::*;

use super::*;
use crate::domain::{Money, evolve};

fn order(created: &OrderEvent) -> Order {
    let name = "orders/7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d".parse().unwrap();
    evolve(None, &name, created, OffsetDateTime::UNIX_EPOCH).unwrap()
}

fn any_money() -> impl Strategy<Value = Money> {
    (prop_oneof![Just("EUR"), Just("JPY"), Just("KWD")], any::<i64>())
        .prop_map(|(currency, minor)| Money { currency: currency.to_owned(), minor })
}

fn any_line() -> impl Strategy<Value = Line> {
    ("[a-z0-9]{1,63}", any::<i64>(), any::<String>(), any_money()).prop_map(
        |(product, quantity, display_name, unit_price)| Line {
            product: format!("products/{product}").parse().unwrap(),
            quantity,
            display_name,
            unit_price,
        },
    )
}

fn any_created() -> impl Strategy<Value = OrderEvent> {
    ("[a-z0-9]{1,63}", prop::collection::vec(any_line(), 1..5), any_money()).prop_map(|(customer, lines, total)| {
        OrderEvent::Created { customer: format!("users/{customer}").parse().unwrap(), lines, total }
    })
}

fn any_event() -> impl Strategy<Value = OrderEvent> {
    prop_oneof![
        any_created(),
        Just(OrderEvent::Confirmed),
        any::<String>().prop_map(|reason| OrderEvent::Rejected { reason }),
        Just(OrderEvent::Allocated),
        any::<String>().prop_map(|tracking_number| OrderEvent::Shipped { tracking_number }),
        Just(OrderEvent::Delivered),
        any::<String>().prop_map(|reason| OrderEvent::Cancelled { reason }),
        (1..=i32::MAX.cast_unsigned(), any::<bool>())
            .prop_map(|(attempt, confirmed)| OrderEvent::ReservationRequested { attempt, confirmed }),
    ]
}

/// The event's type and bytes, as an event of an order that was created by `created`.
fn stored(created: &OrderEvent, event: &OrderEvent) -> (&'static str, Bytes) {
    let of = order(if matches!(event, OrderEvent::Created { .. }) { event } else { created });
    encode(&message(&of, event, OffsetDateTime::UNIX_EPOCH).unwrap())
}

proptest! {
    #[test]
    fn what_is_stored_is_read_back(created in any_created(), event in any_event()) {
        let (event_type, data) = stored(&created, &event);
        prop_assert_eq!(decode(event_type, &data), Ok(event));
    }

    #[test]
    fn truncated_bytes_are_an_error_that_names_the_type(created in any_created(), event in any_event()) {
        let (event_type, data) = stored(&created, &event);
        let error = decode(event_type, &data[..data.len() - 1]).unwrap_err();
        prop_assert!(error.contains(event_type), "{error}");
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(data in prop::collection::vec(any::<u8>(), 0..200), event in any_event()) {
        let (event_type, _) = stored(&event_that_creates(), &event);
        decode(event_type, &data).ok();
    }
}

fn event_that_creates() -> OrderEvent {
    let price = Money { currency: "EUR".to_owned(), minor: 420 };
    let line = Line {
        product: "products/tea".parse().unwrap(),
        quantity: 2,
        display_name: "Green tea".to_owned(),
        unit_price: price.clone(),
    };
    OrderEvent::Created { customer: "users/anna".parse().unwrap(), lines: vec![line], total: price.times(2).unwrap() }
}

#[test]
fn an_unknown_type_and_an_unknown_schema_are_errors_that_name_them() {
    let (_, data) = stored(&event_that_creates(), &OrderEvent::Confirmed);
    let error = decode("order_painted", &data).unwrap_err();
    assert_eq!(error, "order_painted is no event of orders that this release knows");
    let error = read_event::<OrderEvent>("order_confirmed", 2, &data).unwrap_err();
    assert_eq!(error, "order_confirmed has schema version 2; this release reads 1 to 1");
}

/// A creation with its message changed.
fn damaged(change: impl FnOnce(&mut proto::OrderCreated)) -> String {
    let created = event_that_creates();
    let message = message(&order(&created), &created, OffsetDateTime::UNIX_EPOCH);
    let Some(Message::OrderCreated(mut message)) = message else { panic!("a creation is encoded as something else") };
    change(&mut message);
    decode("order_created", &message.encode_to_vec()).unwrap_err()
}

#[test]
fn contents_that_make_no_sense_are_errors_that_say_why() {
    let problems = [
        (damaged(|event| event.customer = "anna".to_owned()), "customer"),
        (damaged(|event| event.total = None), "total"),
        (damaged(|event| event.lines[0].product = "tea".to_owned()), "product"),
        (damaged(|event| event.lines[0].unit_price = None), "price"),
        (damaged(|event| event.total.as_mut().unwrap().nanos = 1), "total"),
    ];
    for (problem, about) in problems {
        assert!(problem.contains("order_created") && problem.contains(about), "{problem}");
    }
    // As a release wrote it that didn't know of confirmed orders' requests.
    let asked = proto::ReservationRequested { attempt: 2, ..Default::default() };
    let read = decode("reservation_requested", &asked.encode_to_vec());
    assert_eq!(read, Ok(OrderEvent::ReservationRequested { attempt: 2, confirmed: false }));
    let asked = proto::ReservationRequested { attempt: -1, ..Default::default() };
    let problem = decode("reservation_requested", &asked.encode_to_vec()).unwrap_err();
    assert!(problem.contains("reservation_requested") && problem.contains("-1"), "{problem}");
}
