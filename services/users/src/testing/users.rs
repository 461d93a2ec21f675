//! What every store of accounts must do.

use std::sync::Arc;

use meshwork_sql::Freshness;
use time::Duration;

use super::accounts::{NOW, account, change, create, created, delete, get, request};
use crate::domain::{Change, PasswordHash, Role, User, UserError};
use crate::ports::{Account, ChangeError, Creation, UserFilter, UserStore};

pub(super) async fn an_account_is_read_back(store: &impl UserStore) {
    let anna = create(store, "anna").await;
    create(store, "bert").await;
    assert_eq!(get(store, "users/anna").await, Some(anna.user.clone()));
    assert_eq!(store.find_by_email(&anna.user.email).await.unwrap(), Some(anna.clone()));
    assert_eq!(store.find_by_email(&"ANNA@Example.com".parse().unwrap()).await.unwrap(), Some(anna.clone()));
    assert_eq!(get(store, "users/nobody").await, None);
    assert_eq!(store.find_by_email(&"nobody@example.com".parse().unwrap()).await.unwrap(), None);
    let deleted = delete(store, &anna).await;
    assert_eq!(get(store, "users/anna").await, Some(deleted.clone()));
    let found = store.find_by_email(&anna.user.email).await.unwrap();
    assert_eq!(found, Some(Account { user: deleted, password: anna.password }));
}

pub(super) async fn ids_and_addresses_are_unique_and_stay_taken(store: &impl UserStore) {
    let anna = create(store, "anna").await;
    for _ in 0..2 {
        let mut same_id = account("anna");
        same_id.user.email = "other@example.com".parse().unwrap();
        assert_eq!(store.create(same_id, None).await.unwrap(), Creation::IdTaken);
        let mut same_email = account("other");
        same_email.user.email = "Anna@EXAMPLE.com".parse().unwrap();
        assert_eq!(store.create(same_email, None).await.unwrap(), Creation::EmailTaken);
        if !get(store, "users/anna").await.unwrap().is_deleted() {
            delete(store, &anna).await;
        }
    }
    assert_eq!(get(store, "users/other").await, None);
}

pub(super) async fn a_repeated_request_gets_its_first_answer(store: &impl UserStore) {
    let anna = account("anna");
    assert_eq!(store.find_creation(&request("anonymous", "r1", 1)).await.unwrap(), None);
    let first = store.create(anna.clone(), Some(request("anonymous", "r1", 1))).await.unwrap();
    assert_eq!(first, created(&anna));
    change(store, &anna, Change { password: Some(PasswordHash::new("$new")), ..Change::default() }).await;

    // The account has moved on, and what the caller made meanwhile differs: the answer does not.
    let answer = Creation::Replayed(anna.clone());
    assert_eq!(store.find_creation(&request("anonymous", "r1", 1)).await.unwrap(), Some(answer.clone()));
    let again = store.create(account("another"), Some(request("anonymous", "r1", 1))).await.unwrap();
    assert_eq!(again, answer);
    assert_eq!(get(store, "users/another").await, None);

    let other_body = request("anonymous", "r1", 2);
    assert_eq!(store.find_creation(&other_body).await.unwrap(), Some(Creation::RequestReused));
    assert_eq!(store.create(account("another"), Some(other_body)).await.unwrap(), Creation::RequestReused);
    // Two principals never share an answer.
    let other_principal = request("users/staff", "r1", 1);
    assert_eq!(store.find_creation(&other_principal).await.unwrap(), None);
    let another = account("another");
    assert_eq!(store.create(another.clone(), Some(other_principal)).await.unwrap(), created(&another));
}

pub(super) async fn a_refused_request_is_not_remembered(store: &impl UserStore) {
    create(store, "anna").await;
    let refused = store.create(account("anna"), Some(request("anonymous", "r1", 1))).await.unwrap();
    assert_eq!(refused, Creation::IdTaken);
    assert_eq!(store.find_creation(&request("anonymous", "r1", 1)).await.unwrap(), None);
    let bert = account("bert");
    assert_eq!(store.create(bert.clone(), Some(request("anonymous", "r1", 2))).await.unwrap(), created(&bert));
}

