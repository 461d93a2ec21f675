//! Taking part in handling a lane.

use std::time::{Duration, Instant};

use meshwork_events::{Bus, BusError, Resume, Subscription};
use meshwork_testkit::Nats;
use serde_json::{Value, json};

use crate::common::{
    SECOND, admin, event, events, eventually, lane, ns, numbers, position, publish, repair, sized, take,
};
use crate::server::Reached as _;

async fn subscribe(bus: &dyn Bus, resume: Resume) -> Box<dyn Subscription> {
    bus.subscribe("products", &lane(), resume).await.unwrap()
}

/// What comes first to a new subscription, which is given back.
async fn first(bus: &dyn Bus, resume: Resume) -> Option<i64> {
    let mut subscription = subscribe(bus, resume).await;
    let batch = subscription.next(1, SECOND).await.unwrap();
    batch.deliveries.first().map(|delivery| delivery.event.position.n)
}

#[tokio::test]
async fn deliveries_come_in_order_and_once_when_done() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=100)).await;
    let mut subscription = subscribe(&*bus, Resume::FromStart).await;
    assert_eq!(subscription.patience(), Duration::from_secs(30));
    let batch = subscription.next(40, SECOND).await.unwrap();
    assert_eq!(ns(&batch), (1..=40).collect::<Vec<_>>());
    assert!(!batch.at_end);
    assert!(batch.deliveries.iter().all(|delivery| delivery.attempt == 1));
    assert!(batch.deliveries.windows(2).all(|pair| pair[0].place < pair[1].place));
    subscription.done_through(batch.deliveries[39].place).await.unwrap();
    let rest = take(&mut *subscription, 60).await;
    assert_eq!(numbers(&rest), (41..=100).collect::<Vec<_>>());
    subscription.working().await.unwrap();
    subscription.done_through(rest[59].place).await.unwrap();
    // Done already, which is no error.
    subscription.done_through(rest[59].place).await.unwrap();
    let begun = Instant::now();
    let none = subscription.next(10, SECOND).await.unwrap();
    assert!(none.deliveries.is_empty() && none.at_end);
    assert!(begun.elapsed() >= Duration::from_millis(900) && begun.elapsed() < Duration::from_secs(4));
    publish(&*bus, &events(101..=102)).await;
    let begun = Instant::now();
    assert_eq!(numbers(&take(&mut *subscription, 2).await), [101, 102]);
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_was_repaired_comes_when_it_was_repaired() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events([1, 3])).await;
    repair(&*bus, &events([2])).await;
    publish(&*bus, &events([4])).await;
    let mut subscription = subscribe(&*bus, Resume::FromStart).await;
    let batch = subscription.next(64, SECOND).await.unwrap();
    assert_eq!(ns(&batch), [1, 3, 2, 4]);
    assert!(batch.at_end);
}

#[tokio::test]
async fn it_goes_on_where_it_is_told_to() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=10)).await;
    let mut subscription = subscribe(&*bus, Resume::AsAcknowledged).await;
    let some = take(&mut *subscription, 6).await;
    subscription.done_through(some[5].place).await.unwrap();
    drop(subscription);
    assert_eq!(first(&*bus, Resume::AsAcknowledged).await, Some(7));
    // The database has what was acknowledged, or more than that.
    assert_eq!(first(&*bus, Resume::Behind(position(6))).await, Some(7));
    assert_eq!(first(&*bus, Resume::Behind(position(8))).await, Some(7));
    // It was put back.
    assert_eq!(first(&*bus, Resume::Behind(position(2))).await, Some(3));
    assert_eq!(first(&*bus, Resume::AsAcknowledged).await, Some(3));
    let mut subscription = subscribe(&*bus, Resume::AsAcknowledged).await;
    let all = take(&mut *subscription, 8).await;
    subscription.done_through(all[7].place).await.unwrap();
    drop(subscription);
    assert_eq!(first(&*bus, Resume::AsAcknowledged).await, None);
    assert_eq!(first(&*bus, Resume::Behind(position(10))).await, None);
    assert_eq!(first(&*bus, Resume::Behind(position(9))).await, Some(10));
    // It was lost.
    assert_eq!(first(&*bus, Resume::FromStart).await, Some(1));
}

