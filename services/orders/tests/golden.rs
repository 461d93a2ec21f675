//! Stored events of every type and schema that was ever released (ES-5): what is kept must stay readable.
//!
//! `golden/<type>.v<schema>.hex` holds the bytes of one event. A sample is never changed, only added.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use meshwork_eventstore::testing::Corpus;
use meshwork_eventstore::{Append, Context, EventStore, Expected, NewEvent, SqliteEventStore};
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
        ("reservation_requested", 1, OrderEvent::ReservationRequested { attempt: 3, confirmed: false }),
        ("order_confirmed", 1, OrderEvent::Confirmed),
        ("order_allocated", 1, OrderEvent::Allocated),
        ("order_rejected", 1, OrderEvent::Rejected { reason: "too few pieces of products/cup".to_owned() }),
        ("order_shipped", 1, OrderEvent::Shipped { tracking_number: "TRACK-1".to_owned() }),
        ("order_delivered", 1, OrderEvent::Delivered),
        ("order_cancelled", 1, OrderEvent::Cancelled { reason: "changed my mind".to_owned() }),
        ("request_claimed", 1, OrderEvent::RequestClaimed),
    ]
}

fn corpus() -> Corpus {
    Corpus::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"))
}

#[test]
fn es_5_every_type_and_schema_has_a_sample_that_is_read_as_it_was_meant() {
    assert_eq!(corpus().read::<OrderEvent>(), expected());
}

#[tokio::test]
async fn es_5_stored_samples_are_read_by_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let events = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), 1).await.unwrap());
    let store = EventOrderStore::new(events.clone());
    for (at, (event_type, schema_version, event)) in expected().into_iter().enumerate() {
        let name = order_name(&format!("golden-{at}"));
        let data = corpus().sample(event_type, schema_version);
        let append = Append {
            stream: name.to_string(),
            expected: Expected::NoStream,
            command_id: "golden".to_owned(),
            command_hash: [0; 32],
            events: vec![NewEvent { event_type, schema_version, data }],
            result: Vec::new().into(),
            at: second(1),
            context: Context::default(),
        };
        events.append(append).await.unwrap();
        let history = store.history(&name, 0).await.unwrap();
        assert_eq!(
            history,
            [Recorded { version: 1, at: second(1), event, actor: None }],
            "{event_type} v{schema_version}"
        );
    }
}

/// An order of a sound history, as its snapshot and the read model keep it: who changes the shape of the order's JSON
/// names another schema of snapshots and of views.
#[tokio::test]
async fn es_4_the_shape_of_a_kept_order_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let events = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), 1).await.unwrap());
    let store = EventOrderStore::new(events.clone());
    let events = expected().into_iter().map(|(_, _, event)| event);
    let story: Vec<_> = events.filter(|event| *event != OrderEvent::RequestClaimed).collect();
    meshwork_orders::testing::append(&store, "kept", "a", &story, second(1)).await.unwrap();
    let order = store.load(&order_name("kept")).await.unwrap().unwrap();
    let kept: serde_json::Value = serde_json::from_str(include_str!("snapshot.json")).unwrap();
    assert_eq!(serde_json::to_value(&order).unwrap(), kept);
}
