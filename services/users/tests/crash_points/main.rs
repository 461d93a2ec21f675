//! Sign-ups, changes of address and requests that end at each place between two side effects, over shards (SH-). Crash points are
//! of the whole process, so that one test runs at a time, and no others in it.
//!
//! The build of `cargo xtask test` has crash points.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "shared with the tests of the stores")]
#[path = "../stores/people.rs"]
mod people;
#[allow(dead_code, reason = "shared with the tests of the stores")]
#[path = "../stores/rooms.rs"]
mod rooms;

use std::sync::Arc;

use meshwork_chassis::config::StrategyConfig;
use meshwork_chassis::request::RequestKey;
use meshwork_sql::Freshness;
use meshwork_users::adapters::sharded::ShardedStore;
use meshwork_users::adapters::store::outcome::{Claim, Taking};
use meshwork_users::adapters::store::{CLAIMS, USERS};
use meshwork_users::domain::{StandIn, User};
use meshwork_users::ports::{ChangeError, Creation, SessionStore, StoreError, UserStore};
use tokio::sync::{Mutex, MutexGuard};

use crate::people::{NOW, name, to_email, with_email};
use crate::rooms::{Room, eventually, server};

static ALONE: Mutex<()> = Mutex::const_new(());

/// A test that is alone in the process, with three shards; `None` where there are no crash points.
async fn alone() -> Option<(MutexGuard<'static, ()>, Room, Arc<ShardedStore>)> {
    if !fail::has_failpoints() {
        return None;
    }
    let alone = ALONE.lock().await;
    let room = Room::three(&server().await, StrategyConfig::Hash).await;
    let store = room.sharded().await;
    Some((alone, room, store))
}

/// A crash point that is armed until this goes.
struct Armed(String);

impl Armed {
    fn at(point: &str, actions: &str) -> Self {
        let point = format!("users::{point}");
        fail::cfg(point.as_str(), actions).unwrap();
        Self(point)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        fail::remove(&self.0);
    }
}

/// The first of `PREFIX-0`, `PREFIX-1`, … whose accounts aren't in the shard of the address.
fn apart(store: &ShardedStore, prefix: &str, email: &str, count: usize) -> Vec<String> {
    let of = |space, key: &str| store.shards().locate(space, key).unwrap().0.id;
    let ids = (0..).map(|n| format!("{prefix}-{n}"));
    ids.filter(|id| of(USERS, id) != of(CLAIMS, email)).take(count).collect()
}

async fn owner(store: &ShardedStore, email: &str) -> Option<User> {
    store.find_by_email(&email.parse().unwrap()).await.unwrap().map(|account| account.user)
}

