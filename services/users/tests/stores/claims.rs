//! Sign-ups and changes of address that end in the middle, over shards: what is left is put right by whoever meets it (SH-).

use std::sync::Arc;

use meshwork_chassis::config::StrategyConfig;
use meshwork_sql::Freshness;
use meshwork_users::adapters::sharded::ShardedStore;
use meshwork_users::adapters::store::outcome::{Changing, Claim, Claiming, Creating, NewAccount, Rekey, Taking};
use meshwork_users::adapters::store::{CLAIMS, USERS};
use meshwork_users::domain::User;
use meshwork_users::ports::{Account, ChangeError, Creation, SessionStore, StoreError, UserStore};

use crate::people::{NOW, name, to_email, to_name, with_email};
use crate::rooms::{Room, execute_at, server};

/// The first of `PREFIX-0`, `PREFIX-1`, … whose account isn't in the shard of the address.
fn apart(store: &ShardedStore, prefix: &str, email: &str) -> String {
    let of = |space, key: &str| store.shards().locate(space, key).unwrap().0.id;
    let ids = (0..).map(|n| format!("{prefix}-{n}"));
    ids.into_iter().find(|id| of(USERS, id) != of(CLAIMS, email)).unwrap()
}

/// A sign-up that ends behind the claim.
async fn claim(store: &ShardedStore, id: &str, email: &str) -> Claim {
    let (shard, place) = store.shards().locate(CLAIMS, email).unwrap();
    match shard.part.claim(place, Claim::new(email), id.to_owned()).await.unwrap() {
        Taking::Taken(claim) => claim,
        held => panic!("{held:?}"),
    }
}

/// The account's own transaction of a sign-up, whose claim was made before.
async fn use_claim(store: &ShardedStore, account: &Account, claim: Claim) -> Creating {
    let (shard, place) = store.shards().locate(USERS, account.user.name.id()).unwrap();
    let new = NewAccount { account: account.clone(), claim, request: None };
    shard.part.create(&[place], new, Claiming::Before).await.unwrap()
}

async fn owner(store: &ShardedStore, email: &str) -> Option<User> {
    store.find_by_email(&email.parse().unwrap()).await.unwrap().map(|account| account.user)
}

