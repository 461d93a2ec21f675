//! Two instances that write at once: what the statements guard (E5).

use meshwork_users::adapters::stores::Stores;
use meshwork_users::domain::{Change, User, UserError};
use meshwork_users::ports::{ChangeError, Renewal};

use crate::people::{NOW, account, name, presented, session, token};
use crate::rooms::Room;

/// A store that two processes have open.
async fn twins(room: &Room) -> [Stores; 2] {
    [room.open().await, room.open().await]
}

/// What comes of twenty renamings of anna at once by both.
async fn rename_at_once(both: &[Stores; 2], expected: Option<i64>) -> Vec<Result<User, ChangeError>> {
    let race: Vec<_> = (0..20)
        .map(|at| {
            let users = both[at % 2].users.clone();
            let display_name = Some(format!("Anna {at}").parse().unwrap());
            let change = Change { display_name, ..Change::default() };
            tokio::spawn(async move {
                users.change(&name("anna"), Box::new(move |user| user.change(change.clone(), expected, NOW))).await
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for change in race {
        outcomes.push(change.await.unwrap());
    }
    outcomes
}

/// The versions that were announced of anna.
async fn told(stores: &Stores) -> Vec<i64> {
    let events = stores.history.read_stream("users/anna", 0, 100).await.unwrap();
    events.iter().map(|event| event.version).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_of_changes_of_one_version_by_two_writers_one_is_made() {
    for room in Room::all().await {
        let both = twins(&room).await;
        both[0].users.create(account("anna"), None).await.unwrap();
        let (made, refused): (Vec<_>, Vec<_>) =
            rename_at_once(&both, Some(1)).await.into_iter().partition(|outcome| outcome.is_ok());
        assert_eq!(made.len(), 1, "{made:?}");
        for refused in refused {
            let stale = UserError::VersionMismatch { name: name("anna"), expected: 1, actual: 2 };
            assert!(matches!(&refused, Err(ChangeError::Refused(error)) if *error == stale), "{refused:?}");
        }
        assert_eq!(told(&both[1]).await, [1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_of_changes_of_any_version_by_two_writers_none_is_lost() {
    for room in Room::all().await {
        let both = twins(&room).await;
        both[0].users.create(account("anna"), None).await.unwrap();
        let mut versions: Vec<_> =
            rename_at_once(&both, None).await.into_iter().map(|outcome| outcome.unwrap().version).collect();
        versions.sort_unstable();
        assert_eq!(versions, (2..=21).collect::<Vec<_>>());
        assert_eq!(told(&both[1]).await, (1..=21).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_of_renewals_with_one_token_by_two_writers_one_wins_and_the_session_ends() {
    for room in Room::all().await {
        let both = twins(&room).await;
        both[0].users.create(account("anna"), None).await.unwrap();
        assert!(both[0].sessions.open(session("anna", 1)).await.unwrap());
        let race: Vec<_> = (100..120)
            .map(|n: u8| {
                let sessions = both[usize::from(n % 2)].sessions.clone();
                tokio::spawn(async move { sessions.renew(presented("anna", 1), token(n), NOW).await.unwrap() })
            })
            .collect();
        let (mut won, mut ended) = (0, 0);
        for renewal in race {
            match renewal.await.unwrap() {
                Renewal::Renewed(_) => won += 1,
                Renewal::Reused(_) => ended += 1,
                renewal => assert_eq!(renewal, Renewal::Unknown),
            }
        }
        assert_eq!((won, ended), (1, 1));
        for n in 100..120 {
            let renewal = both[1].sessions.renew(presented("anna", n), token(1), NOW).await.unwrap();
            assert_eq!(renewal, Renewal::Unknown, "{n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_outlives_a_new_password_however_close_they_come() {
    for room in Room::all().await {
        let [stores, other] = twins(&room).await;
        stores.users.create(account("anna"), None).await.unwrap();
        for n in 0..20_u8 {
            let new = if n % 2 == 0 { "$other" } else { "$hash" };
            let opening = async {
                // Its session is of the password that is being changed, or of the new one.
                other.sessions.open(session("anna", n)).await.unwrap()
            };
            let anna = name("anna");
            let (_, changed) = tokio::join!(opening, stores.users.change(&anna, crate::people::to_password(new)));
            changed.unwrap();
            let renewal = stores.sessions.renew(presented("anna", n), token(200), NOW).await.unwrap();
            let is_current = n % 2 == 1;
            assert!(is_current || renewal == Renewal::Unknown, "{n}: {renewal:?}");
        }
    }
}
