//! What every store of sessions must do.

use std::sync::Arc;

use time::Duration;
use uuid::Uuid;

use super::accounts::{NOW, change, create, delete, open, presented, renewed, token};
use crate::domain::{Change, PasswordHash};
use crate::ports::{NewSession, PresentedToken, Renewal, SessionStore, UserStore};

pub(super) async fn a_session_opens_for_the_password_that_was_verified(store: &(impl UserStore + SessionStore)) {
    let mut anna = create(store, "anna").await;
    let attempt = |n: u8, verified: &PasswordHash| NewSession {
        id: Uuid::from_bytes([n; 16]),
        create_time: NOW,
        user: anna.user.name.clone(),
        verified: verified.clone(),
        token: token(n, 60),
    };
    let (right, wrong) = (attempt(1, &anna.password), attempt(2, &PasswordHash::new("$other")));
    let late = attempt(3, &PasswordHash::new("$new"));
    let unknown = NewSession { user: "users/nobody".parse().unwrap(), ..attempt(4, &anna.password) };
    assert!(store.open(right).await.unwrap());
    for refused in [wrong, unknown] {
        let presented = PresentedToken { user: Some(refused.user.clone()), digest: refused.token.digest };
        assert!(!store.open(refused).await.unwrap());
        assert_eq!(store.renew(presented, token(9, 60), NOW).await.unwrap(), Renewal::Unknown);
    }
    assert_eq!(store.renew(presented(&anna, 1), token(5, 60), NOW).await.unwrap(), renewed(&anna, 1));
    anna.user = change(store, &anna, Change { password: Some(PasswordHash::new("$new")), ..Change::default() }).await;
    delete(store, &anna).await;
    assert!(!store.open(late).await.unwrap(), "a deleted account can't sign in");
}

pub(super) async fn a_token_is_good_once_and_its_copy_ends_the_session(store: &(impl UserStore + SessionStore)) {
    let anna = create(store, "anna").await;
    open(store, &anna, token(1, 60)).await;
    open(store, &anna, token(10, 60)).await;
    assert_eq!(store.renew(presented(&anna, 1), token(2, 60), NOW).await.unwrap(), renewed(&anna, 1));
    assert_eq!(store.renew(presented(&anna, 2), token(3, 60), NOW).await.unwrap(), renewed(&anna, 1));
    let reused = Renewal::Reused(anna.user.clone());
    assert_eq!(store.renew(presented(&anna, 1), token(4, 60), NOW).await.unwrap(), reused);
    // The last token and the one that the copy would have got are as good as unknown.
    for n in [1, 2, 3, 4] {
        assert_eq!(store.renew(presented(&anna, n), token(5, 60), NOW).await.unwrap(), Renewal::Unknown, "{n}");
    }
    // Another session of the account goes on.
    assert_eq!(store.renew(presented(&anna, 10), token(11, 60), NOW).await.unwrap(), renewed(&anna, 10));
}

