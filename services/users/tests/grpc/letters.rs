//! What is parked in the service's database: events of its own that can't be published.

use meshwork_api::meshwork::admin::v1 as proto;
use meshwork_api::meshwork::admin::v1::dead_letter_service_client::DeadLetterServiceClient;
use meshwork_api::meshwork::users::v1::{UpdateUserRequest, User};
use meshwork_events::testing::{lane, read_all};
use meshwork_events::{Envelope, SqliteBus};
use meshwork_sql::Sqlite;
use meshwork_users::Config;
use tonic::Code;

use crate::world::{Caller, World, eventually, refused};

/// Changes the service's file, where `?` stands for the account; returns how many rows that were.
async fn sql(config: &Config, sql: &'static str, subject: &str) -> u64 {
    let db = Sqlite::open(&config.data.join("users.db"), &[]).await.unwrap();
    let subject = subject.to_owned();
    let changed = db.write_once::<_, meshwork_sql::Error, _>(move |connection| {
        Box::pin(async move { Ok(sqlx::query(sql).bind(subject).execute(connection).await?.rows_affected()) })
    });
    changed.await.unwrap()
}

/// What is published of an account.
async fn published(config: &Config, subject: &str) -> Vec<Envelope> {
    let bus = SqliteBus::open(&config.bus).await.unwrap();
    let mut events = Vec::new();
    for partition in 0..meshwork_events::outbox::PARTITIONS {
        events.extend(read_all(bus.as_ref(), &lane("users", partition)).await);
    }
    events.into_iter().filter(|event| event.subject == subject).collect()
}

async fn parked(world: &World, staff: &Caller) -> Vec<proto::DeadLetter> {
    let list = staff.asks(proto::ListDeadLettersRequest::default());
    let mut letters = DeadLetterServiceClient::new(world.channel.clone());
    letters.list_dead_letters(list).await.unwrap().into_inner().dead_letters
}

#[tokio::test]
async fn an_event_that_can_not_be_read_waits_by_itself_and_is_published_once_it_can() {
    let world = World::start().await;
    let (anna, ben, staff) = (world.customer().await, world.customer().await, world.staff().await);
    eventually("anna to be published", async || published(&world.config, &anna.name()).await.len() == 1).await;
    let config = world.config.clone();
    let folder = world.stop().await;
    // As a disk may have it: an event that nobody has published yet, whose bytes aren't any.
    let insert = "INSERT INTO outbox (partition, n, type, subject, version, time, data, context, schema_version) \
         SELECT o.partition, h.n + 1, 'user_updated', o.subject, 2, o.time, 1.5, o.context, o.schema_version \
         FROM outbox o JOIN outbox_head h ON h.partition = o.partition WHERE o.subject = ? AND o.version = 1";
    assert_eq!(sql(&config, insert, &anna.name()).await, 1);
    let head = "UPDATE outbox_head SET n = n + 1 WHERE partition = (SELECT partition FROM outbox WHERE subject = ? \
                AND version = 2)";
    assert_eq!(sql(&config, head, &anna.name()).await, 1);

    let world = World::start_in(folder).await;
    eventually("it to be parked", async || parked(&world, &staff).await.len() == 1).await;
    let letters = parked(&world, &staff).await;
    let letter = &letters[0];
    assert_eq!(
        (letter.service.as_str(), letter.consumer.as_str(), letter.stream.as_str()),
        ("users", "users", "users")
    );
    assert_eq!((letter.subject.clone(), letter.version), (anna.name(), 2));
    let new = User { name: ben.name(), display_name: "New".to_owned(), ..User::default() };
    let update = UpdateUserRequest { user: Some(new), ..UpdateUserRequest::default() };
    world.users.clone().update_user(ben.asks(update)).await.unwrap();
    eventually("others to go on", async || published(&world.config, &ben.name()).await.len() == 2).await;

    let redrive = proto::RedriveDeadLetterRequest { name: letter.name.clone() };
    let mut service = DeadLetterServiceClient::new(world.channel.clone());
    let redriven = service.redrive_dead_letter(staff.asks(redrive.clone())).await.unwrap().into_inner();
    assert_eq!((redriven.handled_events, redriven.left.map(|left| left.name)), (0, Some(letter.name.clone())));
    let mended = "UPDATE outbox SET data = x'' WHERE subject = ? AND version = 2";
    assert_eq!(sql(&world.config, mended, &anna.name()).await, 1);
    let redriven = service.redrive_dead_letter(staff.asks(redrive.clone())).await.unwrap().into_inner();
    assert_eq!((redriven.handled_events, redriven.left), (1, None));
    let versions = published(&world.config, &anna.name()).await.into_iter().map(|event| event.version);
    assert_eq!(versions.collect::<Vec<_>>(), [1, 2]);
    let again = service.redrive_dead_letter(staff.asks(redrive)).await;
    refused(again, Code::NotFound, "DEAD_LETTER_NOT_FOUND");
}
