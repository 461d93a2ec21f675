//! A file that the release before has made, and beside this one still writes to.

use meshwork_sql::{Component, Freshness, Sqlite};
use meshwork_users::ports::{ActiveSession, Creation, PresentedToken, Renewal};
use sqlx::migrate::Migrator;

use crate::people::{NOW, account, name, to_email, token, with_email};
use crate::rooms::{Room, execute_in};

static USERS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How the release before adds an account with the password hash that accounts of these tests have.
fn insert(id: &str) -> String {
    format!(
        "INSERT INTO users (id, email, email_key, display_name, role, password_hash, create_time, update_time, \
         delete_time, version) VALUES ('{id}', '{id}@example.com', '{id}@example.com', 'Person {id}', 'staff', '$hash', \
         1767323045678901, 1767323045678901, NULL, 1)"
    )
}

/// A room with the tables of the release before, and an account with a session in it.
async fn earlier() -> Room {
    let room = Room::file();
    let components = [Component { name: "users", migrator: &USERS }];
    drop(Sqlite::open(&room.path(), &components).await.unwrap());
    execute_in(&room.path(), &insert("anna")).await;
    let session = "INSERT INTO sessions (id, user_id, expire_time) VALUES ('s', 'anna', 1767326645678901); \
                   INSERT INTO refresh_tokens (digest, session_id, expire_time, used) \
                   VALUES (x'0101010101010101010101010101010101010101010101010101010101010101', 's', 1767326645678901, 0)";
    execute_in(&room.path(), session).await;
    room
}

#[tokio::test]
async fn accounts_and_sessions_of_the_release_before_go_on() {
    let room = earlier().await;
    let stores = room.open().await;
    let anna = stores.users.find_by_email(&"ANNA@example.com".parse().unwrap()).await.unwrap();
    assert_eq!(anna, Some(account("anna")));
    assert_eq!(stores.users.create(with_email("other", "anna@example.com"), None).await.unwrap(), Creation::EmailTaken);
    // Its tokens don't say whose they are.
    let presented = PresentedToken { user: None, digest: token(1).digest };
    let renewed = stores.sessions.renew(presented, token(2), NOW).await.unwrap();
    let active = ActiveSession { id: "s".to_owned(), user: account("anna").user };
    assert_eq!(renewed, Renewal::Renewed(active));
    // When it began wasn't kept.
    let listed = stores.sessions.list_sessions(&name("anna"), 10, None, NOW).await.unwrap().items;
    let [session] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((session.name.id(), session.create_time, session.refresh_time), ("s", None, Some(NOW)));
    stores.users.change(&name("anna"), to_email("new@example.com")).await.unwrap();
    let next = with_email("next", "anna@example.com");
    assert_eq!(stores.users.create(next.clone(), None).await.unwrap(), Creation::Created(next.user));
}

#[tokio::test]
async fn what_the_release_before_writes_beside_this_one_is_known() {
    let room = earlier().await;
    let stores = room.open().await;
    execute_in(&room.path(), &insert("bert")).await;
    assert_eq!(stores.users.create(with_email("other", "bert@example.com"), None).await.unwrap(), Creation::EmailTaken);
    let update = "UPDATE users SET email = 'Berta@example.com', email_key = 'berta@example.com', version = 2 \
                  WHERE id = 'bert'";
    execute_in(&room.path(), update).await;
    assert_eq!(stores.users.find_by_email(&"bert@example.com".parse().unwrap()).await.unwrap(), None);
    let found = stores.users.find_by_email(&"berta@example.com".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(found.user.name, name("bert"));
    // One that this release has made is changed by the other, and back.
    let cleo = account("cleo");
    assert_eq!(stores.users.create(cleo.clone(), None).await.unwrap(), Creation::Created(cleo.user));
    let update = "UPDATE users SET email = 'c@example.com', email_key = 'c@example.com', version = 2 WHERE id = 'cleo'";
    execute_in(&room.path(), update).await;
    stores.users.change(&name("cleo"), to_email("cleo@example.com")).await.unwrap();
    let free = with_email("free", "c@example.com");
    assert_eq!(stores.users.create(free.clone(), None).await.unwrap(), Creation::Created(free.user));
    let cleo = stores.users.get(&name("cleo"), Freshness::Latest).await.unwrap().unwrap();
    assert_eq!((cleo.email.as_str(), cleo.version), ("cleo@example.com", 3));
}

#[tokio::test]
async fn the_tables_of_the_release_before_keep_their_version() {
    let room = earlier().await;
    room.open().await;
    let count = execute_in(&room.path(), "UPDATE _migrations_users SET success = success WHERE version > 1").await;
    assert_eq!(count, 0);
}
