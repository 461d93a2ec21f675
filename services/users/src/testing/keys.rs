//! What every store of keys must do.

use std::sync::Arc;

use meshwork_api::ApiKeyName;
use time::{Duration, OffsetDateTime};

use super::accounts::{NOW, create, delete};
use super::erasure::erase;
use crate::domain::{ApiKey, KeyDigest, MAX_ENDED_KEYS, MAX_LIVE_KEYS};
use crate::ports::{Account, ApiKeyStore, KeyCreation, NewApiKey, PresentedKey, UserStore};

/// The name of the key `n` of an account.
fn name(account: &Account, n: u16) -> ApiKeyName {
    ApiKeyName::new(account.user.name.clone(), format!("key-{n:03}")).unwrap()
}

/// What is kept of the key `n`, of whomever it is.
fn digest(n: u16) -> KeyDigest {
    let mut digest = [7; 32];
    digest[..2].copy_from_slice(&n.to_be_bytes());
    KeyDigest(digest)
}

/// The key `n` of an account, made at a time, which lives for an hour.
fn key(account: &Account, n: u16, at: OffsetDateTime) -> NewApiKey {
    let key = ApiKey {
        name: name(account, n),
        display_name: format!("Number {n}").parse().unwrap(),
        scopes: Vec::new(),
        create_time: at,
        expire_time: at + Duration::HOUR,
        revoke_time: None,
    };
    NewApiKey { key, digest: digest(n) }
}

/// Makes the key `n` of an account at [`NOW`].
async fn make(store: &impl ApiKeyStore, account: &Account, n: u16) -> ApiKey {
    let new = key(account, n, NOW);
    assert_eq!(store.create_key(new.clone()).await.unwrap(), KeyCreation::Created);
    new.key
}

/// The key `n` as somebody presents it who says that it is this account's.
fn presented(account: &Account, n: u16) -> PresentedKey {
    PresentedKey { user: account.user.name.clone(), digest: digest(n) }
}

/// The numbers of the keys of an account, read in pages of this size.
async fn listed(store: &impl ApiKeyStore, account: &Account, size: usize) -> Vec<u16> {
    let (mut numbers, mut after) = (Vec::new(), None);
    loop {
        let page = store.list_keys(&account.user.name, size, after.as_deref()).await.unwrap();
        assert!(page.items.len() <= size && page.items.iter().all(|key| *key.name.user() == account.user.name));
        numbers.extend(page.items.iter().map(|key| key.name.id()[4..].parse::<u16>().unwrap()));
        let Some(next) = page.next else { break numbers };
        after = Some(next);
    }
}

pub(super) async fn a_key_is_found_by_its_digest_and_by_its_name(store: &(impl UserStore + ApiKeyStore)) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    let mut new = key(&anna, 1, NOW);
    new.key.scopes = ["a.v1.S", "b.v1.T/M"].map(|scope| scope.parse().unwrap()).into();
    assert_eq!(store.create_key(new.clone()).await.unwrap(), KeyCreation::Created);
    make(store, &bert, 2).await;
    assert_eq!(store.get_key(&new.key.name).await.unwrap(), Some(new.key.clone()));
    let found = store.find_key(&presented(&anna, 1)).await.unwrap();
    assert_eq!(found, Some((new.key, anna.user.clone())));
    // Another's name for it, and what nobody has, whoever is said to.
    assert_eq!(store.get_key(&name(&bert, 1)).await.unwrap(), None);
    let nobody = PresentedKey { user: "users/nobody".parse().unwrap(), ..presented(&anna, 9) };
    for unknown in [presented(&anna, 9), nobody] {
        assert_eq!(store.find_key(&unknown).await.unwrap(), None);
    }
}

pub(super) async fn an_account_that_lives_has_one_key_of_a_name(store: &(impl UserStore + ApiKeyStore)) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    let first = make(store, &anna, 1).await;
    let again = NewApiKey { digest: digest(2), ..key(&anna, 1, NOW) };
    assert_eq!(store.create_key(again.clone()).await.unwrap(), KeyCreation::IdTaken);
    assert_eq!(store.find_key(&presented(&anna, 2)).await.unwrap(), None, "nothing is left of what was refused");
    // One that has ended has its name too; another account's is another name.
    store.revoke_key(&first.name, NOW).await.unwrap();
    assert_eq!(store.create_key(again).await.unwrap(), KeyCreation::IdTaken);
    let others = NewApiKey { digest: digest(3), ..key(&bert, 1, NOW) };
    assert_eq!(store.create_key(others).await.unwrap(), KeyCreation::Created);
    delete(store, &bert).await;
    assert_eq!(store.create_key(key(&bert, 4, NOW)).await.unwrap(), KeyCreation::NoAccount);
    let mut nobodys = key(&anna, 5, NOW);
    nobodys.key.name = "users/nobody/apiKeys/key".parse().unwrap();
    assert_eq!(store.create_key(nobodys).await.unwrap(), KeyCreation::NoAccount);
}

