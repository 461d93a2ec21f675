//! The lists follow the events: once, in order, whoever is killed.

use std::time::Duration;

use meshwork_aip::page::{MAX_BYTES, PageRequest};
use meshwork_chassis::CancellationToken;
use meshwork_chassis::consistency::Freshness;
use meshwork_events::Progress;
use meshwork_eventstore::projection::{Applied, ApplyMode};
use meshwork_eventstore::{Commit, EventStore};
use meshwork_orders::domain::{Line, OrderEvent, State};
use meshwork_orders::ports::{OrderFilter, OrderStore, StoreError};
use meshwork_orders::testing::{
    append, created, folded, listed, order_name, order_store_conformance, read_model_conformance, second, shown,
};

use crate::rooms::{PATIENCE, Rooms, both, fill, many, open, until};

#[tokio::test]
async fn the_store_conforms() {
    for partitions in [1, 16] {
        let [rooms, _] = both(partitions).await;
        order_store_conformance(rooms.store).await;
    }
}

#[tokio::test]
async fn the_read_model_conforms() {
    for rooms in both(4).await {
        the_read_model_conforms_in(rooms).await;
    }
}

async fn the_read_model_conforms_in(rooms: Rooms) {
    let shutdown = CancellationToken::new();
    let projector = rooms.project(&shutdown);
    read_model_conformance(rooms.store.clone(), rooms.lists.clone()).await;
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, projector).await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_are_no_orders_to_the_view_and_to_others() {
    for rooms in both(1).await {
        requests_are_no_orders_to_the_view_and_to_others_in(rooms).await;
    }
}

async fn requests_are_no_orders_to_the_view_and_to_others_in(rooms: Rooms) {
    let request = meshwork_chassis::request::RequestKey {
        principal: "users/anna".to_owned(),
        method: "CreateOrder",
        id: "1".to_owned(),
        hash: [1; 32],
    };
    rooms.store.claim(&request, second(1)).await.unwrap();
    rooms.store.settle(&request, 1, second(1)).await.unwrap();
    append(rooms.store.as_ref(), "real", "a", &[created("anna")], second(2)).await.unwrap();
    let shutdown = CancellationToken::new();
    let _projector = rooms.project(&shutdown);
    shown(rooms.store.as_ref(), rooms.lists.as_ref(), "real").await;
    assert_eq!(listed(rooms.lists.as_ref(), &OrderFilter::default()).await.len(), 1);
    let commits = rooms.events.read_partition(0, 0, 10).await.unwrap();
    let public: Vec<_> = commits
        .iter()
        .flat_map(|commit| &commit.events)
        .filter(|event| meshwork_orders::adapters::event_store::is_public(&event.event_type))
        .map(|event| event.event_type.as_str())
        .collect();
    assert_eq!(public, ["order_created"]);
}

#[tokio::test]
async fn a_projector_that_is_killed_again_and_again_applies_each_event_once() {
    for rooms in both(1).await {
        a_projector_that_is_killed_again_and_again_appli_in(rooms).await;
    }
}

async fn a_projector_that_is_killed_again_and_again_appli_in(rooms: Rooms) {
    let ids = many(600);
    fill(rooms.store.as_ref(), &ids).await;
    let head = 2 * 600;
    let mut kills = 0;
    let mut seen = 0;
    while seen < head {
        let projector = rooms.project(&CancellationToken::new());
        until("the projector to go on", async || rooms.checkpoint(0).await > seen).await;
        projector.abort();
        projector.await.ok();
        kills += 1;
        seen = rooms.checkpoint(0).await;
    }
    assert!(kills > 1, "the projector was never killed between two batches");
    assert_eq!(seen, head);
    rooms.assert_view_is_exact(&ids).await;
}

#[tokio::test]
async fn two_projectors_at_once_do_no_harm() {
    for rooms in both(2).await {
        two_projectors_at_once_do_no_harm_in(rooms).await;
    }
}

async fn two_projectors_at_once_do_no_harm_in(rooms: Rooms) {
    let ids = many(200);
    let shutdown = CancellationToken::new();
    // As from another process: it has the database alone in common.
    let (_, other) = open(&rooms.place).await;
    let projectors =
        [rooms.project(&shutdown), rooms.project(&shutdown), rooms.project_by(other, Progress::new(2), &shutdown)];
    fill(rooms.store.as_ref(), &ids).await;
    for id in &ids {
        shown(rooms.store.as_ref(), rooms.lists.as_ref(), id).await;
    }
    shutdown.cancel();
    for projector in projectors {
        tokio::time::timeout(PATIENCE, projector).await.unwrap().unwrap();
    }
    rooms.assert_view_is_exact(&ids).await;
}

#[tokio::test]
async fn commits_that_were_applied_are_not_applied_again() {
    for rooms in both(1).await {
        commits_that_were_applied_are_not_applied_again_in(rooms).await;
    }
}

async fn commits_that_were_applied_are_not_applied_again_in(rooms: Rooms) {
    fill(rooms.store.as_ref(), &many(2)).await;
    let commits = rooms.events.read_partition(0, 0, 100).await.unwrap();
    let apply = async |after, commits: &[Commit]| {
        rooms.view.apply(1, 0, after, commits.to_vec(), ApplyMode::Park).await.unwrap()
    };
    assert_eq!(apply(0, &commits[..3]).await, Applied::Yes);
    let before = listed(rooms.lists.as_ref(), &OrderFilter::default()).await;
    assert_eq!(apply(0, &commits).await, Applied::Elsewhere, "from the beginning");
    assert_eq!(apply(2, &commits[2..]).await, Applied::Elsewhere, "from what another has passed");
    assert_eq!(listed(rooms.lists.as_ref(), &OrderFilter::default()).await, before);
    assert_eq!(rooms.checkpoint(0).await, 3);
    assert_eq!(apply(3, &commits[3..]).await, Applied::Yes);
    rooms.assert_view_is_exact(&many(2)).await;
}

