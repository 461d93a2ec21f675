//! What is parked in the databases of several shards is one service's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meshwork_api::DeadLetterName;
use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::dead_letter_service_server::DeadLetterService as _;
use meshwork_chassis::events::DeadLetterGrpc;
use meshwork_events::inbox::sqlite::{COMPONENTS as OF_INBOX, Inbox};
use meshwork_events::outbox::PARTITIONS;
use meshwork_events::outbox::sqlite::{COMPONENTS as OF_OUTBOX, Outbox};
use meshwork_events::{
    Bus as _, ConsumerState, Context, DeadLetter, Envelope, Lane, Position, ReadFrom, Relay, Scope, ShardedState,
    SqliteBus,
};
use meshwork_sql::Sqlite;
use tempfile::TempDir;
use time::OffsetDateTime;
use tonic::{Code, Request};

const DOMAIN: &str = "tests.meshwork.dev";
const STREAM: &str = "things";
const SHARDS: u16 = 2;

/// A service over two shards, each with a relay that parks in its database.
struct World {
    _folder: TempDir,
    states: Vec<Arc<dyn ConsumerState>>,
    bus: Arc<SqliteBus>,
    letters: DeadLetterGrpc,
}

impl World {
    async fn new() -> Self {
        Self::with(None).await
    }

    /// With a shard whose database has no tables.
    async fn with(broken: Option<u16>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lanes = HashMap::from([(STREAM.to_owned(), SHARDS * PARTITIONS)]);
        let bus = SqliteBus::open_with(&folder.path().join("bus"), &lanes).await.unwrap();
        let components = [OF_OUTBOX.as_slice(), OF_INBOX.as_slice()].concat();
        let (mut states, mut members, mut redrivers) = (Vec::new(), Vec::new(), Vec::new());
        for shard in 0..SHARDS {
            let tables = if broken == Some(shard) { Vec::new() } else { components.clone() };
            let db = Sqlite::open(&folder.path().join(format!("{shard}.db")), &tables).await.unwrap();
            let state: Arc<dyn ConsumerState> = Arc::new(Inbox::new(db.clone(), STREAM));
            let outbox = Outbox::numbered(db, STREAM, shard * PARTITIONS);
            let relay = Relay::new(Arc::new(outbox), bus.clone(), STREAM).parking(state.clone());
            redrivers.push((Some(STREAM), relay.redriver().unwrap()));
            members.push((shard * PARTITIONS..(shard + 1) * PARTITIONS, state.clone()));
            states.push(state);
        }
        let all = Arc::new(ShardedState::new(members));
        Self { _folder: folder, states, bus, letters: DeadLetterGrpc::new(all, redrivers, STREAM, DOMAIN) }
    }

    /// Parks an event in the shard of its partition.
    async fn park(&self, subject: &str, partition: u16) {
        let state = &self.states[usize::from(partition / PARTITIONS)];
        state.park(STREAM, &event(subject, partition), "planted").await.unwrap();
    }

    /// How many events are parked in each shard.
    async fn parked(&self) -> [i64; 2] {
        let mut parked = [0; 2];
        for (at, state) in self.states.iter().enumerate() {
            parked[at] = state.summary().await.unwrap().letters;
        }
        parked
    }

    /// The aggregates of which something was published late to the lane of a partition.
    async fn repaired(&self, partition: u16) -> Vec<String> {
        let lane = Lane { stream: STREAM.to_owned(), partition };
        let mut reader = self.bus.reader(&lane, ReadFrom::Start, Scope::Repaired).await.unwrap();
        let events = reader.next(10, Duration::from_millis(50)).await.unwrap();
        events.into_iter().map(|event| event.subject).collect()
    }
}

fn event(subject: &str, partition: u16) -> Envelope {
    Envelope {
        id: Envelope::id_of(subject, 1),
        source: STREAM.to_owned(),
        event_type: "thing_made".to_owned(),
        schema_version: 1,
        subject: subject.to_owned(),
        version: 1,
        position: Position { partition, n: 1, index: 0 },
        time: OffsetDateTime::UNIX_EPOCH,
        context: Context::default(),
        data: vec![7].into(),
    }
}

fn name_of(subject: &str) -> String {
    DeadLetterName::from_uuid(DeadLetter::id_of(STREAM, subject, 1)).to_string()
}

#[tokio::test]
async fn the_letters_of_all_shards_are_listed_and_each_is_redriven_by_its_own() {
    let world = World::new().await;
    world.park("things/one", 1).await;
    world.park("things/two", 6).await;
    let listed = world.letters.list_dead_letters(Request::new(pb::ListDeadLettersRequest::default())).await.unwrap();
    let mut subjects: Vec<_> = listed.into_inner().dead_letters.into_iter().map(|letter| letter.subject).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["things/one", "things/two"]);

    let redrive = pb::RedriveDeadLetterRequest { name: name_of("things/two") };
    let redriven = world.letters.redrive_dead_letter(Request::new(redrive)).await.unwrap().into_inner();
    assert_eq!((redriven.handled_events, redriven.left), (1, None));
    assert_eq!(world.parked().await, [1, 0]);
    assert_eq!(world.repaired(6).await, ["things/two"]);
    assert_eq!(world.repaired(2).await, Vec::<String>::new());
}

#[tokio::test]
async fn all_shards_are_redriven_at_once_though_one_can_not_be_asked() {
    let world = World::new().await;
    world.park("things/one", 1).await;
    world.park("things/two", 6).await;
    let all = || Request::new(pb::RedriveDeadLettersRequest {});
    let redriven = world.letters.redrive_dead_letters(all()).await.unwrap().into_inner();
    assert_eq!((redriven.handled_events, redriven.left_aggregates), (2, 0));
    assert_eq!(world.parked().await, [0, 0]);

    let world = World::with(Some(0)).await;
    world.park("things/two", 6).await;
    assert_eq!(world.letters.redrive_dead_letters(all()).await.unwrap_err().code(), Code::DataLoss);
    assert_eq!(world.states[1].summary().await.unwrap().letters, 0);
    assert_eq!(world.repaired(6).await, ["things/two"]);
}

#[tokio::test]
async fn a_letter_is_redriven_though_another_shard_can_not_be_asked() {
    let world = World::with(Some(0)).await;
    world.park("things/two", 6).await;
    let redrive = |name| Request::new(pb::RedriveDeadLetterRequest { name });
    let redriven = world.letters.redrive_dead_letter(redrive(name_of("things/two"))).await.unwrap().into_inner();
    assert_eq!((redriven.handled_events, redriven.left), (1, None));
    assert_eq!(world.states[1].summary().await.unwrap().letters, 0);
    // Whether there is another one isn't known.
    let unknown = world.letters.redrive_dead_letter(redrive(name_of("things/one"))).await.unwrap_err();
    assert_eq!(unknown.code(), Code::DataLoss, "{unknown}");
}

#[tokio::test]
async fn a_letter_of_any_shard_is_given_up_with_what_is_before_it() {
    let world = World::new().await;
    world.park("things/one", 1).await;
    world.park("things/two", 6).await;
    let discard = pb::DiscardDeadLetterRequest { name: name_of("things/two") };
    let discarded = world.letters.discard_dead_letter(Request::new(discard.clone())).await.unwrap().into_inner();
    assert_eq!((discarded.handled_events, discarded.left), (0, None));
    assert_eq!(world.parked().await, [1, 0]);
    let again = world.letters.discard_dead_letter(Request::new(discard)).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound, "{again}");
}
