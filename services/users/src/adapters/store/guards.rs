//! What the statements themselves refuse: to write upon what has changed since it was read. SQLite's one writer never gets
//! there, so that here one transaction reads for two.

use meshwork_api::UserName;
use meshwork_sql::Freshness;
use meshwork_sql::shards::Place;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::super::outcome::{Claim, ClaimEnd, Claiming, Creating, NewAccount, Taking};
use super::super::undo::Undo;
use super::store::Store;
use super::{change, sessions};
use crate::domain::{Change, NewUser, PasswordHash, Repeat, Role, TokenDigest, TokenSalt, User};
use crate::ports::{Account, ActiveSession, Creation, NewSession, NewToken, Renewal, Successor};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const HERE: Place = Place::WHOLE;

fn account(id: &str) -> Account {
    let new = NewUser {
        name: UserName::new(id).unwrap(),
        email: format!("{id}@example.com").parse().unwrap(),
        display_name: "Anna".parse().unwrap(),
        role: Role::Customer,
    };
    Account { user: User::register(new, NOW), password: PasswordHash::new("$hash") }
}

fn new_account(id: &str) -> NewAccount {
    let account = account(id);
    NewAccount { claim: Claim::new(account.user.email.key()), account, request: None }
}

/// A store with an account, and its folder.
async fn store_with_account() -> (TempDir, Store, Account) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let anna = new_account("anna");
    let created = store.create(&[HERE], anna.clone(), Claiming::Here).await.unwrap();
    assert_eq!(created, Creating::Answer(Creation::Created(anna.account.user.clone())));
    (folder, store, anna.account)
}

fn token(n: u8) -> NewToken {
    NewToken { digest: TokenDigest([n; 32]), expire_time: NOW + Duration::HOUR, repeat: None }
}

#[tokio::test]
async fn e5_a_change_of_a_version_that_is_past_is_not_written() {
    let (_folder, store, anna) = store_with_account().await;
    let renamed = |name: &str| {
        let change = Change { display_name: Some(name.parse().unwrap()), ..Change::default() };
        anna.user.change(change, None, NOW).unwrap().unwrap()
    };
    let input = (anna.user.version, renamed("First"), renamed("Second"));
    let written = store.db.write(input, |connection, (read, first, second)| {
        Box::pin(async move {
            let key = first.user.email.key();
            let made = change::update(connection, *read, first, (&key, "")).await?;
            Ok::<_, Undo>([made, change::update(connection, *read, second, (&key, "")).await?])
        })
    });
    assert_eq!(written.await.unwrap(), [true, false]);
    let stored = store.get(HERE, anna.user.name.clone(), Freshness::Latest).await.unwrap();
    assert_eq!(stored, Some(renamed("First").user));
}

#[tokio::test]
async fn e5_a_token_that_two_have_read_renews_once_and_then_ends_the_session() {
    let (_folder, store, anna) = store_with_account().await;
    let (user, verified) = (anna.user.name.clone(), anna.password.clone());
    let session = NewSession { id: Uuid::nil(), create_time: NOW, user, verified, token: token(1) };
    assert!(store.open_session(HERE, session).await.unwrap());
    let renewals = store.db.write((), |connection, ()| {
        Box::pin(async move {
            let digest = token(1).digest;
            let one = sessions::find(connection, digest).await?.unwrap();
            let other = sessions::find(connection, digest).await?.unwrap();
            let third = sessions::find(connection, digest).await?.unwrap();
            Ok::<_, Undo>([
                sessions::renew(connection, one, token(2), NOW).await?,
                sessions::renew(connection, other, token(3), NOW).await?,
                sessions::renew(connection, third, token(4), NOW).await?,
            ])
        })
    });
    // The second one is that of a copy; for the third there is no session any more.
    assert_eq!(
        renewals.await.unwrap(),
        [Renewal::Renewed(active(&anna)), Renewal::Reused(anna.user), Renewal::Unknown]
    );
    for n in 1..=4 {
        let renewal = store.renew_session(HERE, token(n).digest, token(9), NOW).await.unwrap();
        assert_eq!(renewal, Renewal::Unknown, "{n}");
    }
}