#[tokio::test]
async fn a_new_consumer_begins_behind_its_database() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=10)).await;
    for (name, n, begins) in [("a", 0, Some(1)), ("b", 4, Some(5)), ("c", 9, Some(10)), ("d", 12, None)] {
        let resume = Resume::Behind(position(n));
        let mut subscription = bus.subscribe(name, &lane(), resume).await.unwrap();
        let batch = subscription.next(64, SECOND).await.unwrap();
        let fresh: Vec<i64> = ns(&batch).into_iter().filter(|other| *other > n).collect();
        assert_eq!(fresh.first().copied(), begins, "{name}");
        // At most the tail comes again; and all of a lane whose end is behind the database, as it may hold other events.
        let again = if n > 10 { 10 } else { 1 };
        assert!(batch.deliveries.len() <= fresh.len() + again, "{name}");
    }
}

#[tokio::test]
async fn what_an_ended_instance_held_comes_again_at_once() {
    let nats = Nats::start();
    let (one, two) = (nats.bus().await, nats.bus().await);
    publish(&*one, &events(1..=20)).await;
    let mut ended = subscribe(&*one, Resume::FromStart).await;
    let held = take(&mut *ended, 10).await;
    ended.done_through(held[2].place).await.unwrap();
    // It ends without a word.
    std::mem::forget(ended);
    publish(&*one, &events(21..=25)).await;
    let begun = Instant::now();
    let mut subscription = subscribe(&*two, Resume::Behind(position(3))).await;
    let all = take(&mut *subscription, 22).await;
    assert_eq!(numbers(&all), (4..=25).collect::<Vec<_>>());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    subscription.done_through(all[21].place).await.unwrap();
}

#[tokio::test]
async fn a_dropped_subscription_gives_back_what_it_holds() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=5)).await;
    let mut stays = subscribe(&*bus, Resume::FromStart).await;
    let mut dropped = subscribe(&*bus, Resume::FromStart).await;
    assert_eq!(numbers(&take(&mut *dropped, 5).await), [1, 2, 3, 4, 5]);
    drop(dropped);
    // The other one gets it without taking over.
    let again = take(&mut *stays, 5).await;
    assert_eq!(numbers(&again), [1, 2, 3, 4, 5]);
    assert!(again.iter().all(|delivery| delivery.attempt == 2));
}

#[tokio::test]
async fn of_two_live_instances_each_handles_a_part() {
    let nats = Nats::start();
    let (one, two) = (nats.bus().await, nats.bus().await);
    publish(&*one, &events(1..=5)).await;
    let mut a = subscribe(&*one, Resume::FromStart).await;
    let held = take(&mut *a, 3).await;
    let mut b = subscribe(&*two, Resume::AsAcknowledged).await;
    // The second takes over; the first does not know, and its word counts.
    assert_eq!(numbers(&take(&mut *b, 5).await), [1, 2, 3, 4, 5]);
    a.done_through(held[2].place).await.unwrap();
    b.done_through(u64::MAX).await.unwrap();
    let mut counts = (0, 0);
    for round in 0..20 {
        publish(&*one, &events(10 + round * 2..=11 + round * 2)).await;
        let (x, y) = tokio::join!(a.next(1, SECOND), b.next(1, SECOND));
        let (x, y) = (x.unwrap(), y.unwrap());
        counts = (counts.0 + x.deliveries.len(), counts.1 + y.deliveries.len());
        a.done_through(u64::MAX).await.unwrap();
        b.done_through(u64::MAX).await.unwrap();
    }
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
    let mut rest = 0;
    while let Some(place) = a.next(64, SECOND).await.unwrap().deliveries.last().map(|delivery| delivery.place) {
        rest += 1;
        a.done_through(place).await.unwrap();
    }
    assert!(counts.0 + counts.1 + rest >= 21);
}

#[tokio::test]
async fn what_was_overtaken_is_fenced_and_does_not_take_over_at_once() {
    let nats = Nats::start();
    let (one, two) = (nats.bus().await, nats.bus().await);
    publish(&*one, &events(1..=5)).await;
    let mut a = subscribe(&*one, Resume::FromStart).await;
    let held = take(&mut *a, 5).await;
    let mut b = subscribe(&*two, Resume::AsAcknowledged).await;
    // Nothing was handed over again yet: the first one's word comes too early, and is an error.
    let early = a.done_through(held[4].place).await;
    assert!(matches!(early, Err(BusError::Unavailable(_))), "{early:?}");
    assert_eq!(numbers(&take(&mut *b, 5).await), [1, 2, 3, 4, 5]);
    std::mem::forget(a);
    // It attaches without a reset, or the two would take turns.
    let mut a = subscribe(&*one, Resume::AsAcknowledged).await;
    assert!(a.next(5, SECOND).await.unwrap().deliveries.is_empty());
    b.done_through(u64::MAX).await.unwrap();
    publish(&*one, &events(6..=6)).await;
    assert_eq!(numbers(&take(&mut *a, 1).await), [6]);
}

