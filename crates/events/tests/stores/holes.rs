//! Events that a consumer misses: fetched from their owner, or else their aggregate waits, and no other (E1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwork_events::{ConsumerState as _, Redriven};

use super::World;
use super::ledger::{Ledger, consume, open};
use crate::checks::each_once_in_order;
use crate::feed::{Feed, subject_in};
use crate::owner::Owner;

/// Within this an aggregate must be parked, and the others behind it go on.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn e1_what_is_missing_is_fetched_from_its_owner() {
    let (world, feed, owner) = (World::new(), Feed::new().await, Arc::new(Owner::default()));
    let ledger = Ledger::new(open(&world).await);
    // More than one answer holds.
    owner.hold("things/long", 300);
    owner.hold("things/short", 5);
    let (running, _) = consume(&feed, &ledger, Some(&owner));
    feed.publish("things/short", 1).await;
    for (subject, version) in [("things/short", 3), ("things/long", 299), ("things/short", 5)] {
        feed.publish(subject, version).await;
    }
    // The last one comes by itself.
    feed.publish("things/long", 300).await;
    ledger.have_applied("things/short", 5).await;
    ledger.have_applied("things/long", 300).await;
    running.stop().await;
    each_once_in_order(&ledger.applied().await, &[("things/short", 5), ("things/long", 300)]).unwrap();
    assert_eq!(ledger.parked().await, 0);
}

#[tokio::test]
async fn more_than_ten_thousand_are_not_fetched() {
    let (world, feed, owner) = (World::new(), Feed::new().await, Arc::new(Owner::default()));
    let ledger = Ledger::new(open(&world).await);
    let (far, near) = (subject_in(2, 0), subject_in(2, 1));
    owner.hold(&far, 10_001);
    let (running, _) = consume(&feed, &ledger, Some(&owner));
    feed.publish(&far, 10_001).await;
    feed.publish(&near, 1).await;
    ledger.have_applied(&near, 1).await;
    running.stop().await;
    let letter = ledger.state.first_of(&far).await.unwrap().unwrap();
    let expected = format!("versions 1 to 10000 of {far} are missing, more than are fetched");
    assert_eq!((letter.reason, owner.asked()), (expected, 0));
}

#[tokio::test]
async fn without_an_owner_the_aggregate_waits() {
    let (world, feed) = (World::new(), Feed::new().await);
    let ledger = Ledger::new(open(&world).await);
    let (lost, other) = (subject_in(2, 0), subject_in(2, 1));
    let (running, _) = consume(&feed, &ledger, None);
    feed.publish(&lost, 2).await;
    feed.publish_all(&other, 1..=2).await;
    ledger.have_applied(&other, 2).await;
    assert_eq!(ledger.parked().await, 1);
    // What was missing comes after all, and a redrive goes on behind it.
    feed.publish(&lost, 1).await;
    ledger.have_applied(&lost, 1).await;
    running.stop().await;
    let (running, _) = consume(&feed, &ledger, None);
    ledger.have_applied(&lost, 2).await;
    running.stop().await;
    each_once_in_order(&ledger.applied().await, &[(&lost, 2), (&other, 2)]).unwrap();
}

/// The owner doesn't have what is missing, or can't be asked.
async fn lost(out_of_reach: bool) {
    let (world, feed, owner) = (World::new(), Feed::new().await, Arc::new(Owner::default()));
    let ledger = Ledger::new(open(&world).await);
    // Of one partition.
    let [lost, second, other] = [0, 1, 2].map(|k| subject_in(3, k));
    owner.out_of_reach(out_of_reach);
    let (running, redriver) = consume(&feed, &ledger, Some(&owner));
    feed.publish(&lost, 1).await;
    ledger.have_applied(&lost, 1).await;

    let began = Instant::now();
    for (subject, version) in [(&lost, 4), (&second, 2), (&lost, 5), (&other, 1), (&other, 2)] {
        feed.publish(subject, version).await;
    }
    ledger.have_applied(&other, 2).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(ledger.of(&lost).await, [1]);
    // The others don't wait for those whose owner is asked.
    ledger.have_parked(3).await;
    let letter = ledger.state.first_of(&lost).await.unwrap().unwrap();
    let why =
        if out_of_reach { "shop could not be asked: it is out of reach" } else { "shop doesn't have them any more" };
    assert_eq!(letter.reason, format!("versions 2 to 3 of {lost} are missing, and {why}"));
    // An owner that could not be asked just now is not asked again and again, but for those who ask at the same moment.
    let asked = if out_of_reach { 4..=6 } else { 2..=2 };
    assert!(asked.contains(&owner.asked()), "{}", owner.asked());

    let Redriven { handled, left } = redriver.redrive(&lost).await.unwrap();
    assert_eq!((handled, left.unwrap().attempts), (0, 2));

    owner.out_of_reach(false);
    owner.hold(&lost, 5);
    owner.hold(&second, 2);
    assert_eq!(redriver.redrive_all(None, false).await.unwrap(), (3, 0));
    feed.publish(&lost, 6).await;
    ledger.have_applied(&lost, 6).await;
    running.stop().await;
    each_once_in_order(&ledger.applied().await, &[(&lost, 6), (&second, 2), (&other, 2)]).unwrap();
}

#[tokio::test]
async fn e1_an_owner_without_the_events_stops_one_aggregate_only() {
    lost(false).await;
}

#[tokio::test]
async fn e1_an_owner_out_of_reach_stops_one_aggregate_only() {
    lost(true).await;
}

#[tokio::test]
async fn a_missing_event_that_is_poison_is_what_is_parked() {
    let (world, feed, owner) = (World::new(), Feed::new().await, Arc::new(Owner::default()));
    let ledger = Ledger::new(open(&world).await);
    owner.hold("things/one", 4);
    ledger.poison("things/one", 2);
    let (running, redriver) = consume(&feed, &ledger, Some(&owner));
    feed.publish("things/one", 4).await;
    ledger.have_parked(2).await;
    assert_eq!(ledger.state.first_of("things/one").await.unwrap().unwrap().event.version, 2);
    ledger.heal();
    // The second is parked, the third is fetched, the fourth is parked.
    assert_eq!(redriver.redrive("things/one").await.unwrap(), Redriven { handled: 2, left: None });
    running.stop().await;
    each_once_in_order(&ledger.applied().await, &[("things/one", 4)]).unwrap();
}