async fn room() -> (Room, Arc<ShardedStore>) {
    let room = Room::three(&server().await, StrategyConfig::Hash).await;
    let store = room.sharded().await;
    (room, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_claim_whose_sign_up_has_ended_is_taken_over_and_its_late_account_is_refused() {
    let (_room, store) = room().await;
    let email = "anna@example.com";
    let orphan = with_email(&apart(&store, "orphan", email), email);
    let left = claim(&store, orphan.user.name.id(), email).await;
    let anna = with_email(&apart(&store, "anna", email), email);
    assert_eq!(store.create(anna.clone(), None).await.unwrap(), Creation::Created(anna.user.clone()));
    assert_eq!(use_claim(&store, &orphan, left).await, Creating::Voided);
    assert_eq!(owner(&store, email).await, Some(anna.user));
    assert_eq!(store.get(&orphan.user.name, Freshness::Latest).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_an_account_whose_claim_was_not_confirmed_keeps_its_address() {
    let (_room, store) = room().await;
    let email = "anna@example.com";
    let anna = with_email(&apart(&store, "anna", email), email);
    let left = claim(&store, anna.user.name.id(), email).await;
    let created = use_claim(&store, &anna, left.clone()).await;
    assert_eq!(created, Creating::Answer(Creation::Created(anna.user.clone())));
    // It can sign in at once, and nobody else gets the address, whether or not they lie in the shard of it.
    assert_eq!(owner(&store, email).await, Some(anna.user.clone()));
    for id in ["b", "c", "d", "e", "f"] {
        assert_eq!(store.create(with_email(id, email), None).await.unwrap(), Creation::EmailTaken, "{id}");
    }
    // The first who met the claim has confirmed it.
    let (shard, place) = store.shards().locate(CLAIMS, email).unwrap();
    match shard.part.claim(place, Claim::new(email), "somebody".to_owned()).await.unwrap() {
        Taking::Held(held) => assert_eq!((held.confirmed, held.claim.id), (true, left.id)),
        taken => panic!("{taken:?}"),
    }
}

/// A change of address by hand, up to its account.
async fn change_by_hand(store: &ShardedStore, id: &str, email: &str) -> (Claim, Claim) {
    let new = claim(store, id, email).await;
    let (shard, place) = store.shards().locate(USERS, id).unwrap();
    let changed = shard.part.change(place, name(id), Arc::new(to_email(email)), Rekey::With(new.clone()));
    match changed.await.unwrap() {
        Changing::Done { before: Some(before), .. } => (new, before),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_change_of_address_that_ends_behind_the_claim_leaves_the_old_one() {
    let (_room, store) = room().await;
    let anna = with_email("anna", "old@example.com");
    store.create(anna.clone(), None).await.unwrap();
    claim(&store, "anna", "new@example.com").await;
    assert_eq!(owner(&store, "old@example.com").await, Some(anna.user));
    assert_eq!(owner(&store, "new@example.com").await, None);
    // Made again, it is carried through; its own claim of before is in nobody's way for long.
    let changed = store.change(&name("anna"), to_email("new@example.com")).await.unwrap();
    assert_eq!(owner(&store, "new@example.com").await, Some(changed));
    assert_eq!(owner(&store, "old@example.com").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_change_of_address_that_ends_behind_the_account_or_its_confirmation_is_made() {
    let (_room, store) = room().await;
    for (id, is_confirmed) in [("anna", false), ("bert", true)] {
        let (old, new) = (format!("{id}-old@example.com"), format!("{id}-new@example.com"));
        store.create(with_email(id, &old), None).await.unwrap();
        let (claimed, _) = change_by_hand(&store, id, &new).await;
        if is_confirmed {
            let (shard, place) = store.shards().locate(CLAIMS, &new).unwrap();
            shard.part.confirm(place, claimed).await.unwrap();
        }
        // The old claim still stands, and leads to nobody.
        assert_eq!(owner(&store, &old).await, None, "{id}");
        assert_eq!(owner(&store, &new).await.map(|user| user.version), Some(2), "{id}");
        assert_eq!(store.create(with_email("thief", &new), None).await.unwrap(), Creation::EmailTaken, "{id}");
        // Who comes for the old address gets it at once.
        let next = with_email(&format!("{id}-next"), &old);
        assert_eq!(store.create(next.clone(), None).await.unwrap(), Creation::Created(next.user.clone()), "{id}");
        assert_eq!(owner(&store, &old).await, Some(next.user), "{id}");
        // And who was changed may be changed on.
        store.change(&name(id), to_name("New")).await.unwrap();
        let taken = store.change(&name(id), to_email(&old)).await;
        assert!(matches!(taken, Err(ChangeError::EmailTaken)), "{taken:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_change_of_address_that_is_refused_leaves_no_claim() {
    let (_room, store) = room().await;
    store.create(with_email("anna", "anna@example.com"), None).await.unwrap();
    // It is decided twice: without a claim, and with one. What stands then counts.
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = asked.clone();
    let decide = Box::new(move |user: &User| {
        let is_first = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        if is_first { to_email("new@example.com")(user) } else { user.delete(Some(7), crate::people::NOW).map(Some) }
    });
    let refused = store.change(&name("anna"), decide).await;
    assert!(matches!(refused, Err(ChangeError::Refused(_))), "{refused:?}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2);
    let next = with_email("next", "new@example.com");
    let (shard, place) = store.shards().locate(CLAIMS, "new@example.com").unwrap();
    let taking = shard.part.claim(place, Claim::new("new@example.com"), "next".to_owned()).await.unwrap();
    assert!(matches!(taking, Taking::Taken(_)), "{taking:?}");
    // Which was an orphan itself.
    assert_eq!(store.create(next.clone(), None).await.unwrap(), Creation::Created(next.user));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_an_account_that_can_not_be_written_leaves_no_claim() {
    let (room, store) = room().await;
    let (email, old, new) = ("anna@example.com", "old@example.com", "new@example.com");
    let anna = with_email(&apart(&store, "anna", email), email);
    // They share a shard, which answers and has no room.
    let of = |id: &str| store.shards().locate(USERS, id).unwrap().0.id;
    let full = of(anna.user.name.id());
    let bert = (0..).map(|n| format!("bert-{n}")).find(|id| of(id) == full).unwrap();
    store.create(with_email(&bert, old), None).await.unwrap();
    let url = &room.urls()[usize::from(full)];
    let sql = "CREATE FUNCTION users.no_room() RETURNS trigger LANGUAGE plpgsql AS \
               $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$; \
               CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON users.users FOR EACH ROW EXECUTE FUNCTION users.no_room()";
    execute_at(url, sql).await;
    let created = store.create(anna.clone(), None).await;
    assert!(matches!(created, Err(StoreError::Unavailable(_))), "{created:?}");
    let changed = store.change(&name(&bert), to_email(new)).await;
    assert!(matches!(changed, Err(ChangeError::Store(StoreError::Unavailable(_)))), "{changed:?}");
    for email in [email, new] {
        // Nobody has it: this one would fail else.
        let left = claim(&store, "somebody", email).await;
        let (shard, place) = store.shards().locate(CLAIMS, email).unwrap();
        shard.part.release(place, left).await.unwrap();
    }
    execute_at(url, "DROP TRIGGER no_room ON users.users").await;
    assert_eq!(store.create(anna.clone(), None).await.unwrap(), Creation::Created(anna.user));
    assert_eq!(owner(&store, old).await.map(|user| user.name), Some(name(&bert)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_claims_that_nobody_has_met_for_a_day_are_settled_by_the_sweep() {
    let (room, store) = room().await;
    let (dead, used, young) = ("dead@example.com", "used@example.com", "young@example.com");
    let orphan = with_email(&apart(&store, "orphan", dead), dead);
    let left = claim(&store, orphan.user.name.id(), dead).await;
    let anna = with_email(&apart(&store, "anna", used), used);
    let unconfirmed = claim(&store, anna.user.name.id(), used).await;
    let created = use_claim(&store, &anna, unconfirmed).await;
    assert_eq!(created, Creating::Answer(Creation::Created(anna.user.clone())));
    let count = async |email: &str, confirmed: bool| {
        let sql =
            format!("UPDATE email_claims SET slot = slot WHERE email_key = '{email}' AND confirmed = {confirmed}");
        room.execute(&sql).await
    };
    // Young, they may still be used.
    assert!(!store.prune(NOW, 10).await.unwrap());
    assert_eq!((count(dead, false).await, count(used, false).await), (1, 1));

    room.execute("UPDATE email_claims SET claimed_at = claimed_at - 90000000000").await;
    claim(&store, &apart(&store, "young", young), young).await;
    assert!(!store.prune(NOW, 10).await.unwrap());
    assert_eq!((count(dead, false).await, count(dead, true).await), (0, 0));
    assert_eq!((count(used, false).await, count(used, true).await), (0, 1));
    assert_eq!(count(young, false).await, 1);
    assert_eq!(owner(&store, used).await, Some(anna.user));
    // However late it comes, what was behind the claim makes no account.
    assert_eq!(use_claim(&store, &orphan, left).await, Creating::Voided);
}