/// The session that the tests open.
fn active(account: &Account) -> ActiveSession {
    ActiveSession { id: Uuid::nil().to_string(), user: account.user.clone() }
}

#[tokio::test]
async fn d9_a_token_that_two_have_read_gives_both_one_successor() {
    let (_folder, store, anna) = store_with_account().await;
    let (user, verified) = (anna.user.name.clone(), anna.password.clone());
    let session = NewSession { id: Uuid::nil(), create_time: NOW, user, verified, token: token(1) };
    assert!(store.open_session(HERE, session).await.unwrap());
    let next = |n: u8| {
        let repeat = Repeat { salt: TokenSalt([n; 16]), until: NOW + Duration::MINUTE };
        NewToken { repeat: Some(repeat), ..token(n) }
    };
    let input = (next(2), next(3), next(4));
    let renewals = store.db.write(input, |connection, (second, third, fourth)| {
        Box::pin(async move {
            let one = sessions::find(connection, token(1).digest).await?.unwrap();
            let other = sessions::find(connection, token(1).digest).await?.unwrap();
            let used = sessions::renew(connection, one, *second, NOW).await?;
            let repeated = sessions::renew(connection, other, *third, NOW).await?;
            // This one has read the first token while its successor was unused, which it isn't any more.
            let late = sessions::find(connection, token(1).digest).await?.unwrap();
            let successor = sessions::find(connection, token(2).digest).await?.unwrap();
            sessions::renew(connection, successor, *fourth, NOW).await?;
            Ok::<_, Undo>([used, repeated, sessions::renew(connection, late, *third, NOW).await?])
        })
    });
    let expire_time = token(2).expire_time;
    let successor = Successor { digest: token(2).digest, salt: TokenSalt([2; 16]), expire_time };
    let session = active(&anna);
    assert_eq!(
        renewals.await.unwrap(),
        [Renewal::Renewed(session.clone()), Renewal::Repeated(session, successor), Renewal::Reused(anna.user)]
    );
}

#[tokio::test]
async fn sh_a_claim_that_was_declared_void_is_of_no_use_however_late() {
    let (_folder, store, _) = store_with_account().await;
    let ben = new_account("ben");
    let claim = match store.claim(HERE, ben.claim.clone(), "ben".to_owned()).await.unwrap() {
        Taking::Taken(claim) => claim,
        held => panic!("nobody else has it: {held:?}"),
    };
    let end = async || store.claim_end(HERE, claim.id.clone(), "ben".to_owned()).await.unwrap();
    assert_eq!(end().await, ClaimEnd::Open);
    assert!(store.void(HERE, claim.id.clone(), "ben".to_owned()).await.unwrap());
    assert_eq!(end().await, ClaimEnd::Void);
    let late = NewAccount { claim: claim.clone(), ..ben };
    assert_eq!(store.create(&[HERE], late, Claiming::Before).await.unwrap(), Creating::Voided);
    let stored = store.get(HERE, UserName::new("ben").unwrap(), Freshness::Latest).await.unwrap();
    assert_eq!(stored, None);
}

#[tokio::test]
async fn sh_a_claim_that_was_used_can_not_be_declared_void() {
    let (_folder, store, _) = store_with_account().await;
    let ben = new_account("ben");
    let Taking::Taken(claim) = store.claim(HERE, ben.claim.clone(), "ben".to_owned()).await.unwrap() else {
        panic!("nobody else has it")
    };
    let ben = NewAccount { claim: claim.clone(), ..ben };
    let created = store.create(&[HERE], ben.clone(), Claiming::Before).await.unwrap();
    assert_eq!(created, Creating::Answer(Creation::Created(ben.account.user.clone())));
    assert!(!store.void(HERE, claim.id.clone(), "ben".to_owned()).await.unwrap());
    assert_eq!(store.claim_end(HERE, claim.id.clone(), "ben".to_owned()).await.unwrap(), ClaimEnd::Held);
    // What was claimed too long ago is not used either: its end may be forgotten.
    let old = NewAccount { claim: Claim { at: 0, ..Claim::new("cleo@example.com") }, ..new_account("cleo") };
    assert_eq!(store.create(&[HERE], old, Claiming::Before).await.unwrap(), Creating::Voided);
}
