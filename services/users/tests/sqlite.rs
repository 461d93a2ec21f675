//! The embedded store against the conformance suite, and the events that it writes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use meshwork_api::meshwork::events::v1::{UserDeleted, UserRegistered, UserUpdated};
use meshwork_chassis::request::RequestKey;
use meshwork_events::{Envelope, Source};
use meshwork_sql::Sqlite;
use meshwork_users::adapters::{COMPONENTS, SqliteStore};
use meshwork_users::domain::{Change, NewUser, PasswordHash, Role, TokenDigest, User, UserError};
use meshwork_users::ports::{Account, ChangeError, Creation, NewSession, NewToken, Renewal, SessionStore, UserStore};
use meshwork_users::testing::conformance;
use prost::Message;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05.678901 UTC);

async fn store(folder: &TempDir, name: &str) -> SqliteStore {
    SqliteStore::new(Sqlite::open(&folder.path().join(name), COMPONENTS).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance(async || Arc::new(store(&folder, &uuid::Uuid::new_v4().to_string()).await)).await;
}

fn account(id: &str) -> Account {
    let new = NewUser {
        name: meshwork_api::UserName::new(id).unwrap(),
        email: format!("{id}@example.com").parse().unwrap(),
        display_name: format!("Person {id}").parse().unwrap(),
        role: Role::Staff,
    };
    Account { user: User::register(new, NOW), password: PasswordHash::new("$hash") }
}

/// All events of the outbox, each aggregate's in order.
async fn events(store: &SqliteStore) -> Vec<Envelope> {
    let outbox = store.outbox();
    let mut events = Vec::new();
    for partition in outbox.partitions() {
        events.extend(outbox.read(partition, 1, 1000).await.unwrap().events);
    }
    events
}

#[tokio::test]
async fn each_change_writes_its_event_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, "users.db").await;
    let anna = account("anna");
    let request = RequestKey { principal: "a".into(), method: "CreateUser", id: "r".into(), hash: [1; 32] };
    for expected in [Creation::Created, Creation::Replayed(anna.clone())] {
        assert_eq!(store.create(anna.clone(), Some(request.clone())).await.unwrap(), expected);
    }
    assert_eq!(store.create(account("anna"), None).await.unwrap(), Creation::IdTaken);
    let name = anna.user.name;
    let change = Change {
        email: Some("new@example.com".parse().unwrap()),
        display_name: Some("New".parse().unwrap()),
        password: Some(PasswordHash::new("$new")),
    };
    let again = change.clone();
    store.change(&name, Box::new(move |user| user.change(change.clone(), None, NOW))).await.unwrap();
    store
        .change(&name, Box::new(move |user| user.change(Change { password: None, ..again.clone() }, None, NOW)))
        .await
        .unwrap();
    store.change(&name, Box::new(|user| user.delete(Some(7), NOW).map(Some))).await.unwrap_err();
    store.change(&name, Box::new(|user| user.delete(None, NOW).map(Some))).await.unwrap();

    let events = events(&store).await;
    let heads: Vec<_> = events.iter().map(|e| (e.id.as_str(), e.event_type.as_str(), e.version, e.time)).collect();
    assert_eq!(
        heads,
        [
            ("users/anna:1", "user_registered", 1, NOW),
            ("users/anna:2", "user_updated", 2, NOW),
            ("users/anna:3", "user_deleted", 3, NOW)
        ]
    );
    let user = || "users/anna".to_owned();
    let registered = UserRegistered::decode(&*events[0].data).unwrap();
    assert_eq!(registered, UserRegistered { user: user(), role: "staff".to_owned() });
    let updated = UserUpdated::decode(&*events[1].data).unwrap();
    assert_eq!(
        (updated.user, updated.changed.unwrap().paths.join(" ")),
        (user(), "email display_name password".into())
    );
    assert_eq!(UserDeleted::decode(&*events[2].data).unwrap(), UserDeleted { user: user() });
}

#[tokio::test]
async fn events_hold_nothing_of_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, "users.db").await;
    let mut anna = account("anna");
    anna.user.display_name = "Karenina".parse().unwrap();
    anna.user.email = "karenina@example.com".parse().unwrap();
    store.create(anna.clone(), None).await.unwrap();
    let change = Change { email: Some("karenina@example.org".parse().unwrap()), ..Change::default() };
    store.change(&anna.user.name, Box::new(move |user| user.change(change.clone(), None, NOW))).await.unwrap();
    let events = events(&store).await;
    assert_eq!(events.len(), 2);
    for event in events {
        assert!(!String::from_utf8_lossy(&event.data).to_lowercase().contains("karenina"), "{event:?}");
    }
}

