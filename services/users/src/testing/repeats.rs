//! What every store of sessions must do with tokens that come again: for a moment their answer is given once more (D9).

use std::sync::Arc;

use time::Duration;

use super::accounts::{NOW, active, create, open, presented, renewed, repeatable, session_id, token};
use crate::domain::{TokenDigest, TokenSalt};
use crate::ports::{Renewal, SessionStore, Successor, UserStore};

/// The successor that was stored as [`repeatable`].
fn successor(n: u8, seconds: i64) -> Successor {
    let expire_time = NOW + Duration::seconds(seconds);
    Successor { digest: TokenDigest([n; 32]), salt: TokenSalt([n; 16]), expire_time }
}

pub(super) async fn d9_a_token_gives_the_same_successor_again_while_that_is_unused(
    store: &(impl UserStore + SessionStore),
) {
    let anna = create(store, "anna").await;
    open(store, &anna, token(1, 60)).await;
    assert_eq!(store.renew(presented(&anna, 1), repeatable(2, 60), NOW).await.unwrap(), renewed(&anna, 1));
    let just = NOW + Duration::seconds(30) - Duration::microseconds(1);
    for (n, now) in [(3, NOW), (4, just)] {
        // What would have followed upon it this time is not stored.
        let repeated = store.renew(presented(&anna, 1), repeatable(n, 90), now).await.unwrap();
        assert_eq!(repeated, Renewal::Repeated(active(&anna, 1), successor(2, 60)), "{n}");
        assert_eq!(store.renew(presented(&anna, n), token(9, 60), now).await.unwrap(), Renewal::Unknown, "{n}");
    }
    assert_eq!(store.renew(presented(&anna, 2), repeatable(5, 60), just).await.unwrap(), renewed(&anna, 1));
    // Its successor was used: who comes with it now has a copy.
    assert_eq!(
        store.renew(presented(&anna, 1), repeatable(6, 60), just).await.unwrap(),
        Renewal::Reused(anna.user.clone())
    );
    for n in [2, 5, 6] {
        assert_eq!(store.renew(presented(&anna, n), token(9, 60), NOW).await.unwrap(), Renewal::Unknown, "{n}");
    }
}

pub(super) async fn d9_a_token_that_comes_again_too_late_ends_the_session(store: &(impl UserStore + SessionStore)) {
    let anna = create(store, "anna").await;
    // By the time; because its successor has expired; and since it was told that it gives nothing again.
    let cases = [(repeatable(2, 600), 30), (repeatable(12, 10), 10), (token(22, 600), 0)];
    for (n, (next, seconds)) in [1, 11, 21].into_iter().zip(cases) {
        open(store, &anna, token(n, 600)).await;
        assert_eq!(store.renew(presented(&anna, n), next, NOW).await.unwrap(), renewed(&anna, n));
        let late = NOW + Duration::seconds(seconds);
        let reused = store.renew(presented(&anna, n), repeatable(99, 600), late).await.unwrap();
        assert_eq!(reused, Renewal::Reused(anna.user.clone()), "{n}");
        assert_eq!(store.renew(presented(&anna, n + 1), token(99, 600), NOW).await.unwrap(), Renewal::Unknown, "{n}");
    }
}

pub(super) async fn d9_racing_renewals_of_one_token_get_one_successor<S: UserStore + SessionStore>(store: Arc<S>) {
    let anna = create(&*store, "anna").await;
    open(&*store, &anna, token(1, 60)).await;
    let racers: Vec<_> = (100..120)
        .map(|n| {
            let (store, presented) = (store.clone(), presented(&anna, 1));
            tokio::spawn(async move { (n, store.renew(presented, repeatable(n, 60), NOW).await.unwrap()) })
        })
        .collect();
    let (mut first, mut repeated) = (None, Vec::new());
    for racer in racers {
        match racer.await.unwrap() {
            (n, Renewal::Renewed(session)) => assert_eq!((first.replace(n), session), (None, active(&anna, 1))),
            (_, Renewal::Repeated(_, successor)) => repeated.push(successor),
            (n, renewal) => panic!("{n}: {renewal:?}"),
        }
    }
    let first = first.unwrap();
    assert_eq!(repeated, vec![successor(first, 60); 19]);
    assert_eq!(store.renew(presented(&anna, first), token(2, 60), NOW).await.unwrap(), renewed(&anna, 1));
}

pub(super) async fn d9_a_use_of_the_successor_and_a_repeat_that_race_are_put_in_order<S>(store: Arc<S>)
where
    S: UserStore + SessionStore,
{
    let anna = create(&*store, "anna").await;
    for round in 0..10 {
        let [first, second, third, other] = [0, 1, 2, 3].map(|n| 4 * round + n + 1);
        open(&*store, &anna, token(first, 60)).await;
        store.renew(presented(&anna, first), repeatable(second, 60), NOW).await.unwrap();
        let (one, two) = (store.clone(), store.clone());
        let (use_it, repeat_it) = (presented(&anna, second), presented(&anna, first));
        let used = tokio::spawn(async move { one.renew(use_it, repeatable(third, 60), NOW).await.unwrap() });
        let repeated = tokio::spawn(async move { two.renew(repeat_it, repeatable(other, 60), NOW).await.unwrap() });
        let (used, repeated) = (used.await.unwrap(), repeated.await.unwrap());
        // Either the repeat was first, or it was a copy's: then the session ends, before or after the use.
        match repeated {
            Renewal::Repeated(_, again) => {
                assert_eq!((again, used), (successor(second, 60), renewed(&anna, first)), "{round}");
            }
            Renewal::Reused(_) => {
                assert_eq!(used, renewed(&anna, first), "{round}");
                let next = store.renew(presented(&anna, third), token(99, 60), NOW).await.unwrap();
                assert_eq!(next, Renewal::Unknown, "{round}: {}", session_id(first));
            }
            other => panic!("{round}: {other:?}"),
        }
    }
}
