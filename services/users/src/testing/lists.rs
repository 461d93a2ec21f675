//! What every store of sessions must do with them by their names.

use meshwork_api::{SessionName, UserName};
use time::Duration;

use super::accounts::{NOW, change, create, open, presented, renewed, session_id, token};
use crate::domain::{Change, PasswordHash, User};
use crate::ports::{Account, Renewal, SessionStore, UserStore};

/// The ids of the sessions of an account at a time, read in pages of this size.
async fn listed(store: &impl SessionStore, account: &Account, size: usize, seconds: i64) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let now = NOW + Duration::seconds(seconds);
        let page = store.list_sessions(&account.user.name, size, after.as_deref(), now).await.unwrap();
        assert!(page.items.len() <= size && page.items.iter().all(|session| *session.name.user() == account.user.name));
        ids.extend(page.items.into_iter().map(|session| session.name.id().to_owned()));
        let Some(next) = page.next else { break ids };
        after = Some(next);
    }
}

pub(super) async fn sessions_are_listed_and_cut_into_pages(store: &(impl UserStore + SessionStore)) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    for n in [5, 2, 9, 1, 7] {
        open(store, &anna, token(n, 60)).await;
    }
    open(store, &anna, token(3, 10)).await;
    open(store, &bert, token(4, 60)).await;
    let all: Vec<_> = [1, 2, 3, 5, 7, 9].map(session_id).into();
    for size in [1, 2, 3, 6, 100] {
        assert_eq!(listed(store, &anna, size, 0).await, all, "{size}");
    }
    let living: Vec<_> = [1, 2, 5, 7, 9].map(session_id).into();
    assert_eq!(listed(store, &anna, 2, 10).await, living);
    assert_eq!(listed(store, &bert, 2, 0).await, [session_id(4)]);

    let at = NOW + Duration::seconds(5);
    store.renew(presented(&anna, 1), token(11, 600), at).await.unwrap();
    let page = store.list_sessions(&anna.user.name, 2, None, NOW).await.unwrap();
    let times: Vec<_> = page.items.iter().map(|session| (session.create_time, session.refresh_time)).collect();
    assert_eq!(times, [(Some(NOW), Some(at)), (Some(NOW), None)]);
    assert_eq!(page.items[0].expire_time, NOW + Duration::seconds(600));
    let nobody = UserName::new("nobody").unwrap();
    assert!(store.list_sessions(&nobody, 2, None, NOW).await.unwrap().items.is_empty());
}

pub(super) async fn a_session_is_ended_by_its_name(store: &(impl UserStore + SessionStore)) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    open(store, &anna, token(1, 60)).await;
    open(store, &anna, token(2, 60)).await;
    let name = |account: &Account, n: u8| SessionName::new(account.user.name.clone(), session_id(n)).unwrap();
    // Another's name for it, and one of none.
    for name in [name(&bert, 1), name(&anna, 9)] {
        store.revoke_session(&name).await.unwrap();
    }
    assert_eq!(listed(store, &anna, 10, 0).await, [session_id(1), session_id(2)]);
    for _ in 0..2 {
        store.revoke_session(&name(&anna, 1)).await.unwrap();
        assert_eq!(store.renew(presented(&anna, 1), token(5, 60), NOW).await.unwrap(), Renewal::Unknown);
    }
    assert_eq!(store.renew(presented(&anna, 2), token(6, 60), NOW).await.unwrap(), renewed(&anna, 2));
}

pub(super) async fn d5_a_change_keeps_the_session_that_it_was_made_in(store: &(impl UserStore + SessionStore)) {
    let mut anna = create(store, "anna").await;
    let bert = create(store, "bert").await;
    open(store, &bert, token(9, 60)).await;
    let password = Change { password: Some(PasswordHash::new("$new")), ..Change::default() };
    let email = Change { email: Some("new@example.com".parse().unwrap()), ..Change::default() };
    for (first, change) in [(1, password), (4, email)] {
        for n in first..first + 3 {
            open(store, &anna, token(n, 60)).await;
        }
        let keeps = Some(session_id(first + 1));
        let decide = move |user: &User| {
            let changed = user.change(change.clone(), None, NOW);
            changed.map(|changed| changed.map(|changed| changed.keeping(keeps.clone())))
        };
        anna.user = store.change(&anna.user.name, Box::new(decide)).await.unwrap();
        anna.password = PasswordHash::new("$new");
        assert_eq!(listed(store, &anna, 10, 0).await, [session_id(first + 1)]);
    }
    // Where none is kept, none goes on.
    change(store, &anna, Change { password: Some(PasswordHash::new("$newer")), ..Change::default() }).await;
    assert_eq!(listed(store, &anna, 10, 0).await, Vec::<String>::new());
    assert_eq!(listed(store, &bert, 10, 0).await, [session_id(9)]);
}
