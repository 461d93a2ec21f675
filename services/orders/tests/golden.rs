//! Stored events of every type and schema that was ever released (ES-5): what is kept must stay readable.
//!
//! `golden/<type>.v<schema>.hex` holds the bytes of one event. A sample is never changed, only added.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use meshwork_eventstore::{Append, EventStore, Expected, NewEvent, SqliteEventStore};
use meshwork_orders::adapters::event_store::EventOrderStore;
use meshwork_orders::domain::{Line, Money, OrderEvent};
use meshwork_orders::ports::{OrderStore, Recorded};
use meshwork_orders::testing::{order_name, second};

/// The events that the samples hold, by type and schema.
fn expected() -> Vec<(&'static str, u16, OrderEvent)> {
    let money = |currency: &str, minor| Money { currency: currency.to_owned(), minor };
    let line = |product: &str, quantity, display_name: &str, minor| Line {
        product: product.parse().unwrap(),
        quantity,
        display_name: display_name.to_owned(),
        unit_price: money("EUR", minor),
    };
    let lines = vec![line("products/tea", 2, "Grüner Tee", 420), line("products/cup", 1_000_000, "Cup", 1200)];
    let created =
        OrderEvent::Created { customer: "users/anna".parse().unwrap(), lines, total: money("EUR", 1_200_000_840) };
    vec![
        ("order_created", 1, created),
        ("reservation_requested", 1, OrderEvent::ReservationRequested { attempt: 3 }),
        ("order_confirmed", 1, OrderEvent::Confirmed),
        ("order_allocated", 1, OrderEvent::Allocated),
        ("order_rejected", 1, OrderEvent::Rejected { reason: "too few pieces of products/cup".to_owned() }),
        ("order_shipped", 1, OrderEvent::Shipped { tracking_number: "TRACK-1".to_owned() }),
        ("order_delivered", 1, OrderEvent::Delivered),
        ("order_cancelled", 1, OrderEvent::Cancelled { reason: "changed my mind".to_owned() }),
    ]
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn file(event_type: &str, schema_version: u16) -> String {
    format!("{event_type}.v{schema_version}.hex")
}

/// The bytes of a sample; spaces and line breaks between the digits are for people.
fn sample(event_type: &str, schema_version: u16) -> Vec<u8> {
    let path = folder().join(file(event_type, schema_version));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[tokio::test]
async fn every_stored_event_is_read_as_it_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let events = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), 1).await.unwrap());
    let store = EventOrderStore::new(events.clone());
    for (at, (event_type, schema_version, event)) in expected().into_iter().enumerate() {
        let name = order_name(&format!("golden-{at}"));
        let stored = NewEvent { event_type, schema_version, data: sample(event_type, schema_version).into() };
        let append = Append {
            stream: name.to_string(),
            expected: Expected::NoStream,
            command_id: "golden".to_owned(),
            command_hash: [0; 32],
            events: vec![stored],
            result: Vec::new().into(),
            at: second(1),
        };
        events.append(append).await.unwrap();
        let history = store.history(&name, 0).await.unwrap();
        assert_eq!(history, [Recorded { version: 1, at: second(1), event }], "{event_type} v{schema_version}");
    }
}

#[test]
fn no_sample_is_left_out() {
    let files: BTreeSet<_> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let named: BTreeSet<_> = expected().iter().map(|(name, schema, _)| file(name, *schema)).collect();
    assert_eq!(files, named);
}
