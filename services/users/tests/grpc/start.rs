//! What the service does when it starts, and what it keeps.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_api::meshwork::users::v1::{DeleteUserRequest, RefreshSessionRequest, Role, UpdateUserRequest, User};
use meshwork_chassis::{CancellationToken, Health};
use meshwork_events::inbox::sqlite as inbox;
use meshwork_events::{Consumer, Envelope, HandleError, Handler, SqliteBus};
use meshwork_sql::Sqlite;
use meshwork_users::{Config, migrate, serve};
use tokio::sync::Notify;

use crate::world::{World, config_in};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn the_first_start_makes_accounts_whose_credentials_are_their_owners_alone() {
    let world = World::start().await;
    let staff = world.staff().await;
    let accounts = world.everything(&staff).await;
    let expected = |name: &str, email: &str, role| (format!("users/{name}"), email.to_owned(), role);
    let mut found: Vec<_> = accounts.iter().map(|user| (user.name.clone(), user.email.clone(), user.role())).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        found,
        [
            expected("service-notifications", "notifications@services.meshwork.local", Role::Service),
            expected("service-orders", "orders@services.meshwork.local", Role::Service),
            expected("service-products", "products@services.meshwork.local", Role::Service),
            expected("staff", "staff@meshwork.local", Role::Staff),
        ]
    );
    for label in ["staff", "orders", "products", "notifications"] {
        assert_eq!(mode(&world.config.credentials.join(format!("{label}.json"))), 0o600, "{label}");
        world.first(label).await;
    }
    assert_eq!(mode(&world.config.credentials), 0o700);
    assert_eq!(mode(&world.config.data), 0o700);
    assert_eq!(mode(&world.config.data.join("signing-key.pem")), 0o600);
}

#[tokio::test]
async fn a_restart_keeps_accounts_keys_credentials_and_sessions() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let before = world.everything(&staff).await;
    let password = world.credentials("staff").password;
    let folder = world.stop().await;

    let world = World::start_in(folder).await;
    assert_eq!(world.credentials("staff").password, password);
    // The old token is good, so that the key is the old one.
    assert_eq!(world.everything(&staff).await, before);
    let refresh = RefreshSessionRequest { refresh_token: anna.session.refresh_token.clone() };
    world.auth.clone().refresh_session(refresh).await.unwrap();
}

#[tokio::test]
async fn first_accounts_are_made_once_whatever_became_of_them() {
    let world = World::start().await;
    let staff = world.staff().await;
    let delete = DeleteUserRequest { name: "users/service-orders".to_owned(), ..Default::default() };
    world.users.clone().delete_user(staff.asks(delete)).await.unwrap();
    let new = User { name: staff.name(), password: "a password of my own".to_owned(), ..User::default() };
    let current_password = world.credentials("staff").password.expose().to_owned();
    let update = UpdateUserRequest { user: Some(new), current_password, ..UpdateUserRequest::default() };
    world.users.clone().update_user(staff.asks(update)).await.unwrap();
    let before = world.everything(&staff).await;
    let world = World::start_in(world.stop().await).await;
    assert_eq!(world.everything(&staff).await, before);
    world.sign_in("staff@meshwork.local", "a password of my own").await.unwrap();
}

#[tokio::test]
async fn credentials_that_are_there_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let mounted = r#"{"email":"boss@example.com","password":"a mounted secret"}"#;
    std::fs::write(credentials.join("staff.json"), mounted).unwrap();
    let world = World::start_in(folder).await;
    let session = world.sign_in("boss@example.com", "a mounted secret").await.unwrap();
    assert_eq!(session.user, "users/staff");
    assert_eq!(std::fs::read_to_string(credentials.join("staff.json")).unwrap(), mounted);
}

/// The sentence with which a service refuses to start.
async fn refusal(config: Config) -> String {
    let served = tokio::time::timeout(Duration::from_secs(30), serve(config, Health::new(), CancellationToken::new()));
    let error = served.await.expect("it does not start").unwrap_err();
    format!("{error}; {}", error.hint)
}