#[tokio::test]
async fn what_is_given_back_comes_later_and_in_order() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=10)).await;
    let mut subscription = subscribe(&*bus, Resume::FromStart).await;
    let some = take(&mut *subscription, 6).await;
    subscription.done_through(some[1].place).await.unwrap();
    for (delay, attempt) in [(Duration::ZERO, 2), (Duration::from_millis(500), 3), (Duration::from_millis(1_500), 4)] {
        let begun = Instant::now();
        subscription.later(delay).await.unwrap();
        let again = take(&mut *subscription, 4).await;
        assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
        assert!(begun.elapsed() < delay + Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(numbers(&again), [3, 4, 5, 6]);
        assert!(again.iter().all(|delivery| delivery.attempt == attempt), "{again:?}");
    }
    let rest = take(&mut *subscription, 4).await;
    assert_eq!(numbers(&rest), [7, 8, 9, 10]);
    subscription.done_through(rest[3].place).await.unwrap();
}

#[tokio::test]
async fn so_much_is_handed_over_and_no_more() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=300)).await;
    let mut subscription = subscribe(&*bus, Resume::FromStart).await;
    assert_eq!(subscription.next(1_000, SECOND).await.unwrap().deliveries.len(), 64);
    let held = take(&mut *subscription, 256 - 64).await;
    assert!(subscription.next(10, SECOND).await.unwrap().deliveries.is_empty());
    subscription.done_through(held[0].place).await.unwrap();
    assert_eq!(numbers(&take(&mut *subscription, 44).await), (257..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn large_events_come_a_few_at_once() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    let large: Vec<_> = (1..=12).map(|n| sized(n, 900 * 1024)).collect();
    publish(&*bus, &large).await;
    let mut subscription = subscribe(&*bus, Resume::FromStart).await;
    let batch = subscription.next(64, SECOND).await.unwrap();
    assert!((1..=4).contains(&batch.deliveries.len()) && !batch.at_end, "{}", batch.deliveries.len());
    let rest = take(&mut *subscription, 12 - batch.deliveries.len()).await;
    assert_eq!(rest.last().map(|delivery| delivery.event.position.n), Some(12));
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    let mut subscription = subscribe(&*bus, Resume::FromStart).await;
    let (mut came, mut cancelled) = (Vec::new(), 0);
    for n in 1..=40 {
        let early = tokio::time::timeout(Duration::from_millis(20), subscription.next(10, SECOND)).await;
        publish(&*bus, &events([n])).await;
        let late = tokio::time::timeout(Duration::from_micros(200), subscription.next(10, SECOND)).await;
        for batch in [early, late] {
            match batch {
                Ok(batch) => came.extend(batch.unwrap().deliveries),
                Err(_) => cancelled += 1,
            }
        }
    }
    assert!(cancelled > 0);
    let rest = 40 - came.len();
    came.extend(take(&mut *subscription, rest).await);
    assert_eq!(numbers(&came), (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_no_event_is_passed_over() {
    let nats = Nats::start();
    let (bus, client) = (nats.bus().await, nats.stranger().await);
    publish(&*bus, &events(1..=2)).await;
    for subject in ["orders.v1.order_created.p03", "orders.v1.odd.p03", "orders-repair.v1.odd.p03"] {
        client.request(subject, "odd".into()).await.unwrap();
    }
    // The tail is what we have published, the fence what is there.
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    assert_eq!(publisher.tail().map(|tail| tail.position.n), Some(2));
    publisher.publish(&events(3..=4)).await.unwrap();
    let mut subscription = subscribe(&*bus, Resume::Behind(position(1))).await;
    let all = take(&mut *subscription, 3).await;
    assert_eq!(numbers(&all), [2, 3, 4]);
    subscription.done_through(all[2].place).await.unwrap();
    let info = admin(&client, "CONSUMER.INFO.ORDERS.products-p03", Value::Null).await;
    assert_eq!(info["num_ack_pending"], json!(0), "{info}");
    let mut reader = bus.reader(&lane(), meshwork_events::ReadFrom::Start, meshwork_events::Scope::All).await.unwrap();
    let read = reader.next(10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(read.len(), 4);
}

#[tokio::test]
async fn it_goes_on_after_a_crash_of_the_server() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=10)).await;
    let mut subscription = subscribe(&*bus, Resume::FromStart).await;
    let held = take(&mut *subscription, 5).await;
    subscription.done_through(held[1].place).await.unwrap();
    nats.kill();
    let begun = Instant::now();
    assert!(matches!(subscription.next(5, SECOND).await, Err(BusError::Unavailable(_))));
    assert!(matches!(subscription.done_through(held[4].place).await, Err(BusError::Unavailable(_))));
    assert!(matches!(subscription.working().await, Err(BusError::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    nats.restart();
    let resume = Resume::Behind(position(2));
    let mut subscription = eventually(async || bus.subscribe("products", &lane(), resume).await).await;
    // The server notes a little later what is done: what our database has may come again.
    let mut again = take(&mut *subscription, 8).await;
    let known = numbers(&again).iter().take_while(|n| **n <= 2).count();
    again.extend(take(&mut *subscription, known).await);
    assert_eq!(numbers(&again)[known..], (3..=10).collect::<Vec<_>>());
    subscription.done_through(again[7 + known].place).await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_was_deleted_is_an_error_and_is_declared_again() {
    let nats = Nats::start();
    let (bus, client) = (nats.bus().await, nats.stranger().await);
    publish(&*bus, &events(1..=5)).await;
    let mut subscription = subscribe(&*bus, Resume::FromStart).await;
    let held = take(&mut *subscription, 2).await;
    admin(&client, "CONSUMER.DELETE.ORDERS.products-p03", Value::Null).await;
    assert!(subscription.next(5, SECOND).await.is_err());
    assert!(subscription.done_through(held[1].place).await.is_err());
    let mut subscription = subscribe(&*bus, Resume::Behind(position(2))).await;
    assert_eq!(numbers(&take(&mut *subscription, 3).await), [3, 4, 5]);
}

#[tokio::test]
async fn a_consumer_with_other_settings_is_changed() {
    let nats = Nats::start();
    let (bus, client) = (nats.bus().await, nats.stranger().await);
    publish(&*bus, &[event(1)]).await;
    let config = json!({
        "durable_name": "products-p03", "name": "products-p03", "ack_policy": "explicit", "deliver_policy": "all",
        "max_deliver": 2, "filter_subject": "orders.v1.*.p03", "max_ack_pending": 5,
    });
    let made = admin(
        &client,
        "CONSUMER.CREATE.ORDERS.products-p03",
        json!({
            "stream_name": "ORDERS", "config": config, "action": "create",
        }),
    )
    .await;
    assert!(made["error"].is_null(), "{made}");
    let mut subscription = subscribe(&*bus, Resume::FromStart).await;
    assert_eq!(numbers(&take(&mut *subscription, 1).await), [1]);
    let info = admin(&client, "CONSUMER.INFO.ORDERS.products-p03", Value::Null).await;
    let config = &info["config"];
    assert_eq!(config["filter_subjects"], json!(["orders.v1.*.p03", "orders-repair.v1.*.p03"]));
    assert_eq!(config["max_ack_pending"], json!(256));
    assert_eq!(config["max_deliver"], json!(-1));
    assert_eq!(config["ack_wait"], json!(30_000_000_000_u64));
}

/// A lane is filled again while its consumers, whose databases are ahead of it or just there, begin.
#[tokio::test]
async fn nothing_is_passed_over_in_a_lane_that_grows() {
    const LAST: i64 = 300;
    let nats = Nats::start();
    let bus = nats.bus().await;
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    publisher.publish(&events([1])).await.unwrap();
    let published = std::sync::atomic::AtomicI64::new(1);
    let fill = async {
        for n in 2..=LAST {
            publisher.publish(&events([n])).await.unwrap();
            published.store(n, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let mut begun = Vec::new();
    let begin = async {
        for k in 0..40 {
            // Now at the lane's end, now ahead of it.
            let at = published.load(std::sync::atomic::Ordering::Relaxed) + k % 3;
            let resume = Resume::Behind(position(at));
            begun.push((at, bus.subscribe(&format!("late-{k}"), &lane(), resume).await.unwrap()));
        }
    };
    tokio::join!(fill, begin);
    for (at, mut subscription) in begun {
        let mut came = std::collections::BTreeSet::new();
        loop {
            let batch = subscription.next(64, SECOND).await.unwrap();
            came.extend(batch.deliveries.iter().map(|delivery| delivery.event.position.n));
            match batch.deliveries.last() {
                Some(last) => subscription.done_through(last.place).await.unwrap(),
                None => break,
            }
        }
        let missing: Vec<_> = (at + 1..=LAST).filter(|n| !came.contains(n)).collect();
        assert_eq!(missing, Vec::<i64>::new(), "of a consumer that began behind {at}");
    }
}
