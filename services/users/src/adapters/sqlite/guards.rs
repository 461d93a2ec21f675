//! What the statements themselves refuse: to write upon what has changed since it was read. SQLite's one writer never gets
//! there, so that here one transaction reads for two.

use meshwork_api::UserName;
use meshwork_sql::Sqlite;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{COMPONENTS, SqliteStore, sessions, users};
use crate::domain::{Change, NewUser, PasswordHash, Role, TokenDigest, User};
use crate::ports::{
    Account, ChangeError, Creation, NewSession, NewToken, Renewal, SessionStore, StoreError, UserStore,
};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// A store with an account, and its folder.
async fn store_with_account() -> (TempDir, SqliteStore, Account) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::new(Sqlite::open(&folder.path().join("users.db"), COMPONENTS).await.unwrap());
    let new = NewUser {
        name: UserName::new("anna").unwrap(),
        email: "anna@example.com".parse().unwrap(),
        display_name: "Anna".parse().unwrap(),
        role: Role::Customer,
    };
    let anna = Account { user: User::register(new, NOW), password: PasswordHash::new("$hash") };
    assert_eq!(store.create(anna.clone(), None).await.unwrap(), Creation::Created);
    (folder, store, anna)
}

fn token(n: u8) -> NewToken {
    NewToken { digest: TokenDigest([n; 32]), expire_time: NOW + Duration::HOUR }
}

#[tokio::test]
async fn e5_a_change_of_a_version_that_is_past_is_not_written() {
    let (_folder, store, anna) = store_with_account().await;
    let renamed = |name: &str| {
        let change = Change { display_name: Some(name.parse().unwrap()), ..Change::default() };
        anna.user.change(change, None, NOW).unwrap().unwrap()
    };
    let (read, first, second) = (anna.user.version, renamed("First"), renamed("Second"));
    let (made, refused) = store
        .db
        .write_once::<_, StoreError, _>(move |connection| {
            Box::pin(async move {
                let made = users::update(connection, read, &first).await;
                Ok((made, users::update(connection, read, &second).await))
            })
        })
        .await
        .unwrap();
    assert!(made.is_ok(), "{made:?}");
    assert!(matches!(refused, Err(ChangeError::Conflict)), "{refused:?}");
    assert_eq!(store.get(&anna.user.name).await.unwrap(), Some(renamed("First").user));
}

#[tokio::test]
async fn e5_a_token_that_two_have_read_renews_once_and_then_ends_the_session() {
    let (_folder, store, anna) = store_with_account().await;
    let (user, verified) = (anna.user.name.clone(), anna.password.clone());
    assert!(store.open(NewSession { id: Uuid::nil(), user, verified, token: token(1) }).await.unwrap());
    let renewals = store
        .db
        .write_once::<_, StoreError, _>(move |connection| {
            Box::pin(async move {
                let digest = token(1).digest;
                let one = sessions::find(connection, digest).await?.unwrap();
                let other = sessions::find(connection, digest).await?.unwrap();
                let third = sessions::find(connection, digest).await?.unwrap();
                Ok([
                    sessions::renew(connection, one, token(2), NOW).await?,
                    sessions::renew(connection, other, token(3), NOW).await?,
                    sessions::renew(connection, third, token(4), NOW).await?,
                ])
            })
        })
        .await
        .unwrap();
    // The second one is that of a copy; for the third there is no session any more.
    assert_eq!(renewals, [Renewal::Renewed(anna.user.clone()), Renewal::Reused(anna.user), Renewal::Unknown]);
    for n in 1..=4 {
        assert_eq!(store.renew(token(n).digest, token(9), NOW).await.unwrap(), Renewal::Unknown, "{n}");
    }
}
