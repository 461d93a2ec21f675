//! A view that has diverged from its event store, which was put back to an older copy: it stands still, says so, and is
//! healed (E3).

use meshwork_aip::page::PageRequest;
use meshwork_chassis::{CancellationToken, Principal, Role};
use meshwork_events::Progress;
use meshwork_eventstore::EventStore;
use meshwork_eventstore::projection::{Applied, ApplyMode, Checkpoint, ProjectionError, VersionState};
use meshwork_orders::ports::{OrderFilter, OrderStore as _};
use meshwork_orders::testing::{append, created, folded, listed, order_name, second, shown};
use tokio::task::JoinHandle;

use crate::projections::{run, states, told};
use crate::rooms::{PATIENCE, Rooms, both, embedded, fill, many, until};

/// A projector at work, and what it tells.
struct Following {
    progress: Progress,
    shutdown: CancellationToken,
    projector: JoinHandle<()>,
}

impl Following {
    fn begin(rooms: &Rooms) -> Self {
        let (progress, shutdown) = (Progress::new(rooms.events.partitions()), CancellationToken::new());
        let projector = rooms.project_by(rooms.view.clone(), progress.clone(), &shutdown);
        Self { progress, shutdown, projector }
    }

    /// What stands in its way, once something does.
    async fn problem(&self) -> String {
        until("a projector that stands still", async || self.progress.problem().is_some()).await;
        self.progress.problem().unwrap()
    }

    /// Waits until nothing stands in its way.
    async fn goes_on(&self) {
        until("a projector that goes on", async || self.progress.problem().is_none()).await;
    }

    async fn end(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.projector).await.unwrap().unwrap();
    }
}

/// Whether a list says that it may lack what its caller has seen, which is all of an order.
async fn is_stale(rooms: &Rooms, following: &Following, id: &str) -> bool {
    let order = folded(rooms.store.as_ref(), &order_name(id)).await.unwrap();
    let (_, seen) = rooms.store.order_at(&order.name, order.version).await.unwrap().unwrap();
    let staff = Principal::User { name: "users/sam".parse().unwrap(), role: Role::Staff, is_key: false };
    let page = PageRequest { size: 10, after: None };
    let app = rooms.app(&following.progress);
    app.list_orders(&staff, OrderFilter::default(), &page, Some(seen)).await.unwrap().stale
}

/// Changes the events behind their store's back.
async fn tamper(rooms: &Rooms, sql: &'static str) {
    let db = meshwork_sql::Sqlite::open(&rooms.place.events("events.db"), &[]).await.unwrap();
    db.write_once::<_, meshwork_sql::Error, _>(move |connection| {
        Box::pin(async move {
            sqlx::query(sql).execute(connection).await?;
            Ok(())
        })
    })
    .await
    .unwrap();
}

/// Shows that the projector goes on: an order that is placed is listed.
async fn assert_followed(rooms: &Rooms) {
    append(rooms.store.as_ref(), "later", "a", &[created("anna")], second(3)).await.unwrap();
    shown(rooms.store.as_ref(), rooms.lists.as_ref(), "later").await;
}

#[tokio::test]
async fn e3_a_projector_whose_store_has_lost_commits_says_so_and_goes_on_once_they_are_back() {
    for rooms in both(1).await {
        fill(rooms.store.as_ref(), &many(5)).await;
        let following = Following::begin(&rooms);
        rooms.caught_up().await;
        tamper(&rooms, "CREATE TABLE away AS SELECT * FROM commits WHERE position > 6").await;
        tamper(&rooms, "DELETE FROM commits WHERE position > 6").await;
        let problem = following.problem().await;
        assert!(problem.contains("ends at commit 6 of partition 0, and 10 were applied"), "{problem}");
        assert!(problem.contains("put the right one back, or rebuild"), "{problem}");
        let status = rooms.projections().status().await.unwrap();
        let partition = status.versions[0].partitions[0];
        assert_eq!((partition.position, partition.head), (10, 6));
        let [told] = status.versions[0].divergences.as_slice() else { panic!("{status:?}") };
        assert!(told.contains("ends at commit 6 of partition 0, and 10 were applied"), "{told}");
        tamper(&rooms, "INSERT INTO commits SELECT * FROM away").await;
        following.goes_on().await;
        assert_followed(&rooms).await;
        following.end().await;
    }
}