pub(super) async fn few_keys_of_an_account_live_and_few_that_have_ended_are_kept(
    store: &(impl UserStore + ApiKeyStore),
) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    let (live, kept) = (u16::try_from(MAX_LIVE_KEYS).unwrap(), u16::try_from(MAX_ENDED_KEYS).unwrap());
    for n in 0..live {
        make(store, &anna, n).await;
    }
    let one_more = || key(&anna, live, NOW);
    assert_eq!(store.create_key(one_more()).await.unwrap(), KeyCreation::TooMany);
    make(store, &bert, 900).await;
    store.revoke_key(&name(&anna, 0), NOW).await.unwrap();
    assert_eq!(store.create_key(one_more()).await.unwrap(), KeyCreation::Created);
    // All of them end, and so do those that are made after them.
    let later = NOW + Duration::HOUR;
    for n in live + 1..=live + kept {
        let at = later + Duration::seconds(i64::from(n));
        assert_eq!(store.create_key(key(&anna, n, at)).await.unwrap(), KeyCreation::Created, "{n}");
        store.revoke_key(&name(&anna, n), at).await.unwrap();
    }
    let last = later + Duration::DAY;
    assert_eq!(store.create_key(key(&anna, 901, last)).await.unwrap(), KeyCreation::Created);
    let expected: Vec<_> = (live + 1..=live + kept).chain([901]).collect();
    assert_eq!(listed(store, &anna, 200).await, expected, "those that ended first are forgotten");
    assert_eq!(listed(store, &bert, 200).await, [900]);
}

pub(super) async fn a_key_is_revoked_once(store: &(impl UserStore + ApiKeyStore)) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    let first = make(store, &anna, 1).await;
    let at = NOW + Duration::MINUTE;
    for name in [name(&bert, 1), name(&anna, 9)] {
        assert_eq!(store.revoke_key(&name, at).await.unwrap(), None);
    }
    assert_eq!(store.get_key(&first.name).await.unwrap(), Some(first.clone()));
    let revoked = ApiKey { revoke_time: Some(at), ..first };
    for later in [Duration::ZERO, Duration::MINUTE] {
        assert_eq!(store.revoke_key(&revoked.name, at + later).await.unwrap(), Some(revoked.clone()));
    }
    let found = store.find_key(&presented(&anna, 1)).await.unwrap();
    assert_eq!(found, Some((revoked, anna.user)));
}

pub(super) async fn keys_are_listed_and_cut_into_pages(store: &(impl UserStore + ApiKeyStore)) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    for n in [5, 2, 9, 1, 7] {
        make(store, &anna, n).await;
    }
    make(store, &bert, 4).await;
    store.revoke_key(&name(&anna, 2), NOW).await.unwrap();
    for size in [1, 2, 3, 5, 100] {
        assert_eq!(listed(store, &anna, size).await, [1, 2, 5, 7, 9], "{size}");
    }
    assert_eq!(listed(store, &bert, 2).await, [4]);
    let nobody = store.list_keys(&"users/nobody".parse().unwrap(), 2, None).await.unwrap();
    assert!(nobody.items.is_empty() && nobody.next.is_none());
}

pub(super) async fn d4_keys_are_of_a_deleted_account_at_once_and_erased_with_it(
    store: &(impl UserStore + ApiKeyStore),
) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    make(store, &anna, 1).await;
    make(store, &bert, 2).await;
    delete(store, &anna).await;
    let (_, user) = store.find_key(&presented(&anna, 1)).await.unwrap().unwrap();
    assert!(user.is_deleted());
    erase(store, &anna, 1).await;
    assert_eq!(store.find_key(&presented(&anna, 1)).await.unwrap(), None);
    assert_eq!((listed(store, &anna, 9).await, listed(store, &bert, 9).await), (vec![], vec![2]));
}

pub(super) async fn keys_that_ended_long_ago_are_forgotten_in_bounded_steps(store: &(impl UserStore + ApiKeyStore)) {
    let anna = create(store, "anna").await;
    for n in 1..=7 {
        make(store, &anna, n).await;
    }
    for n in 1..=5 {
        store.revoke_key(&name(&anna, n), NOW + Duration::MINUTE).await.unwrap();
    }
    // It has expired by then: that is when it ended.
    store.revoke_key(&name(&anna, 6), NOW + Duration::DAY).await.unwrap();
    assert!(!store.prune_keys(NOW, 2).await.unwrap(), "none has ended yet");
    let mut steps = 1;
    while store.prune_keys(NOW + Duration::MINUTE, 2).await.unwrap() {
        steps += 1;
        assert!(steps < 20, "it comes to an end");
    }
    assert!(steps >= 3, "{steps} steps of two can't forget five keys");
    assert_eq!(listed(store, &anna, 10).await, [6, 7]);
    assert!(!store.prune_keys(NOW + Duration::HOUR, 9).await.unwrap());
    assert_eq!(listed(store, &anna, 10).await, Vec::<u16>::new());
}

pub(super) async fn of_racing_creations_as_many_keys_are_made_as_may_live<S: UserStore + ApiKeyStore>(store: Arc<S>) {
    let anna = create(&*store, "anna").await;
    let (live, more) = (u16::try_from(MAX_LIVE_KEYS).unwrap(), 10);
    let racers: Vec<_> = (0..live + more)
        .map(|n| {
            let (store, new) = (store.clone(), key(&anna, n, NOW));
            tokio::spawn(async move { store.create_key(new).await.unwrap() })
        })
        .collect();
    let mut made = 0;
    for racer in racers {
        match racer.await.unwrap() {
            KeyCreation::Created => made += 1,
            refused => assert_eq!(refused, KeyCreation::TooMany),
        }
    }
    assert_eq!((made, listed(&*store, &anna, 200).await.len()), (live, MAX_LIVE_KEYS));
}