pub(super) async fn a_token_is_only_its_owners(store: &(impl UserStore + SessionStore)) {
    let (anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    open(store, &anna, token(1, 60)).await;
    open(store, &bert, token(2, 60)).await;
    // What nobody was given is unknown, whoever is said to have it.
    for owner in [Some(anna.user.name.clone()), Some("users/nobody".parse().unwrap()), None] {
        let unknown = PresentedToken { user: owner, digest: token(9, 0).digest };
        store.end(unknown.clone()).await.unwrap();
        assert_eq!(store.renew(unknown, token(10, 60), NOW).await.unwrap(), Renewal::Unknown);
    }
    store.end(presented(&anna, 1)).await.unwrap();
    assert_eq!(store.renew(presented(&anna, 1), token(3, 60), NOW).await.unwrap(), Renewal::Unknown);
    assert_eq!(store.renew(presented(&bert, 2), token(4, 60), NOW).await.unwrap(), renewed(&bert, 2));
}

pub(super) async fn an_expired_token_is_refused(store: &(impl UserStore + SessionStore)) {
    let anna = create(store, "anna").await;
    open(store, &anna, token(1, 60)).await;
    let late = NOW + Duration::seconds(60);
    assert_eq!(store.renew(presented(&anna, 1), token(2, 120), late).await.unwrap(), Renewal::Expired);
    let just = late - Duration::microseconds(1);
    assert_eq!(store.renew(presented(&anna, 1), token(2, 120), just).await.unwrap(), renewed(&anna, 1));
}

pub(super) async fn a_session_is_ended_by_any_of_its_tokens(store: &(impl UserStore + SessionStore)) {
    let anna = create(store, "anna").await;
    open(store, &anna, token(1, 60)).await;
    open(store, &anna, token(10, 60)).await;
    store.renew(presented(&anna, 1), token(2, 60), NOW).await.unwrap();
    for _ in 0..2 {
        store.end(presented(&anna, 1)).await.unwrap();
        assert_eq!(store.renew(presented(&anna, 2), token(3, 60), NOW).await.unwrap(), Renewal::Unknown);
    }
    let other = store.renew(presented(&anna, 10), token(11, 60), NOW).await.unwrap();
    assert_eq!(other, renewed(&anna, 10));
}

pub(super) async fn a_new_password_and_a_deletion_end_the_sessions_of_one_account(
    store: &(impl UserStore + SessionStore),
) {
    let (mut anna, bert) = (create(store, "anna").await, create(store, "bert").await);
    open(store, &anna, token(1, 600)).await;
    open(store, &anna, token(2, 600)).await;
    open(store, &bert, token(3, 600)).await;
    change(store, &anna, Change { display_name: Some("New".parse().unwrap()), ..Change::default() }).await;
    assert!(matches!(store.renew(presented(&anna, 2), token(4, 600), NOW).await.unwrap(), Renewal::Renewed(_)));
    anna.password = PasswordHash::new("$new");
    change(store, &anna, Change { password: Some(anna.password.clone()), ..Change::default() }).await;
    for n in [1, 4] {
        assert_eq!(store.renew(presented(&anna, n), token(9, 600), NOW).await.unwrap(), Renewal::Unknown, "{n}");
    }
    open(store, &anna, token(5, 600)).await;
    delete(store, &anna).await;
    assert_eq!(store.renew(presented(&anna, 5), token(9, 600), NOW).await.unwrap(), Renewal::Unknown);
    let other = store.renew(presented(&bert, 3), token(6, 600), NOW).await.unwrap();
    assert_eq!(other, renewed(&bert, 3));
}

pub(super) async fn what_has_expired_is_dropped_in_bounded_steps(store: &(impl UserStore + SessionStore)) {
    let anna = create(store, "anna").await;
    for n in 1..=5 {
        open(store, &anna, token(n, 60)).await;
    }
    open(store, &anna, token(10, 60)).await;
    store.renew(presented(&anna, 10), token(11, 600), NOW).await.unwrap();
    assert!(!store.prune(NOW, 2).await.unwrap(), "nothing has expired yet");
    let late = NOW + Duration::seconds(60);
    let mut steps = 1;
    while store.prune(late, 2).await.unwrap() {
        steps += 1;
        assert!(steps < 20, "it comes to an end");
    }
    assert!(steps >= 3, "{steps} steps of two can't drop five sessions");
    for n in 1..=5 {
        assert_eq!(store.renew(presented(&anna, n), token(20, 600), NOW).await.unwrap(), Renewal::Unknown, "{n}");
    }
    // A used token that has expired is forgotten; its session goes on.
    assert_eq!(store.renew(presented(&anna, 10), token(20, 600), NOW).await.unwrap(), Renewal::Unknown);
    let live = store.renew(presented(&anna, 11), token(12, 600), late).await.unwrap();
    assert_eq!(live, renewed(&anna, 10));
}

pub(super) async fn of_racing_renewals_one_wins_and_the_session_ends<S: UserStore + SessionStore>(store: Arc<S>) {
    let anna = create(&*store, "anna").await;
    open(&*store, &anna, token(1, 60)).await;
    let racers: Vec<_> = (100..120)
        .map(|n| {
            let store = store.clone();
            let presented = presented(&anna, 1);
            tokio::spawn(async move { store.renew(presented, token(n, 60), NOW).await.unwrap() })
        })
        .collect();
    let mut renewals = Vec::new();
    for racer in racers {
        renewals.push(racer.await.unwrap());
    }
    let count = |wanted: &dyn Fn(&Renewal) -> bool| renewals.iter().filter(|renewal| wanted(renewal)).count();
    assert_eq!(count(&|renewal| matches!(renewal, Renewal::Renewed(_))), 1);
    assert_eq!(count(&|renewal| matches!(renewal, Renewal::Reused(_))), 1);
    assert_eq!(count(&|renewal| matches!(renewal, Renewal::Unknown)), 18);
    for n in 100..120 {
        assert_eq!(store.renew(presented(&anna, n), token(99, 60), NOW).await.unwrap(), Renewal::Unknown, "{n}");
    }
}
