//! The conformance suite: what every bus must do.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use crate::bus::{Bus, BusError, Delivery, Lane, MAX_MESSAGE_BYTES, ReadFrom, Resume, Scope, Subscription};
use crate::{Context, Envelope, Position};

/// For how long a subscription waits for its first event.
const SECOND: Duration = Duration::from_secs(1);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// For how long nothing more must come.
const QUIET: Duration = Duration::from_secs(1);

/// Runs the suite on a bus, which may hold streams of others.
pub async fn conformance(bus: Arc<dyn Bus>) {
    let bus = bus.as_ref();
    // Each has a stream of its own, and mostly they wait.
    tokio::join!(
        what_is_published_is_handed_over_in_order(bus),
        events_keep_everything_that_they_carry(bus),
        nt_2_a_publisher_that_was_overtaken_is_refused(bus),
        a_batch_is_published_as_far_as_it_can_be(bus),
        large_batches_stay_in_order(bus),
        consumers_advance_on_their_own(bus),
        nt_6_what_is_done_does_not_come_again(bus),
        what_an_instance_held_comes_again_at_once(bus),
        what_is_given_back_comes_again_later(bus),
        two_instances_handle_each_event_once(bus),
        an_older_database_gets_again_what_it_lacks(bus),
        nt_4_repaired_events_reach_consumers_beside_the_lane(bus),
        readers_read_what_they_ask_for(bus),
        the_lanes_of_further_shards_are_lanes_like_the_first(bus),
        a_waiting_subscription_is_woken(bus),
    );
}

/// A lane of a stream.
pub fn lane(stream: &str, partition: u16) -> Lane {
    Lane { stream: stream.to_owned(), partition }
}

/// An event of `subject` at `version`, in partition 3 at (`n`, `index`).
pub fn event(subject: &str, version: i64, n: i64, index: u32) -> Envelope {
    Envelope {
        id: Envelope::id_of(subject, version),
        source: "tests".to_owned(),
        event_type: "happened".to_owned(),
        schema_version: 1,
        subject: subject.to_owned(),
        version,
        position: Position { partition: 3, n, index },
        time: OffsetDateTime::UNIX_EPOCH + Duration::from_micros(1_234_567),
        context: Context::default(),
        data: format!("{subject} at {version}").into(),
    }
}

/// Publishes events behind the lane's tail.
pub async fn publish(bus: &dyn Bus, lane: &Lane, events: Vec<Envelope>) {
    bus.publisher(lane).await.unwrap().publish(&events).await.unwrap();
}

/// The last event that was published in order.
pub async fn tail(bus: &dyn Bus, lane: &Lane) -> Option<Envelope> {
    bus.publisher(lane).await.unwrap().tail().cloned()
}

/// Everything that a lane holds, as consumers get it.
pub async fn read_all(bus: &dyn Bus, lane: &Lane) -> Vec<Envelope> {
    read(bus, lane, ReadFrom::Start, Scope::All).await
}