#[tokio::test]
async fn a_damaged_event_parks_its_order_alone() {
    for rooms in both(1).await {
        a_damaged_event_parks_its_order_alone_in(rooms).await;
    }
}

async fn a_damaged_event_parks_its_order_alone_in(rooms: Rooms) {
    let store = rooms.store.as_ref();
    append(store, "damaged", "a", &[created("anna")], second(1)).await.unwrap();
    let as_it_was = folded(store, &order_name("damaged")).await.unwrap();
    append(store, "strange", "a", &[created("anna")], second(1)).await.unwrap();
    append(store, "sound", "a", &[created("anna")], second(1)).await.unwrap();
    rooms.plant("damaged", "b", "order_confirmed", &[0xff]).await;
    rooms.plant("damaged", "c", "order_delivered", &[]).await;
    rooms.plant("strange", "b", "order_painted", &[]).await;
    rooms.plant("headless", "a", "order_confirmed", &[]).await;
    append(store, "sound", "b", &[OrderEvent::ReservationRequested { attempt: 1, confirmed: false }], second(2))
        .await
        .unwrap();
    let shutdown = CancellationToken::new();
    let projector = rooms.project(&shutdown);
    shown(store, rooms.lists.as_ref(), "sound").await;
    let orders = listed(rooms.lists.as_ref(), &OrderFilter::default()).await;
    assert_eq!(orders.iter().map(|order| order.name.id()).collect::<Vec<_>>(), ["strange", "sound", "damaged"]);
    assert_eq!(orders[2], as_it_was);
    let waiting = rooms.lists.waiting(second(9), None, 10).await.unwrap();
    assert_eq!(waiting.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["sound"]);
    for (id, problem) in [("damaged", "order_confirmed"), ("strange", "order_painted")] {
        let error = store.history(&order_name(id), 0).await.unwrap_err();
        let StoreError::Damaged(text) = &error else { panic!("{error:?}") };
        assert!(text.contains(id) && text.contains("version 2") && text.contains(problem), "{text}");
    }
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, projector).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_page_is_cut_at_its_size_and_names_the_next() {
    for rooms in both(1).await {
        a_page_is_cut_at_its_size_and_names_the_next_in(rooms).await;
    }
}

async fn a_page_is_cut_at_its_size_and_names_the_next_in(rooms: Rooms) {
    let shutdown = CancellationToken::new();
    let _projector = rooms.project(&shutdown);
    let ids = many(3);
    fill(rooms.store.as_ref(), &ids).await;
    for id in &ids {
        shown(rooms.store.as_ref(), rooms.lists.as_ref(), id).await;
    }
    let filter = OrderFilter { customer: None, state: Some(State::Confirmed) };
    for (size, items, more) in [(1, 1, true), (2, 2, true), (3, 3, false), (4, 3, false)] {
        let page =
            rooms.lists.list(&filter, &PageRequest { size, after: None }, Freshness::Latest, None).await.unwrap().page;
        assert_eq!((page.items.len(), page.next.is_some()), (items, more), "{size}");
    }
}

#[tokio::test]
async fn d2_a_page_of_long_orders_has_as_many_as_clients_take() {
    for rooms in both(1).await {
        d2_a_page_of_long_orders_has_as_many_as_clients_take_in(rooms).await;
    }
}

async fn d2_a_page_of_long_orders_has_as_many_as_clients_take_in(rooms: Rooms) {
    let OrderEvent::Created { customer, lines, total } = created("anna") else { panic!("no creation") };
    let long = |at: usize| Line {
        product: format!("products/tea-{at}").parse().unwrap(),
        display_name: "\u{1f4a1}".repeat(200),
        ..lines[0].clone()
    };
    let long = OrderEvent::Created { customer, lines: (0..100).map(long).collect(), total };
    let count = 40;
    for at in 0..count {
        let (id, command) = (format!("long-{at}"), format!("make-{at}"));
        append(rooms.store.as_ref(), &id, &command, std::slice::from_ref(&long), second(at)).await.unwrap();
    }
    let shutdown = CancellationToken::new();
    let _projector = rooms.project(&shutdown);
    // The newest, which is the last to be applied, and on the first page.
    shown(rooms.store.as_ref(), rooms.lists.as_ref(), &format!("long-{}", count - 1)).await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let wanted = PageRequest { size: 50, after };
        let page = rooms.lists.list(&OrderFilter::default(), &wanted, Freshness::Latest, None).await.unwrap().page;
        let names = page.items.iter().flat_map(|order| &order.lines).map(|line| line.display_name.len());
        assert!(names.sum::<usize>() < MAX_BYTES);
        found.push(page.items.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((found.len(), found.iter().sum::<usize>()), (2, 40), "{found:?}");
}

#[tokio::test]
async fn the_projector_tells_how_far_behind_it_is() {
    for rooms in both(2).await {
        the_projector_tells_how_far_behind_it_is_in(rooms).await;
    }
}

async fn the_projector_tells_how_far_behind_it_is_in(rooms: Rooms) {
    rooms.events.ping().await.unwrap();
    rooms.view.ping().await.unwrap();
    let progress = Progress::new(2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = progress.lag();
    assert!(before >= Duration::from_millis(20));
    let shutdown = CancellationToken::new();
    let running = rooms.project_by(rooms.view.clone(), progress.clone(), &shutdown);
    // It looks again each second; with a projector that stands still the lag would only grow.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    until("a projector that has caught up", async || progress.lag() < Duration::from_millis(2_500)).await;
    shutdown.cancel();
    running.await.unwrap();
}