#[tokio::test]
async fn a_damaged_row_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, "users.db").await;
    let (anna, bert) = (account("anna"), account("bert"));
    store.create(anna.clone(), None).await.unwrap();
    store.create(bert.clone(), None).await.unwrap();
    let db = Sqlite::open(&folder.path().join("users.db"), &[]).await.unwrap();
    db.write_once::<_, meshwork_sql::Error, _>(|connection| {
        Box::pin(async move {
            sqlx::query("UPDATE users SET email = 'nonsense' WHERE id = 'anna'").execute(connection).await?;
            Ok(())
        })
    })
    .await
    .unwrap();
    let error = store.get(&anna.user.name).await.unwrap_err().to_string();
    assert!(error.contains("anna") && error.contains("email"), "{error}");
    assert_eq!(store.get(&bert.user.name).await.unwrap(), Some(bert.user));
}

/// A database that two processes have open, each with a writer of its own.
async fn twins(folder: &TempDir) -> [SqliteStore; 2] {
    [store(folder, "users.db").await, store(folder, "users.db").await]
}

/// What comes of twenty renamings of anna at once by both.
async fn rename_at_once(both: &[SqliteStore; 2], expected: Option<i64>) -> Vec<Result<User, ChangeError>> {
    let race: Vec<_> = (0..20)
        .map(|at| {
            let store = both[at % 2].clone();
            let display_name = Some(format!("Anna {at}").parse().unwrap());
            let change = Change { display_name, ..Change::default() };
            tokio::spawn(async move {
                let name = account("anna").user.name;
                store.change(&name, Box::new(move |user| user.change(change.clone(), expected, NOW))).await
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for change in race {
        outcomes.push(change.await.unwrap());
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_of_changes_of_one_version_by_two_writers_one_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let both = twins(&folder).await;
    both[0].create(account("anna"), None).await.unwrap();
    let (made, refused): (Vec<_>, Vec<_>) =
        rename_at_once(&both, Some(1)).await.into_iter().partition(|outcome| outcome.is_ok());
    assert_eq!(made.len(), 1, "{made:?}");
    for refused in refused {
        let stale = UserError::VersionMismatch { name: account("anna").user.name, expected: 1, actual: 2 };
        assert!(matches!(&refused, Err(ChangeError::Refused(error)) if *error == stale), "{refused:?}");
    }
    assert_eq!(events(&both[1]).await.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_of_changes_of_any_version_by_two_writers_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let both = twins(&folder).await;
    both[0].create(account("anna"), None).await.unwrap();
    let mut versions: Vec<_> =
        rename_at_once(&both, None).await.into_iter().map(|outcome| outcome.unwrap().version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=21).collect::<Vec<_>>());
    let told: Vec<_> = events(&both[1]).await.iter().map(|event| event.version).collect();
    assert_eq!(told, (1..=21).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_of_renewals_with_one_token_by_two_writers_one_wins_and_the_session_ends() {
    let folder = tempfile::tempdir().unwrap();
    let both = twins(&folder).await;
    let anna = account("anna");
    both[0].create(anna.clone(), None).await.unwrap();
    let token = |n: u8| NewToken { digest: TokenDigest([n; 32]), expire_time: NOW + Duration::HOUR };
    let (user, verified) = (anna.user.name.clone(), anna.password.clone());
    let session = NewSession { id: uuid::Uuid::nil(), user, verified, token: token(1) };
    assert!(both[0].open(session).await.unwrap());
    let race: Vec<_> = (100..120)
        .map(|n: u8| {
            let (store, presented, next) = (both[usize::from(n % 2)].clone(), token(1).digest, token(n));
            tokio::spawn(async move { store.renew(presented, next, NOW).await.unwrap() })
        })
        .collect();
    let (mut won, mut ended) = (0, 0);
    for renewal in race {
        match renewal.await.unwrap() {
            Renewal::Renewed(_) => won += 1,
            Renewal::Reused(_) => ended += 1,
            renewal => assert_eq!(renewal, Renewal::Unknown),
        }
    }
    assert_eq!((won, ended), (1, 1));
    for n in 100..120 {
        assert_eq!(both[1].renew(token(n).digest, token(1), NOW).await.unwrap(), Renewal::Unknown, "{n}");
    }
}
