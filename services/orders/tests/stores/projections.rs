//! The lists in versions: made anew beside the live ones, compared, switched, and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork_aip::page::PageRequest;
use meshwork_chassis::CancellationToken;
use meshwork_chassis::consistency::Freshness;
use meshwork_eventstore::projection::{
    Applied, ApplyMode, Phase, ProjectionError, ProjectionProgress, Retried, Taken, VersionState,
};
use meshwork_eventstore::{EventStore, partition_of};
use meshwork_orders::adapters::parked;
use meshwork_orders::domain::OrderEvent;
use meshwork_orders::ports::{CommandKey, OrderFilter, OrderStore as _};
use meshwork_orders::testing::{append, created, folded, listed, order_name, second, shown};
use tokio::sync::watch;

use crate::rooms::{PATIENCE, Place, Rooms, both, fill, many, open, until};

pub(crate) fn told() -> watch::Sender<ProjectionProgress> {
    watch::Sender::new(ProjectionProgress::default())
}

pub(crate) async fn states(rooms: &Rooms) -> Vec<(i64, VersionState)> {
    rooms.view.versions().await.unwrap()
}

#[tokio::test]
async fn es_6_a_rebuild_makes_an_equal_version_beside_the_live_one_and_one_can_go_back() {
    for rooms in both(2).await {
        let ids = many(300);
        fill(rooms.store.as_ref(), &ids).await;
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        rooms.caught_up().await;
        let projections = rooms.projections();
        assert!(matches!(projections.rollback(told()).await, Err(ProjectionError::NothingToRollBack)));

        let (sender, mut progress) = watch::channel(ProjectionProgress::default());
        let report = projections.rebuild(false, sender).await.unwrap();
        assert_eq!((report.version, report.previous, report.commits), (2, 1, 600));
        assert_eq!((report.rows, report.differing), (300, 0));
        assert_eq!(progress.borrow_and_update().phase, Phase::Switching);
        assert_eq!(states(&rooms).await, [(2, VersionState::Live), (1, VersionState::Retired)]);
        rooms.assert_view_is_exact(&ids).await;

        // The projector goes on with the version that is live now.
        append(rooms.store.as_ref(), "later", "a", &[created("anna")], second(3)).await.unwrap();
        shown(rooms.store.as_ref(), rooms.lists.as_ref(), "later").await;
        let report = projections.rollback(told()).await.unwrap();
        assert_eq!((report.version, report.previous, report.commits, report.differing), (1, 2, 1, 0));
        assert_eq!(states(&rooms).await, [(2, VersionState::Retired), (1, VersionState::Live)]);
        shown(rooms.store.as_ref(), rooms.lists.as_ref(), "later").await;
        let status = projections.status().await.unwrap();
        assert_eq!(status.last_report, Some(report));
        assert_eq!(status.versions.len(), 2);

        // The next rebuild takes the place of the retired one.
        projections.rebuild(false, told()).await.unwrap();
        assert_eq!(states(&rooms).await, [(3, VersionState::Live), (1, VersionState::Retired)]);
        assert_eq!(rooms.view.checkpoint(2, 0).await.unwrap().position, 0, "nothing is left of it");
        shutdown.cancel();
    }
}

/// Changes a row of the live version behind its back.
async fn damage(rooms: &Rooms, id: &str) {
    run(rooms, format!("UPDATE orders SET state = 'PENDING' WHERE view_version = 1 AND id = '{id}'")).await;
}

#[tokio::test]
async fn es_6_rows_that_differ_end_the_rebuild_unless_they_are_accepted() {
    for rooms in both(1).await {
        fill(rooms.store.as_ref(), &many(5)).await;
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        rooms.caught_up().await;
        damage(&rooms, "many-0003").await;
        let projections = rooms.projections();
        let Err(ProjectionError::Differs(report)) = projections.rebuild(false, told()).await else {
            panic!("the difference was not seen")
        };
        assert_eq!((report.rows, report.differing), (5, 1));
        assert_eq!(report.differences[0].key, "orders/many-0003");
        assert_ne!(report.differences[0].live, report.differences[0].built);
        assert_eq!(states(&rooms).await, [(1, VersionState::Live)], "what was built is gone");
        let report = projections.rebuild(true, told()).await.unwrap();
        assert_eq!(report.differing, 1);
        rooms.assert_view_is_exact(&many(5)).await;
        shutdown.cancel();
    }
}

