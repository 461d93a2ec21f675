//! Accounts whose addresses earlier releases have kept by other keys (D6).

use std::sync::Arc;

use futures_util::future::join_all;
use meshwork_sql::Freshness;
use meshwork_users::adapters::store::outcome::{Claim, Claiming, Creating, NewAccount, Taking};
use meshwork_users::adapters::store::{CLAIMS, USERS};
use meshwork_users::domain::{Email, User};
use meshwork_users::ports::{Account, ChangeError, Creation, KeyRenewal, UserFilter, UserStore};

use crate::people::{NOW, name, to_email, to_name, with_email};
use crate::rooms::Room;

/// An account whose address isn't in the normal form.
fn old_account(id: &str, email: &str) -> Account {
    let mut account = with_email(id, email);
    account.user.email = Email::stored(email.to_owned()).unwrap();
    account
}

/// Makes an account as an earlier release has: by the key that is the address in lower case.
async fn keep(room: &Room, account: &Account) {
    let (id, key) = (account.user.name.id(), account.user.email.as_str().to_lowercase());
    if room.urls().is_empty() {
        let created = room.open().await.users.create(account.clone(), None).await.unwrap();
        assert_eq!(created, Creation::Created(account.user.clone()));
    } else {
        let store = room.sharded().await;
        let (shard, place) = store.shards().locate(CLAIMS, &key).unwrap();
        let claim = match shard.part.claim(place, Claim::new(&key), id.to_owned()).await.unwrap() {
            Taking::Taken(claim) => claim,
            held => panic!("{held:?}"),
        };
        let (shard, place) = store.shards().locate(USERS, id).unwrap();
        let new = NewAccount { account: account.clone(), claim, request: None };
        let created = shard.part.create(&[place], new, Claiming::Before).await.unwrap();
        assert_eq!(created, Creating::Answer(Creation::Created(account.user.clone())));
    }
    assert_eq!(room.execute(&format!("UPDATE users SET email_key = '{key}' WHERE id = '{id}'")).await, 1);
}

async fn owner(users: &Arc<dyn UserStore>, email: &str) -> Option<String> {
    let email = email.parse().unwrap();
    let found = users.find_by_email(&email).await.unwrap().map(|account| account.user.name.id().to_owned());
    let signing_in = users.find_to_sign_in(&email).await.unwrap();
    assert_eq!(signing_in.map(|account| account.user.name.id().to_owned()), found);
    found
}

async fn get(users: &Arc<dyn UserStore>, id: &str) -> Option<User> {
    users.get(&name(id), Freshness::Latest).await.unwrap()
}