pub(super) async fn a_change_is_stored_as_it_was_decided(store: &impl UserStore) {
    let anna = create(store, "anna").await;
    let bert = create(store, "bert").await;
    let new = Change {
        email: Some("Anna.New@example.com".parse().unwrap()),
        display_name: Some("New".parse().unwrap()),
        password: Some(PasswordHash::new("$new")),
    };
    let changed = change(store, &anna, new).await;
    assert_eq!((changed.version, changed.update_time), (2, NOW + Duration::HOUR));
    let found = store.find_by_email(&"anna.new@EXAMPLE.com".parse().unwrap()).await.unwrap();
    assert_eq!(found, Some(Account { user: changed.clone(), password: PasswordHash::new("$new") }));
    assert_eq!(store.find_by_email(&anna.user.email).await.unwrap(), None);

    let unchanged = change(store, &anna, Change { display_name: Some("New".parse().unwrap()), ..Change::default() });
    assert_eq!(unchanged.await, changed);
    // Without a new password the old one stays.
    change(store, &anna, Change { display_name: Some("Newer".parse().unwrap()), ..Change::default() }).await;
    assert_eq!(store.find_by_email(&changed.email).await.unwrap().unwrap().password, PasswordHash::new("$new"));
    assert_eq!(get(store, "users/bert").await, Some(bert.user));
    // The address that became free can be had.
    let mut next = account("next");
    next.user.email = anna.user.email;
    assert_eq!(store.create(next.clone(), None).await.unwrap(), created(&next));
}

pub(super) async fn a_refused_change_leaves_everything(store: &impl UserStore) {
    let anna = create(store, "anna").await;
    create(store, "bert").await;
    let nobody = "users/nobody".parse().unwrap();
    let missing = store.change(&nobody, Box::new(|user| user.delete(None, NOW).map(Some))).await;
    assert!(matches!(missing, Err(ChangeError::NotFound)), "{missing:?}");
    let stale = store.change(&anna.user.name, Box::new(|user| user.delete(Some(2), NOW).map(Some))).await;
    assert!(matches!(stale, Err(ChangeError::Refused(UserError::VersionMismatch { expected: 2, actual: 1, .. }))));
    let taken = Change {
        email: Some("BERT@example.com".parse().unwrap()),
        display_name: Some("New".parse().unwrap()),
        password: Some(PasswordHash::new("$new")),
    };
    let taken = store.change(&anna.user.name, Box::new(move |user| user.change(taken.clone(), None, NOW))).await;
    assert!(matches!(taken, Err(ChangeError::EmailTaken)), "{taken:?}");
    assert_eq!(store.find_by_email(&anna.user.email).await.unwrap(), Some(anna));
}

pub(super) async fn lists_are_filtered_and_cut_into_pages(store: &impl UserStore) {
    let mut expected: Vec<User> = Vec::new();
    for n in 0..10_i64 {
        let mut account = account(&format!("user-{n}"));
        // Three of a time, so that the id decides among them; made in another order than listed.
        account.user.create_time = NOW - Duration::microseconds(n / 3);
        account.user.role = if n % 2 == 0 { Role::Customer } else { Role::Staff };
        assert_eq!(store.create(account.clone(), None).await.unwrap(), created(&account));
        if n == 4 {
            account.user = delete(store, &account).await;
        }
        expected.push(account.user);
    }
    expected.sort_by(|a, b| (a.create_time, a.name.id()).cmp(&(b.create_time, b.name.id())));
    let all = UserFilter { show_deleted: true, ..UserFilter::default() };
    let staff = UserFilter { role: Some(Role::Staff), ..UserFilter::default() };
    let deleted = UserFilter { email: Some("USER-4@example.com".parse().unwrap()), ..all.clone() };
    let hidden = UserFilter { email: deleted.email.clone(), ..UserFilter::default() };
    let neither = UserFilter { role: Some(Role::Staff), ..deleted.clone() };
    type Holds = fn(&User) -> bool;
    let filters: [(UserFilter, Holds); 6] = [
        (UserFilter::default(), |user| !user.is_deleted()),
        (all, |_| true),
        (staff, |user| user.role == Role::Staff),
        (deleted, User::is_deleted),
        (hidden, |_| false),
        (neither, |_| false),
    ];
    for (filter, holds) in filters {
        let expected: Vec<_> = expected.iter().filter(|user| holds(user)).cloned().collect();
        for size in [1, 3, 100] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let listed = store.list(&filter, size, after.as_ref(), Freshness::Latest).await.unwrap();
                assert_eq!(listed.unreachable, Vec::<String>::new());
                let page = listed.page;
                assert!(page.items.len() <= size);
                found.extend(page.items);
                let Some(next) = page.next else { break };
                assert!(found.len() < expected.len(), "an empty page follows: {filter:?}, {size}");
                after = Some(next.parse().unwrap());
            }
            assert_eq!(found, expected, "{filter:?}, {size}");
        }
    }
}

pub(super) async fn an_address_goes_from_one_account_to_another_and_back(store: &impl UserStore) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    let to = |email: &str| Change { email: Some(email.parse().unwrap()), ..Change::default() };
    change(store, &anna, to("away@example.com")).await;
    change(store, &bert, to("anna@example.com")).await;
    let back = to("Anna@example.com");
    let taken = store.change(&anna.user.name, Box::new(move |user| user.change(back.clone(), None, NOW))).await;
    assert!(matches!(taken, Err(ChangeError::EmailTaken)), "{taken:?}");
    change(store, &bert, to("bert@example.com")).await;
    let back = change(store, &anna, to("Anna@example.com")).await;
    assert_eq!((back.email.as_str(), back.version), ("Anna@example.com", 3));
    for (email, owner) in
        [("anna@example.com", Some("anna")), ("bert@example.com", Some("bert")), ("away@example.com", None)]
    {
        let found = store.find_by_email(&email.parse().unwrap()).await.unwrap();
        assert_eq!(found.as_ref().map(|account| account.user.name.id()), owner, "{email}");
    }
}