#[tokio::test]
async fn es_6_a_rebuild_is_strict_but_for_what_is_parked_already() {
    for rooms in both(1).await {
        append(rooms.store.as_ref(), "sound", "a", &[created("anna")], second(1)).await.unwrap();
        append(rooms.store.as_ref(), "bad", "a", &[created("anna")], second(1)).await.unwrap();
        rooms.plant("bad", "b", "order_confirmed", &[0xff]).await;
        // Nobody has parked it yet: the live version has seen nothing.
        match rooms.projections().rebuild(false, told()).await {
            Err(ProjectionError::Poisoned { stream, reason }) => {
                assert_eq!(stream, "orders/bad");
                assert!(reason.contains("order_confirmed"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(states(&rooms).await, [(1, VersionState::Live)]);
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        rooms.caught_up().await;
        let report = rooms.projections().rebuild(false, told()).await.unwrap();
        assert_eq!((report.rows, report.differing), (1, 0));
        let status = rooms.projections().status().await.unwrap();
        let parked: Vec<_> = status.versions.iter().flat_map(|version| &version.parked).collect();
        assert_eq!(parked.len(), 2, "in either version");
        assert!(parked.iter().all(|parked| parked.stream == "orders/bad" && parked.position == 3));
        shutdown.cancel();
    }
}

#[tokio::test]
async fn es_7_a_parked_order_is_shown_as_it_was_and_can_be_retried() {
    for rooms in both(2).await {
        let store = rooms.store.as_ref();
        append(store, "poor", "a", &[created("anna")], second(1)).await.unwrap();
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        shown(store, rooms.lists.as_ref(), "poor").await;
        let live = rooms.live().await;
        // As an older release would have done, that could not read an event which this one can.
        let partition = partition_of("orders/poor", 2);
        append(store, "poor", "b", &[OrderEvent::Confirmed], second(2)).await.unwrap();
        rooms.caught_up().await;
        let sql =
            format!("INSERT INTO parked_orders (view_version, id, n, reason) VALUES ({live}, 'poor', 2, 'unknown')");
        run(&rooms, sql).await;
        append(store, "poor", "c", &[OrderEvent::Allocated], second(3)).await.unwrap();
        rooms.caught_up().await;
        let orders = listed(rooms.lists.as_ref(), &OrderFilter::default()).await;
        assert_eq!(orders[0].version, 2, "it isn't followed");
        assert!(incomplete(&rooms, None).await && incomplete(&rooms, Some("users/anna")).await);
        assert!(!incomplete(&rooms, Some("users/bert")).await, "nothing of theirs is parked");
        let projections = rooms.projections();
        let status = projections.status().await.unwrap();
        assert_eq!(status.versions[0].parked[0].reason, "unknown");
        assert_eq!(status.versions[0].parked[0].partition, partition);
        // The projector has passed its last commit since its history was read: nothing may be lost of it.
        let mut read = rooms.events.read("orders/poor", 0).await.unwrap();
        read.pop();
        let known = read.last().unwrap().position.n;
        let late = rooms.view.retry(live, partition, "orders/poor", known, read).await.unwrap();
        assert_eq!(late, Retried::Moved);
        assert_eq!(projections.status().await.unwrap().versions[0].parked.len(), 1);
        projections.retry("orders/poor").await.unwrap();
        assert!(!incomplete(&rooms, None).await);
        shown(store, rooms.lists.as_ref(), "poor").await;
        append(store, "poor", "d", &[OrderEvent::Cancelled { reason: "x".to_owned() }], second(4)).await.unwrap();
        shown(store, rooms.lists.as_ref(), "poor").await;
        assert!(matches!(projections.retry("orders/poor").await, Err(ProjectionError::NotParked)));
        assert!(matches!(projections.retry("nobody").await, Err(ProjectionError::NotParked)));
        // One that still can't be read stays parked.
        rooms.plant("poor", "e", "order_painted", &[]).await;
        rooms.caught_up().await;
        assert!(matches!(projections.retry("orders/poor").await, Err(ProjectionError::StillParked(_))));
        assert_eq!(projections.status().await.unwrap().versions[0].parked.len(), 1);
        shutdown.cancel();
    }
}

#[tokio::test]
async fn claims_of_requests_are_no_orders_to_the_lists_and_what_was_parked_of_them_is_followed() {
    for rooms in both(2).await {
        let store = rooms.store.as_ref();
        let key = CommandKey { id: "create/users/anna/1".to_owned(), hash: [1; 32], request: None };
        store.claim_placement(&order_name("claimed"), &key, second(1)).await.unwrap();
        append(store, "real", "a", &[created("anna")], second(1)).await.unwrap();
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        rooms.caught_up().await;
        let projections = Arc::new(rooms.projections());
        let are_parked = async || projections.status().await.unwrap().versions[0].parked.len();
        assert_eq!(are_parked().await, 0);
        rooms.assert_view_is_exact(&["real".to_owned()]).await;
        let report = projections.rebuild(false, told()).await.unwrap();
        assert_eq!((report.commits, report.rows, report.differing), (2, 1, 0));
        assert_eq!(are_parked().await, 0);

        // As the release before has it, which knows of no such event.
        let live = rooms.live().await;
        let park = |id: &str, reason: &str| {
            run(
                &rooms,
                format!(
                    "INSERT INTO parked_orders (view_version, id, n, reason) VALUES ({live}, '{id}', 1, '{reason}')"
                ),
            )
        };
        park("claimed", "version 1: request_claimed is no event that this release knows").await;
        assert_eq!(are_parked().await, 1);
        projections.retry("orders/claimed").await.unwrap();
        assert_eq!(are_parked().await, 0);
        // This one finds it by itself, and leaves the others to people.
        park("claimed", "version 1: request_claimed is no event that this release knows").await;
        park("real", "damaged").await;
        let seen_to = tokio::spawn(parked::run(rooms.view.clone(), projections.clone(), shutdown.clone()));
        until("the claim to be followed", async || are_parked().await == 1).await;
        assert_eq!(projections.status().await.unwrap().versions[0].parked[0].stream, "orders/real");
        shutdown.cancel();
        tokio::time::timeout(PATIENCE, seen_to).await.unwrap().unwrap();
    }
}

/// Whether a list says that it may lack an order.
async fn incomplete(rooms: &Rooms, customer: Option<&str>) -> bool {
    let filter = OrderFilter { customer: customer.map(|name| name.parse().unwrap()), state: None };
    rooms.lists.list(&filter, &PageRequest { size: 10, after: None }, Freshness::Latest, None).await.unwrap().incomplete
}

#[tokio::test]
async fn a_retry_while_its_partition_is_written_loses_nothing() {
    for rooms in both(1).await {
        let store = rooms.store.as_ref();
        append(store, "poor", "a", &[created("anna")], second(1)).await.unwrap();
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        shown(store, rooms.lists.as_ref(), "poor").await;
        let (writing, others) = (shutdown.clone(), rooms.store.clone());
        let writer = tokio::spawn(async move {
            for at in 0.. {
                if writing.is_cancelled() {
                    return;
                }
                append(others.as_ref(), &format!("load-{at}"), "a", &[created("bert")], second(2)).await.unwrap();
            }
        });
        let steps = [OrderEvent::Confirmed, OrderEvent::Allocated, OrderEvent::Cancelled { reason: "x".to_owned() }];
        for (at, event) in steps.into_iter().enumerate() {
            let sql = "INSERT INTO parked_orders (view_version, id, n, reason) VALUES (1, 'poor', 1, 'unknown')";
            run(&rooms, sql.to_owned()).await;
            let (command, events, projections) = (format!("step-{at}"), [event], rooms.projections());
            let append = append(store, "poor", &command, &events, second(3));
            let (appended, retried) = tokio::join!(append, projections.retry("orders/poor"));
            appended.unwrap();
            retried.unwrap();
            shown(store, rooms.lists.as_ref(), "poor").await;
        }
        shutdown.cancel();
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn d14_a_row_that_cannot_be_read_is_left_out_of_lists_that_say_so() {
    for rooms in both(1).await {
        fill(rooms.store.as_ref(), &many(3)).await;
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        rooms.caught_up().await;
        run(&rooms, "UPDATE orders SET body = '{' WHERE id = 'many-0001'".to_owned()).await;
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let listed = rooms
                .lists
                .list(&OrderFilter::default(), &PageRequest { size: 1, after }, Freshness::Latest, None)
                .await
                .unwrap();
            assert_eq!(listed.incomplete, listed.page.items.is_empty());
            seen.extend(listed.page.items.iter().map(|order| order.name.id().to_owned()));
            after = listed.page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["many-0002", "many-0000"], "the others are there, page by page");
        shutdown.cancel();
    }
}

#[tokio::test]
async fn es_6_what_a_silent_builder_leaves_is_given_up_and_what_was_live_can_be_gone_back_to() {
    for rooms in both(1).await {
        fill(rooms.store.as_ref(), &many(3)).await;
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        rooms.caught_up().await;
        let projections = rooms.projections();
        projections.rebuild(false, told()).await.unwrap();
        let kept = [(2, VersionState::Live), (1, VersionState::Retired)];
        // As a process leaves it that is killed in the middle of a rollback, or of a rebuild.
        let silence = || run(&rooms, "UPDATE view_versions SET kept_at = 0 WHERE state = 'building'".to_owned());
        assert_eq!(rooms.view.take(true).await.unwrap(), Taken::Version(1));
        silence().await;
        assert_eq!(rooms.view.take(true).await.unwrap(), Taken::Version(1), "it is taken over");
        rooms.view.give_up(1).await.unwrap();
        assert_eq!(states(&rooms).await, kept);
        assert_eq!(rooms.view.take(false).await.unwrap(), Taken::Version(3));
        let commits = rooms.events.read_partition(0, 0, 4).await.unwrap();
        assert_eq!(rooms.view.apply(3, 0, 0, commits, ApplyMode::Strict).await.unwrap(), Applied::Yes);
        silence().await;
        assert_eq!(rooms.view.take(false).await.unwrap(), Taken::Version(4), "not among the rows of another");
        rooms.view.give_up(4).await.unwrap();
        assert_eq!(rooms.view.checkpoint(3, 0).await.unwrap().position, 0, "nothing is left of it");
        assert_eq!(states(&rooms).await, kept, "a rebuild that ends early costs nothing");
        let report = projections.rollback(told()).await.unwrap();
        assert_eq!((report.version, report.previous, report.differing), (1, 2, 0));
        rooms.assert_view_is_exact(&many(3)).await;
        shutdown.cancel();
    }
}

/// Changes the view behind its back.
pub(crate) async fn run(rooms: &Rooms, sql: String) {
    match &rooms.place {
        Place::Server { url, _postgres: postgres, .. } => {
            postgres.sql(url.rsplit('/').next().unwrap(), &sql);
        }
        Place::File(folder) => {
            let db = meshwork_sql::Sqlite::open(&folder.path().join("view.db"), &[]).await.unwrap();
            db.write_once::<_, meshwork_sql::Error, _>(move |connection| {
                Box::pin(async move {
                    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(connection).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        }
    }
}

#[tokio::test]
async fn one_rebuild_at_a_time_and_a_dropped_one_leaves_nothing() {
    for rooms in both(1).await {
        fill(rooms.store.as_ref(), &many(3)).await;
        let (_, other) = open(&rooms.place).await;
        let Taken::Version(version) = rooms.view.take(false).await.unwrap() else { panic!("somebody builds already") };
        assert_eq!(other.take(false).await.unwrap(), Taken::Running);
        assert!(matches!(rooms.projections().rebuild(false, told()).await, Err(ProjectionError::Running)));
        assert!(other.keep(version).await.unwrap());
        other.give_up(version).await.unwrap();
        assert!(!other.keep(version).await.unwrap());
        let commits = rooms.events.read_partition(0, 0, 10).await.unwrap();
        let late = rooms.view.apply(version, 0, 0, commits, ApplyMode::Strict).await.unwrap();
        assert_eq!(late, Applied::Elsewhere, "its builder finds that it was taken away");
        // A caller that goes away in the middle: without a projector, the comparison goes on and on.
        let projections = Arc::new(rooms.projections());
        let (work, (sender, mut progress)) = (projections.clone(), watch::channel(ProjectionProgress::default()));
        let task = tokio::spawn(async move { work.rebuild(false, sender).await.map(drop) });
        progress.wait_for(|progress| progress.phase == Phase::Comparing).await.unwrap();
        let built = states(&rooms).await[0].0;
        assert!(rooms.view.checkpoint(built, 0).await.unwrap().position > 0);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        // At once, and not when nothing was heard of it for a while.
        let given_up = until("the version to be given up", async || {
            states(&rooms).await == [(1, VersionState::Live)]
                && rooms.view.checkpoint(built, 0).await.unwrap().position == 0
        });
        tokio::time::timeout(Duration::from_secs(8), given_up).await.unwrap();
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        rooms.caught_up().await;
        assert_eq!(projections.rebuild(false, told()).await.unwrap().rows, 3);
        shutdown.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn es_6_a_rebuild_under_load_switches_with_equal_rows_and_no_list_goes_back() {
    for rooms in both(4).await {
        fill(rooms.store.as_ref(), &many(200)).await;
        let shutdown = CancellationToken::new();
        let _projector = rooms.project(&shutdown);
        rooms.caught_up().await;
        let stop = Arc::new(AtomicBool::new(false));
        let (store, ending) = (rooms.store.clone(), stop.clone());
        let writer = tokio::spawn(async move {
            let mut written = Vec::new();
            while !ending.load(Ordering::Relaxed) {
                let id = format!("load-{:05}", written.len());
                append(store.as_ref(), &id, "a", &[created("anna")], second(3)).await.unwrap();
                append(store.as_ref(), &id, "b", &[OrderEvent::Confirmed], second(4)).await.unwrap();
                written.push(id);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            written
        });
        let (lists, ending) = (rooms.lists.clone(), stop.clone());
        let reader = tokio::spawn(async move {
            let mut seen = 0;
            while !ending.load(Ordering::Relaxed) {
                // Orders are only ever added: a list that has fewer has gone back.
                let orders = listed(lists.as_ref(), &OrderFilter::default()).await.len();
                assert!(orders >= seen, "{orders} after {seen}");
                seen = orders;
            }
        });
        let projections = rooms.projections();
        for version in 2..5 {
            let report = tokio::time::timeout(PATIENCE, projections.rebuild(false, told())).await.unwrap().unwrap();
            assert_eq!((report.version, report.differing), (version, 0));
            assert!(report.rows >= 200);
        }
        projections.rollback(told()).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        reader.await.unwrap();
        let written = writer.await.unwrap();
        assert!(!written.is_empty());
        rooms.caught_up().await;
        rooms.assert_view_is_exact(&[many(200), written].concat()).await;
        assert!(folded(rooms.store.as_ref(), &order_name("load-00000")).await.is_some());
        shutdown.cancel();
    }
}