#[tokio::test]
async fn e3_nothing_of_another_store_is_applied_and_the_right_one_is_followed_again() {
    for mut rooms in both(1).await {
        fill(rooms.store.as_ref(), &many(3)).await;
        let following = Following::begin(&rooms);
        rooms.caught_up().await;
        following.end().await;
        let lists = listed(rooms.lists.as_ref(), &OrderFilter::default()).await;
        let checkpoint = rooms.view.checkpoint(1, 0).await.unwrap();
        // One that has nothing in common with what was applied, and one that has gone another way since a copy was made. Both
        // have more commits than were applied.
        let others: Vec<_> = (0..8).map(|at| format!("other-{at}")).collect();
        for (file, common) in [("others.db", 0), ("copy.db", 2)] {
            rooms.put_in(file).await;
            fill(rooms.store.as_ref(), &[many(common), others.clone()].concat()).await;
            let following = Following::begin(&rooms);
            let problem = following.problem().await;
            assert!(problem.contains("commit 6 of partition 0 is not the one that was applied"), "{file}: {problem}");
            // It isn't ahead of the store, and the status tells of it all the same.
            let status = rooms.projections().status().await.unwrap();
            let [told] = status.versions[0].divergences.as_slice() else { panic!("{file}: {status:?}") };
            assert!(problem.contains(told), "{file}: {told}");
            following.end().await;
            assert_eq!(listed(rooms.lists.as_ref(), &OrderFilter::default()).await, lists, "{file}");
            assert_eq!(rooms.view.checkpoint(1, 0).await.unwrap(), checkpoint, "{file}");
        }
        rooms.put_in("events.db").await;
        let following = Following::begin(&rooms);
        assert_followed(&rooms).await;
        assert_eq!(following.progress.problem(), None);
        assert_eq!(rooms.projections().status().await.unwrap().versions[0].divergences, [""; 0]);
        following.end().await;
    }
}

#[tokio::test]
async fn e3_lists_of_a_view_that_has_diverged_are_never_called_fresh() {
    let mut rooms = embedded(1).await;
    fill(rooms.store.as_ref(), &many(2)).await;
    let following = Following::begin(&rooms);
    rooms.caught_up().await;
    assert!(!is_stale(&rooms, &following, "many-0001").await);
    following.end().await;
    rooms.put_in("copy.db").await;
    fill(rooms.store.as_ref(), &["other".to_owned()]).await;
    let following = Following::begin(&rooms);
    let problem = following.problem().await;
    assert!(problem.contains("the watchdog doesn't see its orders"), "{problem}");
    assert!(rooms.checkpoint(0).await > rooms.events.head(0).await.unwrap(), "its place was passed long ago");
    assert!(is_stale(&rooms, &following, "other").await);
    following.end().await;
    rooms.put_in("events.db").await;
    let following = Following::begin(&rooms);
    assert_followed(&rooms).await;
    assert!(!is_stale(&rooms, &following, "many-0001").await);
    following.end().await;
}