pub(super) async fn of_racing_changes_to_one_address_one_is_made<S: UserStore>(store: Arc<S>) {
    let mut racers = Vec::new();
    for n in 0..10 {
        let account = create(&*store, &format!("user-{n}")).await;
        let store = store.clone();
        racers.push(tokio::spawn(async move {
            let change = Change { email: Some("one@example.com".parse().unwrap()), ..Change::default() };
            store.change(&account.user.name, Box::new(move |user| user.change(change.clone(), None, NOW))).await
        }));
    }
    let mut made = Vec::new();
    for racer in racers {
        match racer.await.unwrap() {
            Ok(user) => made.push(user),
            Err(ChangeError::EmailTaken) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    let found = store.find_by_email(&"one@example.com".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(found.user, made[0]);
}

pub(super) async fn of_racing_creations_one_wins<S: UserStore>(store: Arc<S>) {
    let race = |request_id: Option<&'static str>, email: &'static str| {
        let racers: Vec<_> = (0..20)
            .map(|n| {
                let store = store.clone();
                let mut account = account(&format!("{}-{n}", request_id.unwrap_or("plain")));
                account.user.email = email.parse().unwrap();
                let request = request_id.map(|id| request("anonymous", id, 1));
                tokio::spawn(async move { store.create(account, request).await.unwrap() })
            })
            .collect();
        async {
            let mut creations = Vec::new();
            for racer in racers {
                creations.push(racer.await.unwrap());
            }
            creations
        }
    };
    let plain = race(None, "anna@example.com").await;
    assert_eq!(plain.iter().filter(|creation| matches!(creation, Creation::Created(_))).count(), 1);
    assert_eq!(plain.iter().filter(|creation| **creation == Creation::EmailTaken).count(), 19);

    let repeated = race(Some("request"), "bert@example.com").await;
    assert_eq!(repeated.iter().filter(|creation| matches!(creation, Creation::Created(_))).count(), 1);
    let stored = store.find_by_email(&"bert@example.com".parse().unwrap()).await.unwrap().unwrap();
    let answer = Creation::Replayed(stored);
    assert_eq!(repeated.iter().filter(|creation| **creation == answer).count(), 19);
}

pub(super) async fn of_racing_creations_with_one_id_one_wins<S: UserStore>(store: Arc<S>) {
    let racers: Vec<_> = (0..20)
        .map(|n| {
            let mut account = Account { password: PasswordHash::none(), ..account("anna") };
            account.user.email = format!("{n}@foreign.invalid").parse().unwrap();
            let store = store.clone();
            tokio::spawn(async move { store.create(account, None).await.unwrap() })
        })
        .collect();
    let mut created = Vec::new();
    for racer in racers {
        match racer.await.unwrap() {
            Creation::Created(user) => created.push(user),
            other => assert_eq!(other, Creation::IdTaken),
        }
    }
    let [winner] = created.try_into().unwrap();
    let stored = store.find_account(&winner.name).await.unwrap().unwrap();
    assert!(stored.password.is_none());
    assert_eq!(stored.user, winner);
    // Who comes too late leaves no address taken.
    for n in 0..20 {
        let found = store.find_by_email(&format!("{n}@foreign.invalid").parse().unwrap()).await.unwrap();
        assert_eq!(found.is_some(), format!("{n}@foreign.invalid") == winner.email.as_str());
    }
}

pub(super) async fn of_racing_changes_each_sees_the_one_before<S: UserStore>(store: Arc<S>) {
    let anna = create(&*store, "anna").await;
    let race = |expected: Option<i64>| {
        let racers: Vec<_> = (0..20)
            .map(|_| {
                let (store, name) = (store.clone(), anna.user.name.clone());
                let change = Change { password: Some(PasswordHash::new("$new")), ..Change::default() };
                let decide = Box::new(move |user: &User| user.change(change.clone(), expected, NOW));
                tokio::spawn(async move { store.change(&name, decide).await.is_ok() })
            })
            .collect();
        async {
            let mut wins = 0;
            for racer in racers {
                wins += usize::from(racer.await.unwrap());
            }
            wins
        }
    };
    assert_eq!(race(Some(1)).await, 1);
    assert_eq!(race(None).await, 20);
    assert_eq!(get(&*store, "users/anna").await.unwrap().version, 22);
}
