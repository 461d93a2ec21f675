//! Why accounts change, as the outbox keeps it.

use meshwork_api::meshwork::users::v1::{UpdateUserRequest, User};
use meshwork_events::outbox::sqlite::Outbox;
use meshwork_events::{Context, StreamReader as _};
use meshwork_sql::Sqlite;

use crate::world::World;

const TRACE_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn an_event_tells_the_call_that_it_comes_from_on_whose_behalf_and_in_which_trace() {
    let world = World::start().await;
    let (anna, staff) = (world.customer().await, world.staff().await);
    let new = User { name: anna.name(), display_name: "New".to_owned(), ..User::default() };
    let mut request = staff.asks(UpdateUserRequest { user: Some(new), ..UpdateUserRequest::default() });
    request.metadata_mut().insert("traceparent", TRACE_PARENT.parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=value".parse().unwrap());
    world.users.clone().update_user(request).await.unwrap();

    let db = Sqlite::open(&world.config.data.join("users.db"), &[]).await.unwrap();
    let events = Outbox::new(db, "users").read_stream(&anna.name(), 0, 10).await.unwrap();
    let [registered, updated] = &events[..] else { panic!("{events:?}") };
    assert_eq!((registered.schema_version, updated.schema_version), (1, 1));
    // Who signs up is nobody yet.
    let expected = Context {
        causation_id: "meshwork.users.v1.UserService/CreateUser".to_owned(),
        correlation_id: registered.context.correlation_id.clone(),
        ..Context::default()
    };
    assert_eq!(registered.context, expected);
    let expected = Context {
        causation_id: "meshwork.users.v1.UserService/UpdateUser".to_owned(),
        correlation_id: updated.context.correlation_id.clone(),
        trace_parent: TRACE_PARENT.to_owned(),
        trace_state: "vendor=value".to_owned(),
        actor: staff.name(),
    };
    assert_eq!(updated.context, expected);
    let correlations = [registered, updated].map(|event| event.context.correlation_id.as_str());
    assert!(correlations[0] != correlations[1] && correlations.iter().all(|id| !id.is_empty()), "{correlations:?}");
}