/// Whose claim on an address is confirmed.
async fn confirmed(store: &ShardedStore, email: &str) -> String {
    let (shard, place) = store.shards().locate(CLAIMS, email).unwrap();
    match shard.part.claim(place, Claim::new(email), "somebody".to_owned()).await.unwrap() {
        Taking::Held(held) if held.confirmed => held.user,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_of_two_sign_ups_of_which_one_ends_at_a_point_exactly_one_wins() {
    let Some((_alone, _room, store)) = alone().await else { return };
    for point in ["claimed", "created", "confirmed"] {
        let email = format!("{point}@example.com");
        let ids = apart(&store, point, &email, 3);
        let armed = Armed::at(point, "1*return");
        let racers = [0, 1].map(|racer: usize| {
            let (store, account) = (store.clone(), with_email(&ids[racer], &email));
            tokio::spawn(async move { store.create(account, None).await })
        });
        let (mut created, mut ended) = (0, 0);
        for racer in racers {
            match racer.await.unwrap() {
                Ok(Creation::Created(_)) => created += 1,
                Ok(Creation::EmailTaken) => {}
                Err(StoreError::Unavailable(_)) => ended += 1,
                other => panic!("{point}: {other:?}"),
            }
        }
        drop(armed);
        assert_eq!(ended, 1, "{point} was met so often");
        // Who ended behind the claim has made no account, and the other has taken over; else the one that ended has one.
        assert_eq!(created, usize::from(point == "claimed"), "{point}");
        let third = store.create(with_email(&ids[2], &email), None).await.unwrap();
        assert_eq!(third, Creation::EmailTaken, "{point}");
        let mut accounts = Vec::new();
        for id in &ids {
            accounts.extend(store.get(&name(id), Freshness::Latest).await.unwrap());
        }
        let [winner] = accounts.as_slice() else { panic!("{point}: {accounts:?} have the address") };
        assert_eq!(owner(&store, &email).await.as_ref(), Some(winner), "{point}");
        assert_eq!(confirmed(&store, &email).await, winner.name.id(), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_sign_up_that_is_refused_and_ends_then_has_let_the_address_go() {
    let Some((_alone, _room, store)) = alone().await else { return };
    let email = "released@example.com";
    let ids = apart(&store, "released", email, 2);
    store.create(with_email(&ids[0], "other@example.com"), None).await.unwrap();
    let armed = Armed::at("released", "1*return");
    // The id is taken, which is found out behind the claim.
    let ended = store.create(with_email(&ids[0], email), None).await;
    drop(armed);
    assert!(matches!(ended, Err(StoreError::Unavailable(_))), "{ended:?}");
    let next = with_email(&ids[1], email);
    assert_eq!(store.create(next.clone(), None).await.unwrap(), Creation::Created(next.user.clone()));
    assert_eq!(owner(&store, email).await, Some(next.user));
    assert_eq!(owner(&store, "other@example.com").await.map(|user| user.name), Some(name(&ids[0])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_change_of_address_that_ends_at_a_point_is_carried_through_when_it_comes_again() {
    let Some((_alone, _room, store)) = alone().await else { return };
    // The account is asked first for what it would become, and changed second.
    for (point, actions) in [("claimed", "1*return"), ("created", "1*off->1*return"), ("confirmed", "1*return")] {
        let (old, new) = (format!("{point}-old@example.com"), format!("{point}-new@example.com"));
        let (id, next) = (format!("{point}-anna"), format!("{point}-next"));
        store.create(with_email(&id, &old), None).await.unwrap();
        let armed = Armed::at(point, actions);
        let ended = store.change(&name(&id), to_email(&new)).await;
        drop(armed);
        assert!(matches!(ended, Err(ChangeError::Store(StoreError::Unavailable(_)))), "{point}: {ended:?}");
        // One of the addresses leads to the account, as it is.
        let account = store.get(&name(&id), Freshness::Latest).await.unwrap().unwrap();
        let (has, lacks) = if point == "claimed" { (&old, &new) } else { (&new, &old) };
        assert_eq!(owner(&store, has).await.as_ref(), Some(&account), "{point}");
        assert_eq!(owner(&store, lacks).await, None, "{point}");

        let changed = store.change(&name(&id), to_email(&new)).await.unwrap();
        assert_eq!(changed.version, 2, "{point}");
        assert_eq!(owner(&store, &new).await, Some(changed), "{point}");
        let thief = store.create(with_email(&format!("{point}-thief"), &new), None).await.unwrap();
        assert_eq!(thief, Creation::EmailTaken, "{point}");
        assert_eq!(confirmed(&store, &new).await, id, "{point}");
        let next = with_email(&next, &old);
        assert_eq!(store.create(next.clone(), None).await.unwrap(), Creation::Created(next.user.clone()), "{point}");
        assert_eq!(owner(&store, &old).await, Some(next.user), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_an_erasure_that_ends_behind_the_account_leaves_no_address() {
    let Some((_alone, room, store)) = alone().await else { return };
    let email = "gone@example.com";
    store.create(with_email("gone", email), None).await.unwrap();
    store.change(&name("gone"), Box::new(|user| user.delete(None, NOW).map(Some))).await.unwrap();
    let stand_in = StandIn::new(StandIn::email(&[1; 32]).unwrap()).unwrap();
    let has = stand_in.email.clone();
    let armed = Armed::at("confirmed", "1*return");
    let ended = store.change(&name("gone"), Box::new(move |user| Ok(user.erase(stand_in.clone(), NOW)))).await;
    drop(armed);
    assert!(matches!(ended, Err(ChangeError::Store(StoreError::Unavailable(_)))), "{ended:?}");
    let erased = store.get(&name("gone"), Freshness::Latest).await.unwrap().unwrap();
    assert!(erased.is_erased());
    let claims = async || {
        let sql = format!("UPDATE email_claims SET slot = slot WHERE email_key = '{email}'");
        room.execute(&sql).await
    };
    assert_eq!(claims().await, 1);
    // Nobody asks for the address any more.
    room.execute("UPDATE email_claims SET claimed_at = claimed_at - 90000000000").await;
    store.prune(NOW, 10).await.unwrap();
    assert_eq!(claims().await, 0);
    assert_eq!(owner(&store, has.as_str()).await, Some(erased));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_request_that_may_still_make_an_account_yields_to_no_other_body() {
    let Some((_alone, _room, store)) = alone().await else { return };
    let request = |hash: u8| {
        let (principal, id) = ("anonymous".to_owned(), "r".to_owned());
        Some(RequestKey { principal, method: "CreateUser", id, hash: [hash; 32] })
    };
    let email = "first@example.com";
    let first = with_email(&apart(&store, "first", email, 1)[0], email);
    let armed = Armed::at("claimed", "1*return");
    store.create(first.clone(), request(1)).await.unwrap_err();
    drop(armed);
    let other = with_email("other", "other@example.com");
    assert_eq!(store.create(other.clone(), request(2)).await.unwrap(), Creation::RequestReused);
    // Who keeps asking doesn't keep it from ending.
    eventually("the other body to take its place", async || {
        match store.create(other.clone(), request(2)).await.unwrap() {
            Creation::RequestReused => false,
            created => {
                assert_eq!(created, Creation::Created(other.user.clone()));
                true
            }
        }
    })
    .await;
    assert_eq!(store.create(first, request(1)).await.unwrap(), Creation::RequestReused);
    assert_eq!(owner(&store, email).await, None);
}