#[track_caller]
fn assert_diverged(outcome: Result<(), ProjectionError>, of: i64) {
    match outcome {
        Err(ProjectionError::Diverged { version, problem }) => {
            assert_eq!(version, of);
            assert!(problem.contains("put back to an older copy"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn e3_a_rebuild_that_accepts_differences_makes_the_view_of_the_store_there_is() {
    for mut rooms in both(2).await {
        fill(rooms.store.as_ref(), &many(20)).await;
        let following = Following::begin(&rooms);
        rooms.caught_up().await;
        rooms.projections().rebuild(false, told()).await.unwrap();
        following.end().await;

        rooms.put_in("copy.db").await;
        let ids = [many(4), vec!["new-1".to_owned(), "new-2".to_owned()]].concat();
        fill(rooms.store.as_ref(), &ids).await;
        let following = Following::begin(&rooms);
        following.problem().await;
        let projections = rooms.projections();
        assert_diverged(projections.rebuild(false, told()).await.map(drop), 2);
        assert_diverged(projections.rollback(told()).await.map(drop), 1);
        assert_diverged(projections.retry("orders/many-0000").await, 2);
        assert_eq!(states(&rooms).await, [(2, VersionState::Live), (1, VersionState::Retired)]);

        let report = projections.rebuild(true, told()).await.unwrap();
        assert_eq!((report.version, report.previous, report.commits), (3, 2, 12));
        assert_eq!((report.rows, report.differing), (22, 18), "16 orders are gone, and two are new");
        rooms.assert_view_is_exact(&ids).await;
        following.goes_on().await;
        assert_followed(&rooms).await;
        assert_diverged(projections.rollback(told()).await.map(drop), 2);
        assert_eq!(states(&rooms).await, [(3, VersionState::Live), (2, VersionState::Retired)]);
        following.end().await;
    }
}

#[tokio::test]
async fn e3_one_can_go_back_from_a_version_that_has_diverged_to_one_that_has_not() {
    let mut rooms = embedded(1).await;
    fill(rooms.store.as_ref(), &many(2)).await;
    let following = Following::begin(&rooms);
    rooms.caught_up().await;
    rooms.projections().rebuild(false, told()).await.unwrap();
    // The first version stays where it is from now on.
    fill(rooms.store.as_ref(), &["lost".to_owned()]).await;
    rooms.caught_up().await;
    following.end().await;
    rooms.put_in("copy.db").await;
    fill(rooms.store.as_ref(), &many(2)).await;
    let following = Following::begin(&rooms);
    following.problem().await;
    let report = rooms.projections().rollback(told()).await.unwrap();
    assert_eq!((report.version, report.previous), (1, 2));
    assert_eq!((report.rows, report.differing), (3, 1));
    following.goes_on().await;
    rooms.assert_view_is_exact(&many(2)).await;
    assert_followed(&rooms).await;
    following.end().await;
}

#[tokio::test]
async fn e3_the_checkpoint_of_an_earlier_release_names_its_commit_with_the_next_batch() {
    for rooms in both(1).await {
        fill(rooms.store.as_ref(), &many(3)).await;
        let commits = rooms.events.read_partition(0, 0, 10).await.unwrap();
        let applied = rooms.view.apply(1, 0, 0, commits[..4].to_vec(), ApplyMode::Park).await.unwrap();
        assert_eq!(applied, Applied::Yes);
        assert_eq!(rooms.view.checkpoint(1, 0).await.unwrap(), Checkpoint::of(&commits[3]));
        // Where it was made, and where it was moved on, by a release that leaves the column alone.
        for left in [String::new(), format!("3/{}", commits[2].identity())] {
            run(&rooms, format!("UPDATE checkpoints SET last_commit = '{left}'")).await;
            let unknown = Checkpoint { position: 4, identity: String::new() };
            assert_eq!(rooms.view.checkpoint(1, 0).await.unwrap(), unknown, "{left:?}");
        }
        let following = Following::begin(&rooms);
        rooms.caught_up().await;
        assert_eq!(rooms.view.checkpoint(1, 0).await.unwrap(), Checkpoint::of(&commits[5]));
        rooms.assert_view_is_exact(&many(3)).await;
        assert_eq!(following.progress.problem(), None);
        following.end().await;
    }
}

#[tokio::test]
async fn e3_a_store_that_ends_before_a_checkpoint_is_noticed_without_the_identity_too() {
    let mut rooms = embedded(1).await;
    fill(rooms.store.as_ref(), &many(2)).await;
    let following = Following::begin(&rooms);
    rooms.caught_up().await;
    following.end().await;
    run(&rooms, "UPDATE checkpoints SET last_commit = ''".to_owned()).await;
    rooms.put_in("empty.db").await;
    let following = Following::begin(&rooms);
    let problem = following.problem().await;
    assert!(problem.contains("ends at commit 0 of partition 0, and 4 were applied"), "{problem}");
    following.end().await;
}

#[tokio::test]
async fn e3_a_damaged_commit_at_the_checkpoint_is_no_difference() {
    let rooms = embedded(1).await;
    fill(rooms.store.as_ref(), &many(2)).await;
    let following = Following::begin(&rooms);
    rooms.caught_up().await;
    following.end().await;
    tamper(&rooms, "UPDATE commits SET command_hash = x'00' WHERE position = 4").await;
    assert!(rooms.events.read_partition(0, 3, 1).await.unwrap()[0].damage.is_some());
    let following = Following::begin(&rooms);
    assert_followed(&rooms).await;
    assert_eq!(following.progress.problem(), None);
    following.end().await;
}