#[tokio::test]
async fn a_start_that_cannot_go_well_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = Config { access_token_ttl: Duration::ZERO, ..config_in(folder.path()) };
    assert!(refusal(wrong).await.contains("access_token_ttl"));
    assert!(!folder.path().join("users").exists(), "a wrong setting touches nothing");

    let config = config_in(folder.path());
    std::fs::create_dir(&config.credentials).unwrap();
    for json in [r#"{"email":"boss@example.com","password":"hunter2"}"#, r#"{"email":"nonsense","password":"hunter2"}"#]
    {
        std::fs::write(config.credentials.join("staff.json"), json).unwrap();
        let refusal = refusal(config_in(folder.path())).await;
        assert!(refusal.contains("staff") && !refusal.contains("hunter2"), "{refusal}");
    }
    std::fs::remove_file(config.credentials.join("staff.json")).unwrap();

    std::fs::write(config.data.join("signing-key.pem"), "nonsense").unwrap();
    assert!(refusal(config).await.contains("signing-key.pem"));
    let taken = config_in(folder.path());
    let same = Config { listen: taken.listen.address().into(), ..config_in(folder.path()) };
    assert!(refusal(same).await.contains(&taken.listen.address().to_string()));
}

#[tokio::test]
async fn a_first_account_whose_address_another_has_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    std::fs::create_dir(&config.credentials).unwrap();
    for label in ["staff", "orders"] {
        let json = r#"{"email":"both@example.com","password":"a mounted secret"}"#;
        std::fs::write(config.credentials.join(format!("{label}.json")), json).unwrap();
    }
    let refusal = refusal(config).await;
    assert!(refusal.contains("both@example.com") && !refusal.contains("secret"), "{refusal}");
}

#[tokio::test]
async fn migrating_makes_the_tables_that_the_service_needs() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path());
    let applied = migrate(&config).await.unwrap();
    for component in ["users", "replay", "outbox", "inbox", "dead_letters"] {
        assert!(applied.iter().any(|migration| migration.component == component), "{component}: {applied:?}");
    }
    assert_eq!(migrate(&config).await.unwrap(), applied);
    World::start_in(folder).await;
}

/// Remembers the events that it gets.
#[derive(Default)]
struct Memory {
    events: Mutex<Vec<(String, String, i64)>>,
    more: Notify,
}

#[async_trait]
impl Handler for Memory {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        let seen = (event.event_type.clone(), event.subject.clone(), event.version);
        self.events.lock().unwrap().push(seen);
        self.more.notify_one();
        Ok(())
    }
}

#[tokio::test]
async fn what_happens_to_accounts_is_published() {
    let world = World::start().await;
    let anna = world.customer().await;
    let new = User { name: anna.name(), display_name: "New".to_owned(), ..User::default() };
    let update = UpdateUserRequest { user: Some(new), ..UpdateUserRequest::default() };
    world.users.clone().update_user(anna.asks(update)).await.unwrap();
    let delete = DeleteUserRequest { name: anna.name(), ..Default::default() };
    world.users.clone().delete_user(anna.asks(delete)).await.unwrap();

    let bus = SqliteBus::open(&world.folder().join("bus")).await.unwrap();
    let memory = Arc::new(Memory::default());
    let stop = CancellationToken::new();
    let db = Sqlite::open(&world.folder().join("memory.db"), &inbox::COMPONENTS).await.unwrap();
    let state = Arc::new(inbox::Inbox::new(db, "memory"));
    let consumer = Consumer::new(bus, "memory", "users", memory.clone(), state);
    let consuming = tokio::spawn({
        let stop = stop.clone();
        async move { consumer.run(stop).await }
    });
    let arrived = async {
        // Four first accounts, and three events of ours.
        while memory.events.lock().unwrap().len() < 7 {
            memory.more.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), arrived).await.unwrap();
    stop.cancel();
    consuming.await.unwrap();
    let events = memory.events.lock().unwrap().clone();
    let of_anna: Vec<_> = events.iter().filter(|(_, subject, _)| *subject == anna.name()).collect();
    let event = |kind: &str, version| (kind.to_owned(), anna.name(), version);
    let expected = [event("user_registered", 1), event("user_updated", 2), event("user_deleted", 3)];
    assert_eq!(of_anna, expected.iter().collect::<Vec<_>>());
    assert_eq!(events.len(), 7);
}
