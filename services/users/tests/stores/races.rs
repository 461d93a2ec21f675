//! Sign-ups that race for an address over shards, of which some end in the middle: one wins (SH-).

use std::sync::Arc;
use std::time::Duration;

use meshwork_chassis::config::StrategyConfig;
use meshwork_chassis::request::RequestKey;
use meshwork_sql::Freshness;
use meshwork_users::adapters::sharded::ShardedStore;
use meshwork_users::ports::{Creation, UserStore};
use tokio::task::JoinSet;

use crate::people::{name, with_email};
use crate::rooms::{Room, server};

/// How many races there are, and how many at a time.
fn rounds() -> (u32, usize) {
    if std::env::var_os("MESHWORK_TEST_FULL").is_some() { (1_000, 40) } else { (60, 20) }
}

/// Two sign up at once with one address; in most races, one of them ends at some point of it. A third comes then.
async fn race(store: Arc<ShardedStore>, round: u32) -> Result<(), String> {
    let email = format!("race-{round}@example.com");
    let ids = ["x", "y", "z"].map(|who| format!("{who}-{round}"));
    let sign_up = |id: &String| {
        let (store, account) = (store.clone(), with_email(id, &email));
        tokio::spawn(async move { store.create(account, None).await })
    };
    let racers = [sign_up(&ids[0]), sign_up(&ids[1])];
    if !round.is_multiple_of(4) {
        // Somewhere between the first statement and the last.
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..20_000))).await;
        racers[usize::from(round.is_multiple_of(2))].abort();
    }
    let mut created = 0;
    for racer in racers {
        match racer.await {
            Ok(Ok(Creation::Created(_))) => created += 1,
            Ok(Ok(Creation::EmailTaken)) => {}
            Ok(Ok(other)) => return Err(format!("{round}: {other:?}")),
            Ok(Err(error)) => return Err(format!("{round}: {error}")),
            Err(ended) if ended.is_cancelled() => {}
            Err(ended) => return Err(format!("{round}: {ended}")),
        }
    }
    if created > 1 {
        return Err(format!("{round}: two were told that they have the address"));
    }
    let third = store.create(with_email(&ids[2], &email), None).await.map_err(|error| format!("{round}: {error}"))?;
    match third {
        Creation::Created(_) if created == 0 => {}
        Creation::EmailTaken => {}
        other => return Err(format!("{round}: {created} have the address, and the third one's outcome is {other:?}")),
    }
    let mut accounts = Vec::new();
    for id in &ids {
        let account = store.get(&name(id), Freshness::Latest).await.map_err(|error| format!("{round}: {error}"))?;
        accounts.extend(account);
    }
    let owner = store.find_by_email(&email.parse().unwrap()).await.map_err(|error| format!("{round}: {error}"))?;
    match (accounts.as_slice(), owner) {
        ([one], Some(owner)) if owner.user == *one => Ok(()),
        (accounts, owner) => Err(format!("{round}: {accounts:?} have the address, and it leads to {owner:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_of_sign_ups_that_race_for_an_address_over_shards_exactly_one_wins() {
    let room = Room::three(&server().await, StrategyConfig::Hash).await;
    let store = room.sharded().await;
    let (count, at_once) = rounds();
    let (mut races, mut begun, mut faults) = (JoinSet::new(), 0, Vec::new());
    while begun < count || !races.is_empty() {
        while begun < count && races.len() < at_once {
            races.spawn(race(store.clone(), begun));
            begun += 1;
        }
        if let Some(ended) = races.join_next().await {
            faults.extend(ended.unwrap().err());
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_request_that_ended_in_the_middle_is_carried_through_when_it_comes_again() {
    let room = Room::three(&server().await, StrategyConfig::Hash).await;
    let store = room.sharded().await;
    for round in 0..10_u32 {
        let email = format!("again-{round}@example.com");
        let request = RequestKey {
            principal: "anonymous".to_owned(),
            method: "CreateUser",
            id: format!("request-{round}"),
            hash: [1; 32],
        };
        // Each try has an id of its own, as where the caller names none.
        let sign_up = |attempt: u32| {
            let account = with_email(&format!("u-{round}-{attempt}"), &email);
            let (store, request) = (store.clone(), request.clone());
            tokio::spawn(async move { store.create(account, Some(request)).await })
        };
        let first = sign_up(1);
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..20_000))).await;
        first.abort();
        let first = first.await.ok().map(Result::unwrap);
        let again = sign_up(2).await.unwrap().unwrap();
        let user = match again {
            Creation::Created(user) => user,
            Creation::Replayed(account) => account.user,
            other => panic!("{round}: {other:?}"),
        };
        if let Some(Creation::Created(first)) = first {
            assert_eq!(first, user, "{round}: one request has made two accounts");
        }
        let owner = store.find_by_email(&email.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(owner.user, user, "{round}");
        match sign_up(3).await.unwrap().unwrap() {
            Creation::Replayed(account) => assert_eq!(account.user, user, "{round}"),
            other => panic!("{round}: {other:?}"),
        }
    }
}