async fn read(bus: &dyn Bus, lane: &Lane, from: ReadFrom, scope: Scope) -> Vec<Envelope> {
    let mut reader = bus.reader(lane, from, scope).await.unwrap();
    let mut events = Vec::new();
    loop {
        let page = reader.next(100, Duration::from_millis(200)).await.unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// Takes `count` deliveries, and sees that there are no more at present.
async fn take(subscription: &mut dyn Subscription, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    let wanted = async {
        while taken.len() < count {
            taken.extend(subscription.next(count, SECOND).await.unwrap().deliveries);
        }
    };
    let came = timeout(PATIENCE, wanted).await;
    assert!(came.is_ok() && taken.len() == count, "{count} were to come, and there came {taken:?}");
    let places: Vec<_> = taken.iter().map(|delivery| delivery.place).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
    taken
}

async fn nothing_more(subscription: &mut dyn Subscription) {
    let until = Instant::now() + QUIET;
    while Instant::now() < until {
        assert_eq!(subscription.next(10, SECOND).await.unwrap().deliveries, []);
    }
}

fn events_of(deliveries: &[Delivery]) -> Vec<Envelope> {
    deliveries.iter().map(|delivery| delivery.event.clone()).collect()
}

async fn what_is_published_is_handed_over_in_order(bus: &dyn Bus) {
    let lane = lane("order", 3);
    let first = [event("a", 1, 1, 0), event("a", 2, 1, 1)];
    let second = [event("b", 1, 3, 0)];
    let mut publisher = bus.publisher(&lane).await.unwrap();
    assert_eq!(publisher.tail(), None);
    publisher.publish(&first).await.unwrap();
    assert_eq!(publisher.tail(), first.last());
    publisher.publish(&second).await.unwrap();
    publisher.publish(&[]).await.unwrap();
    assert_eq!(publisher.losses().await.unwrap(), 0);
    assert_eq!(tail(bus, &lane).await.as_ref(), second.last());
    let all = [first.as_slice(), &second].concat();
    let mut subscription = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    let taken = take(subscription.as_mut(), 3).await;
    assert_eq!(events_of(&taken), all);
    assert!(taken.iter().all(|delivery| delivery.attempt == 1), "{taken:?}");
    nothing_more(subscription.as_mut()).await;
    assert_eq!(read_all(bus, &lane).await, all);
    assert_eq!(read_all(bus, &self::lane("order", 2)).await, []);
    assert!(bus.lanes("order").contains(&lane));
}

async fn events_keep_everything_that_they_carry(bus: &dyn Bus) {
    let lane = lane("whole", 3);
    let odd = "\"50 %\" of Zoë’s, at a\\b; \u{1f980}";
    let carried = Envelope {
        source: "shop".to_owned(),
        event_type: "odd_one".to_owned(),
        schema_version: 7,
        context: Context {
            causation_id: odd.to_owned(),
            correlation_id: "c-1".to_owned(),
            trace_parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
            trace_state: "vendor=value,other=1".to_owned(),
            actor: "users/42".to_owned(),
        },
        data: vec![0, 1, 255, 0].into(),
        ..event(&format!("things/{odd}"), i64::MAX, i64::MAX - 1, 9)
    };
    publish(bus, &lane, vec![carried.clone()]).await;
    assert_eq!(tail(bus, &lane).await.as_ref(), Some(&carried));
    assert_eq!(read_all(bus, &lane).await, [carried]);
}

async fn nt_2_a_publisher_that_was_overtaken_is_refused(bus: &dyn Bus) {
    let lane = lane("fenced", 3);
    let mut old = bus.publisher(&lane).await.unwrap();
    let mut new = bus.publisher(&lane).await.unwrap();
    new.publish(&[event("a", 1, 1, 0)]).await.unwrap();
    // Also with the same event, and with another type: the fence is the lane's.
    let other = Envelope { event_type: "else".to_owned(), ..event("b", 1, 2, 0) };
    for events in [vec![event("a", 1, 1, 0)], vec![other], vec![event("a", 2, 2, 0), event("a", 3, 3, 0)]] {
        let refused = old.publish(&events).await;
        assert!(matches!(refused, Err(BusError::TailMoved)), "{refused:?}");
        old = match old.tail() {
            None => old,
            tail => panic!("who was refused has published {tail:?}"),
        };
    }
    let mut again = bus.publisher(&lane).await.unwrap();
    assert_eq!(again.tail(), Some(&event("a", 1, 1, 0)));
    again.publish(&[event("a", 2, 2, 0)]).await.unwrap();
    let refused = new.publish(&[event("a", 2, 2, 0)]).await;
    assert!(matches!(refused, Err(BusError::TailMoved)), "{refused:?}");
    assert_eq!(read_all(bus, &lane).await, [event("a", 1, 1, 0), event("a", 2, 2, 0)]);
    // Other lanes of the stream have fences of their own.
    publish(bus, &self::lane("fenced", 2), vec![event("c", 1, 1, 0)]).await;
    again.publish(&[event("a", 3, 3, 0)]).await.unwrap();
}

async fn a_batch_is_published_as_far_as_it_can_be(bus: &dyn Bus) {
    let lane = lane("in-part", 3);
    let large = Envelope { data: vec![0; MAX_MESSAGE_BYTES + 1].into(), ..event("large", 1, 2, 0) };
    let mut publisher = bus.publisher(&lane).await.unwrap();
    let refused = publisher.publish(&[event("a", 1, 1, 0), large.clone(), event("a", 2, 3, 0)]).await;
    assert!(matches!(&refused, Err(BusError::TooLarge { id, .. }) if *id == large.id), "{refused:?}");
    let refused = publisher.repair(&[large]).await;
    assert!(matches!(refused, Err(BusError::TooLarge { .. })), "{refused:?}");
    let tail = tail(bus, &lane).await;
    assert!(tail.is_none() || tail == Some(event("a", 1, 1, 0)), "{tail:?}");
    let left = [event("a", 1, 1, 0), event("a", 2, 3, 0)];
    let left = &left[usize::from(tail.is_some())..];
    bus.publisher(&lane).await.unwrap().publish(left).await.unwrap();
    assert_eq!(read_all(bus, &lane).await, [event("a", 1, 1, 0), event("a", 2, 3, 0)]);
}

async fn large_batches_stay_in_order(bus: &dyn Bus) {
    let lane = lane("large", 3);
    let events: Vec<_> = (1..=1_500).map(|n| event("a", n, n, 0)).collect();
    bus.publisher(&lane).await.unwrap().publish(&events).await.unwrap();
    assert_eq!(tail(bus, &lane).await.as_ref(), events.last());
    // And by bytes.
    let heavy: Vec<_> = (1_501..=1_508)
        .map(|n| Envelope { data: vec![7; MAX_MESSAGE_BYTES - 4_096].into(), ..event("a", n, n, 0) })
        .collect();
    bus.publisher(&lane).await.unwrap().publish(&heavy).await.unwrap();
    let read = read_all(bus, &lane).await;
    assert_eq!(read.iter().map(|event| event.version).collect::<Vec<_>>(), (1..=1_508).collect::<Vec<_>>());
    assert_eq!(read[1_500..], heavy);
    let mut subscription = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    for n in 1..=1_508 {
        let taken = subscription.next(1, SECOND).await.unwrap().deliveries;
        assert_eq!(taken.iter().map(|delivery| delivery.event.version).collect::<Vec<_>>(), [n]);
        if n % 64 == 0 {
            subscription.done_through(taken[0].place).await.unwrap();
        }
    }
}

async fn consumers_advance_on_their_own(bus: &dyn Bus) {
    let lane = lane("consumed", 3);
    let events = [event("a", 1, 1, 0), event("a", 2, 1, 1), event("a", 3, 2, 0)];
    publish(bus, &lane, events.to_vec()).await;
    for consumer in ["fast", "slow"] {
        let mut subscription = bus.subscribe(consumer, &lane, Resume::FromStart).await.unwrap();
        let taken = take(subscription.as_mut(), 3).await;
        assert_eq!(events_of(&taken), events, "{consumer}");
        subscription.working().await.unwrap();
        subscription.done_through(taken[2].place).await.unwrap();
    }
}

async fn nt_6_what_is_done_does_not_come_again(bus: &dyn Bus) {
    let lane = lane("done", 3);
    let events: Vec<_> = (1..=4).map(|n| event("a", n, n, 0)).collect();
    publish(bus, &lane, events.clone()).await;
    let mut subscription = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    let taken = take(subscription.as_mut(), 4).await;
    subscription.done_through(taken[1].place).await.unwrap();
    // Twice, and what lies before it, is no error.
    subscription.done_through(taken[1].place).await.unwrap();
    subscription.done_through(taken[0].place).await.unwrap();
    drop(subscription);
    let mut subscription = bus.subscribe("reader", &lane, Resume::Behind(events[1].position)).await.unwrap();
    let taken = take(subscription.as_mut(), 2).await;
    assert_eq!(events_of(&taken), events[2..]);
    subscription.done_through(taken[1].place).await.unwrap();
    nothing_more(subscription.as_mut()).await;
    drop(subscription);
    let mut subscription = bus.subscribe("reader", &lane, Resume::AsAcknowledged).await.unwrap();
    nothing_more(subscription.as_mut()).await;
    publish(bus, &lane, vec![event("a", 5, 5, 0)]).await;
    assert_eq!(events_of(&take(subscription.as_mut(), 1).await), [event("a", 5, 5, 0)]);
}

async fn what_an_instance_held_comes_again_at_once(bus: &dyn Bus) {
    let lane = lane("held", 3);
    let events: Vec<_> = (1..=3).map(|n| event("a", n, n, 0)).collect();
    publish(bus, &lane, events.clone()).await;
    for _ in 0..3 {
        // It ends without a word, as one that is killed does.
        let mut subscription = bus.subscribe("reader", &lane, Resume::AsAcknowledged).await.unwrap();
        let began = Instant::now();
        let taken = take(subscription.as_mut(), 3).await;
        assert!(began.elapsed() < Duration::from_secs(8), "they came after {:?}", began.elapsed());
        assert_eq!(events_of(&taken), events);
        drop(subscription);
    }
}

async fn what_is_given_back_comes_again_later(bus: &dyn Bus) {
    let lane = lane("later", 3);
    let events: Vec<_> = (1..=3).map(|n| event("a", n, n, 0)).collect();
    publish(bus, &lane, events.clone()).await;
    let mut subscription = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    let taken = take(subscription.as_mut(), 3).await;
    subscription.done_through(taken[0].place).await.unwrap();
    let delay = Duration::from_millis(1_500);
    let given_back = Instant::now();
    subscription.later(delay).await.unwrap();
    let taken = take(subscription.as_mut(), 2).await;
    assert!(given_back.elapsed() >= delay, "they came after {:?}", given_back.elapsed());
    assert_eq!(events_of(&taken), events[1..]);
    assert!(taken.iter().all(|delivery| delivery.attempt == 2), "{taken:?}");
    subscription.later(Duration::ZERO).await.unwrap();
    drop(subscription);
    let mut another = bus.subscribe("reader", &lane, Resume::AsAcknowledged).await.unwrap();
    assert_eq!(events_of(&take(another.as_mut(), 2).await), events[1..]);
}

async fn two_instances_handle_each_event_once(bus: &dyn Bus) {
    let lane = lane("shared", 3);
    let mut first = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    let mut second = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    let all: BTreeSet<i64> = (1..=200).collect();
    let events: Vec<_> = all.iter().map(|n| event("a", *n, *n, 0)).collect();
    publish(bus, &lane, events).await;
    let mut handled = Vec::new();
    let work = async {
        while handled.len() < all.len() {
            let (one, other) = tokio::join!(first.next(16, SECOND), second.next(16, SECOND));
            for (subscription, batch) in [(&mut first, one.unwrap()), (&mut second, other.unwrap())] {
                handled.extend(batch.deliveries.iter().map(|delivery| delivery.event.version));
                if let Some(last) = batch.deliveries.last() {
                    subscription.done_through(last.place).await.unwrap();
                }
            }
        }
    };
    let done = timeout(PATIENCE, work).await;
    assert!(done.is_ok(), "only {} events were handled", handled.len());
    handled.sort_unstable();
    assert_eq!(handled, all.into_iter().collect::<Vec<_>>());
    nothing_more(first.as_mut()).await;
    nothing_more(second.as_mut()).await;
}

async fn an_older_database_gets_again_what_it_lacks(bus: &dyn Bus) {
    let lane = lane("resumed", 3);
    let events: Vec<_> = (1..=6).map(|n| event("a", n, n * 2, 0)).collect();
    publish(bus, &lane, events.clone()).await;
    let done = async |resume, count: usize| {
        let mut subscription = bus.subscribe("reader", &lane, resume).await.unwrap();
        let taken = take(subscription.as_mut(), count).await;
        if let Some(last) = taken.last() {
            subscription.done_through(last.place).await.unwrap();
        }
        nothing_more(subscription.as_mut()).await;
        events_of(&taken)
    };
    assert_eq!(done(Resume::FromStart, 6).await, events);
    assert_eq!(done(Resume::Behind(events[5].position), 0).await, []);
    assert_eq!(done(Resume::Behind(events[2].position), 3).await, events[3..]);
    // A position between those that are there, and one ahead of all.
    let between = Position { n: events[3].position.n + 1, ..events[3].position };
    assert_eq!(done(Resume::Behind(between), 2).await, events[4..]);
    let ahead = Position { n: 1_000, ..events[3].position };
    assert_eq!(done(Resume::Behind(ahead), 0).await, []);
    assert_eq!(done(Resume::FromStart, 6).await, events);
    assert_eq!(done(Resume::AsAcknowledged, 0).await, []);
}

async fn nt_4_repaired_events_reach_consumers_beside_the_lane(bus: &dyn Bus) {
    let lane = lane("repaired", 3);
    let events = [event("a", 1, 1, 0), event("a", 3, 3, 0)];
    let missing = event("a", 2, 2, 0);
    publish(bus, &lane, events.to_vec()).await;
    let mut subscription = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    let taken = take(subscription.as_mut(), 2).await;
    subscription.done_through(taken[1].place).await.unwrap();
    let mut publisher = bus.publisher(&lane).await.unwrap();
    publisher.repair(std::slice::from_ref(&missing)).await.unwrap();
    publisher.publish(&[event("a", 4, 4, 0)]).await.unwrap();
    let taken = take(subscription.as_mut(), 2).await;
    let came: BTreeSet<_> = events_of(&taken).iter().map(|event| event.version).collect();
    assert_eq!(came, BTreeSet::from([2, 4]));
    subscription.done_through(taken[1].place).await.unwrap();
    nothing_more(subscription.as_mut()).await;
    assert_eq!(tail(bus, &lane).await, Some(event("a", 4, 4, 0)));
    assert_eq!(read(bus, &lane, ReadFrom::Start, Scope::Repaired).await, [missing]);
    drop(subscription);
    // What lies beside the lane is acknowledged too.
    let resume = Resume::Behind(event("a", 4, 4, 0).position);
    let mut subscription = bus.subscribe("reader", &lane, resume).await.unwrap();
    nothing_more(subscription.as_mut()).await;
    drop(subscription);
    // And comes again with what a database lacks that was put back.
    let mut subscription = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    let came: BTreeSet<_> =
        events_of(&take(subscription.as_mut(), 4).await).iter().map(|event| event.version).collect();
    assert_eq!(came, BTreeSet::from([1, 2, 3, 4]));
}

async fn readers_read_what_they_ask_for(bus: &dyn Bus) {
    let lane = lane("read", 3);
    let events: Vec<_> = (1..=5).map(|n| event("a", n, n * 2, 0)).collect();
    publish(bus, &lane, events.clone()).await;
    bus.publisher(&lane).await.unwrap().repair(&[event("b", 1, 1, 0)]).await.unwrap();
    let published = async |from| read(bus, &lane, from, Scope::Published).await;
    assert_eq!(published(ReadFrom::Start).await, events);
    assert_eq!(published(ReadFrom::Behind(events[1].position)).await, events[2..]);
    let between = Position { n: 5, ..events[1].position };
    assert_eq!(published(ReadFrom::Behind(between)).await, events[2..]);
    assert_eq!(published(ReadFrom::Behind(events[4].position)).await, []);
    assert_eq!(read(bus, &lane, ReadFrom::Start, Scope::All).await.len(), 6);
    let mut now = bus.reader(&lane, ReadFrom::Now, Scope::All).await.unwrap();
    assert_eq!(now.next(10, Duration::from_millis(200)).await.unwrap(), []);
    publish(bus, &lane, vec![event("a", 6, 12, 0)]).await;
    assert_eq!(now.next(10, PATIENCE).await.unwrap(), [event("a", 6, 12, 0)]);
    // An empty lane ends at once.
    assert_eq!(read(bus, &self::lane("read", 1), ReadFrom::Start, Scope::All).await, []);
}

async fn the_lanes_of_further_shards_are_lanes_like_the_first(bus: &dyn Bus) {
    let event_in = |partition, n| {
        let event = event("a", n, n, 0);
        Envelope { position: Position { partition, ..event.position }, ..event }
    };
    let lanes = [1, 9, 109].map(|partition| lane("sharded", partition));
    for lane in &lanes {
        publish(bus, lane, vec![event_in(lane.partition, 1)]).await;
    }
    for lane in &lanes {
        let mut subscription = bus.subscribe("reader", lane, Resume::FromStart).await.unwrap();
        publish(bus, lane, vec![event_in(lane.partition, 2)]).await;
        let expected = [event_in(lane.partition, 1), event_in(lane.partition, 2)];
        let taken = take(subscription.as_mut(), 2).await;
        assert_eq!(events_of(&taken), expected);
        subscription.done_through(taken[1].place).await.unwrap();
        nothing_more(subscription.as_mut()).await;
        assert_eq!(read_all(bus, lane).await, expected);
    }
}

async fn a_waiting_subscription_is_woken(bus: &dyn Bus) {
    let lane = lane("woken", 3);
    let mut subscription = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    let batch = subscription.next(10, SECOND).await.unwrap();
    assert!(batch.deliveries.is_empty() && batch.at_end, "{batch:?}");
    let (taken, ()) = tokio::join!(take(subscription.as_mut(), 1), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        publish(bus, &lane, vec![event("a", 1, 1, 0)]).await;
    });
    assert_eq!(events_of(&taken), [event("a", 1, 1, 0)]);
}