/// How many accounts are kept by a key.
async fn kept_by(room: &Room, key: &str) -> u64 {
    room.execute(&format!("UPDATE users SET email_key = email_key WHERE email_key = '{key}'")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_an_old_account_gets_its_key_and_is_known_by_every_spelling() {
    for room in Room::all().await {
        let users = room.open().await.users;
        let joerg = old_account("joerg", "Jo\u{308}rg@müller.de");
        keep(&room, &joerg).await;
        users.create(with_email("anna", "anna@example.com"), None).await.unwrap();
        // Until then by exactly its own.
        assert_eq!(owner(&users, "jo\u{308}rg@MÜLLER.de").await.as_deref(), Some("joerg"));
        assert_eq!(owner(&users, "jörg@müller.de").await, None);
        let filter = UserFilter { non_ascii: true, show_deleted: true, ..UserFilter::default() };
        let listed = users.list(&filter, 10, None, Freshness::Latest).await.unwrap();
        assert_eq!(listed.page.items, std::slice::from_ref(&joerg.user));

        assert_eq!(users.renew_key(&name("joerg")).await.unwrap(), KeyRenewal::Renewed);
        for _ in 0..2 {
            for id in ["joerg", "anna", "nobody"] {
                assert_eq!(users.renew_key(&name(id)).await.unwrap(), KeyRenewal::Current, "{id}");
            }
        }
        for email in ["jo\u{308}rg@müller.de", "JÖRG@müller.de", "jörg@xn--mller-kva.de", "jörg@mu\u{308}ller.de"]
        {
            assert_eq!(owner(&users, email).await.as_deref(), Some("joerg"), "{email}");
            let taken = users.create(with_email("other", email), None).await.unwrap();
            assert_eq!(taken, Creation::EmailTaken, "{email}");
        }
        // Nothing else of it has changed.
        assert_eq!(get(&users, "joerg").await, Some(joerg.user));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_deleted_account_keeps_its_address_taken_in_every_spelling() {
    for room in Room::all().await {
        let users = room.open().await.users;
        keep(&room, &old_account("gone", "anna@müller.de")).await;
        users.change(&name("gone"), Box::new(|user| user.delete(None, NOW).map(Some))).await.unwrap();
        assert_eq!(users.renew_key(&name("gone")).await.unwrap(), KeyRenewal::Renewed);
        let again = users.create(with_email("again", "anna@xn--mller-kva.de"), None).await.unwrap();
        assert_eq!(again, Creation::EmailTaken);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_accounts_that_collide_go_on_by_exactly_their_spelling() {
    for room in Room::all().await {
        let users = room.open().await.users;
        keep(&room, &old_account("first", "anna@müller.de")).await;
        keep(&room, &old_account("second", "anna@ｍüller.de")).await;
        assert_eq!(users.renew_key(&name("first")).await.unwrap(), KeyRenewal::Renewed);
        for _ in 0..2 {
            assert_eq!(users.renew_key(&name("second")).await.unwrap(), KeyRenewal::Taken);
        }
        let by_first = ["anna@müller.de", "Anna@MÜLLER.de", "anna@xn--mller-kva.de"];
        for email in by_first {
            assert_eq!(owner(&users, email).await.as_deref(), Some("first"), "{email}");
        }
        assert_eq!(owner(&users, "anna@ｍüller.de").await.as_deref(), Some("second"));

        // It may be changed, but for its address to another spelling of the same.
        let renamed = users.change(&name("second"), to_name("New")).await.unwrap();
        assert_eq!((renamed.email.as_str(), renamed.version), ("anna@ｍüller.de", 2));
        assert_eq!(owner(&users, "anna@ｍüller.de").await.as_deref(), Some("second"));
        let taken = users.change(&name("second"), to_email("anna@xn--mller-kva.de")).await;
        assert!(matches!(taken, Err(ChangeError::EmailTaken)), "{taken:?}");
        users.change(&name("second"), to_email("second@example.com")).await.unwrap();
        assert_eq!(owner(&users, "second@example.com").await.as_deref(), Some("second"));
        assert_eq!(owner(&users, "anna@ｍüller.de").await.as_deref(), Some("first"));
        assert_eq!(kept_by(&room, "anna@ｍüller.de").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_key_that_the_release_before_has_written_meanwhile_is_renewed_again() {
    for room in Room::all().await {
        let users = room.open().await.users;
        keep(&room, &old_account("anna", "anna@müller.de")).await;
        users.renew_key(&name("anna")).await.unwrap();
        assert_eq!(kept_by(&room, "anna@xn--mller-kva.de").await, 1);
        let sql = "UPDATE users SET email_key = 'anna@müller.de', version = 2 WHERE id = 'anna'";
        assert_eq!(room.execute(sql).await, 1);
        assert_eq!(owner(&users, "anna@müller.de").await.as_deref(), Some("anna"));
        assert_ne!(users.renew_key(&name("anna")).await.unwrap(), KeyRenewal::Taken);
        assert_eq!(kept_by(&room, "anna@xn--mller-kva.de").await, 1);
        assert_eq!(owner(&users, "anna@xn--mller-kva.de").await.as_deref(), Some("anna"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_several_instances_renew_keys_at_once() {
    for room in Room::all().await {
        let instances = [room.open().await.users, room.open().await.users];
        let ids: Vec<_> = (0..4).map(|n| format!("user-{n}")).collect();
        for id in &ids {
            keep(&room, &old_account(id, &format!("{id}@müller.de"))).await;
        }
        let mut renewals = Vec::new();
        for id in &ids {
            for users in &instances {
                let (users, id) = (users.clone(), name(id));
                renewals.push(async move { users.renew_key(&id).await });
            }
        }
        for renewal in join_all(renewals).await {
            assert_ne!(renewal.unwrap(), KeyRenewal::Taken);
        }
        for id in &ids {
            for domain in ["müller.de", "xn--mller-kva.de"] {
                let found = owner(&instances[0], &format!("{id}@{domain}")).await;
                assert_eq!(found.as_ref(), Some(id), "{domain}");
            }
        }
    }
}
