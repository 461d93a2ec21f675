//! Publishing in order, fenced, in batches.

use std::time::{Duration, Instant};

use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use meshwork_events::{Bus, BusError, Lane, ReadFrom, Resume, Scope};
use meshwork_testkit::Nats;
use serde_json::{Value, json};

use crate::common::{SECOND, admin, event, events, eventually, lane, publish, read, repair, sized};
use crate::server::Reached as _;

#[tokio::test]
async fn what_is_published_is_read_in_order_from_its_tail() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    assert_eq!(bus.publisher(&lane()).await.unwrap().tail(), None);
    publish(&*bus, &events(1..=1)).await;
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    assert_eq!(publisher.tail().map(|tail| tail.position.n), Some(1));
    publisher.publish(&events(2..=30)).await.unwrap();
    publisher.publish(&[]).await.unwrap();
    publisher.publish(&events(31..=31)).await.unwrap();
    let mut last = event(31);
    last.time = publisher.tail().unwrap().time;
    assert_eq!(publisher.tail(), Some(&last));
    assert_eq!(bus.publisher(&lane()).await.unwrap().tail(), Some(&last));
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::All).await, (1..=31).collect::<Vec<_>>());
    // Other lanes have tails of their own.
    let other = Lane { partition: 1, ..lane() };
    assert_eq!(bus.publisher(&other).await.unwrap().tail(), None);
    assert_eq!(bus.lanes("orders").len(), 4);
}

#[tokio::test]
async fn of_two_publishers_only_one_goes_on() {
    let nats = Nats::start();
    let (one, two) = (nats.bus().await, nats.bus().await);
    // Singles and batches, after each other in each order.
    for (n, (first, second)) in [(1, 1), (1, 20), (20, 1), (20, 20)].into_iter().enumerate() {
        let from = 100 * i64::try_from(n).unwrap();
        let mut a = one.publisher(&lane()).await.unwrap();
        let mut b = two.publisher(&lane()).await.unwrap();
        a.publish(&events(from + 1..=from + first)).await.unwrap();
        // Neither the same events nor others.
        let same = b.publish(&events(from + 1..=from + second)).await;
        assert!(matches!(same, Err(BusError::TailMoved)), "{same:?}");
        let others = b.publish(&events(from + 51..=from + 50 + second)).await;
        assert!(matches!(others, Err(BusError::TailMoved)), "{others:?}");
        // The first goes on; the second does when it has read the tail.
        a.publish(&events(from + 80..=from + 80)).await.unwrap();
        let mut b = two.publisher(&lane()).await.unwrap();
        assert_eq!(b.tail().map(|tail| tail.position.n), Some(from + 80));
        b.publish(&events(from + 81..=from + 80 + second)).await.unwrap();
        assert!(matches!(a.publish(&events(from + 90..=from + 90)).await, Err(BusError::TailMoved)));
    }
    let all = read(&*one, ReadFrom::Start, Scope::Published).await;
    assert!(all.is_sorted() && all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
}

#[tokio::test]
async fn many_publishers_neither_double_nor_reorder() {
    let nats = Nats::start();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let bus = nats.bus().await;
        tasks.push(async move {
            loop {
                let mut publisher = eventually(async || bus.publisher(&lane()).await).await;
                loop {
                    let next = publisher.tail().map_or(0, |tail| tail.position.n) + 1;
                    if next > 300 {
                        return;
                    }
                    match publisher.publish(&events(next..=(next + next % 40).min(300))).await {
                        Ok(()) => {}
                        Err(BusError::TailMoved) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    futures_util::future::join_all(tasks).await;
    assert_eq!(read(&*nats.bus().await, ReadFrom::Start, Scope::All).await, (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn large_publications_are_cut_into_batches() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=1_201)).await;
    let large: Vec<_> = (1_202..=1_209).map(|n| sized(n, 700 * 1024)).collect();
    publish(&*bus, &large).await;
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::Published).await, (1..=1_209).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_is_too_large_is_named_after_those_before_it() {
    let nats = Nats::builder().max_payload(100 * 1024).start();
    let bus = nats.bus().await;
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    let refused = publisher.publish(&[event(1), event(2), sized(3, 100 * 1024), event(4)]).await;
    match refused {
        Err(BusError::TooLarge { id, bytes, limit }) => {
            assert_eq!((id.as_str(), limit), ("orders/3:1", 100 * 1024));
            assert!(bytes > limit);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(publisher.tail().map(|tail| tail.position.n), Some(2));
    publisher.publish(&[event(4), sized(5, 90 * 1024)]).await.unwrap();
    let mut long = event(6);
    long.subject = "x".repeat(70 * 1024);
    assert!(matches!(publisher.publish(&[long]).await, Err(BusError::TooLarge { limit: 65_535, .. })));
    let mut long = event(6);
    long.event_type = "x".repeat(300);
    assert!(matches!(publisher.repair(&[long]).await, Err(BusError::TooLarge { limit: 255, .. })));
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::All).await, [1, 2, 4, 5]);
}

#[tokio::test]
async fn a_full_stream_takes_nothing_and_loses_nothing() {
    let nats = Nats::start();
    let options = JetStreamOptions { max_bytes: 1024 * 1024, ..nats.options() };
    let bus = JetStreamBus::connect(options).await.unwrap();
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    publisher.publish(&[sized(1, 600 * 1024)]).await.unwrap();
    for full in [vec![sized(2, 600 * 1024)], (2..=31).map(|n| sized(n, 20 * 1024)).collect()] {
        let refused = publisher.publish(&full).await;
        assert!(matches!(refused, Err(BusError::Full(_))), "{refused:?}");
        let refused = publisher.repair(&[sized(2, 600 * 1024)]).await;
        assert!(matches!(refused, Err(BusError::Full(_))), "{refused:?}");
    }
    publish(&*bus, &events(2..=2)).await;
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::All).await, [1, 2]);
    // With more room it goes on.
    let bus = nats.bus().await;
    publish(&*bus, &[sized(3, 600 * 1024)]).await;
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::All).await, [1, 2, 3]);
}

#[tokio::test]
async fn repairs_leave_the_tail_where_it_is() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events([1, 2, 5, 6])).await;
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    publisher.repair(&events(3..=4)).await.unwrap();
    // Again, as after a lost acknowledgement.
    publisher.repair(&events(3..=4)).await.unwrap();
    publisher.publish(&events(7..=7)).await.unwrap();
    assert_eq!(bus.publisher(&lane()).await.unwrap().tail().map(|tail| tail.position.n), Some(7));
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::Published).await, [1, 2, 5, 6, 7]);
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::Repaired).await, [3, 4]);
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::All).await, [1, 2, 5, 6, 3, 4, 7]);
    repair(&*bus, &events(1_000..=1_199)).await;
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::Repaired).await.len(), 202);
}

#[tokio::test]
async fn a_lost_tail_is_published_again() {
    let nats = Nats::start();
    let (bus, client) = (nats.bus().await, nats.stranger().await);
    publish(&*bus, &events(1..=5)).await;
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    // As a server that has lost what it had acknowledged: what we forbid is allowed for once.
    let lost = admin(&client, "STREAM.DELETE.ORDERS", Value::Null).await;
    assert_eq!(lost["success"], json!(true));
    let failed = publisher.publish(&events(6..=6)).await;
    assert!(matches!(failed, Err(BusError::Unavailable(_))), "{failed:?}");
    let mut publisher = eventually(async || bus.publisher(&lane()).await).await;
    assert_eq!(publisher.tail(), None);
    // The same ids again, at once.
    publisher.publish(&events(1..=6)).await.unwrap();
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::All).await, (1..=6).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lost_acknowledgement_neither_loses_nor_doubles() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    for (round, size) in [(0, 1), (1, 30)] {
        let from = round * 100;
        let mut publisher = bus.publisher(&lane()).await.unwrap();
        publisher.publish(&events(from + 1..=from + 1)).await.unwrap();
        nats.freeze();
        let begun = Instant::now();
        let lost = publisher.publish(&events(from + 2..=from + 1 + size)).await;
        assert!(matches!(lost, Err(BusError::Unavailable(_))), "{lost:?}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        nats.thaw();
        // What was on its way may still arrive; whoever publishes the same is fenced by it, or fences it.
        eventually(async || {
            let mut publisher = bus.publisher(&lane()).await?;
            let tail = publisher.tail().map_or(0, |tail| tail.position.n);
            publisher.publish(&events(tail.max(from) + 1..=from + 60)).await
        })
        .await;
        let all = read(&*bus, ReadFrom::Start, Scope::All).await;
        let expected: Vec<i64> = (0..=round).flat_map(|round| round * 100 + 1..=round * 100 + 60).collect();
        assert_eq!(all, expected);
    }
}

#[tokio::test]
async fn losses_are_counted() {
    let nats = Nats::start();
    let (bus, client) = (nats.bus().await, nats.stranger().await);
    let mut counted = Vec::new();
    // What a damaged disk does, an administrator can do before we forbid it.
    for (stream, lost) in [("whole", None), ("within", Some(2)), ("begin", Some(1))] {
        let name = stream.to_uppercase();
        let config = json!({
            "name": name, "subjects": [format!("{stream}.v1.>")], "storage": "file", "retention": "limits",
            "discard": "new", "num_replicas": 1,
        });
        let made = admin(&client, &format!("STREAM.CREATE.{name}"), config).await;
        assert!(made["error"].is_null(), "{made}");
        for _ in 0..3 {
            client.request(format!("{stream}.v1.odd.p00"), "odd".into()).await.unwrap();
        }
        if let Some(seq) = lost {
            let deleted = admin(&client, &format!("STREAM.MSG.DELETE.{name}"), json!({ "seq": seq })).await;
            assert_eq!(deleted["success"], json!(true), "{deleted}");
        }
        let mut publisher = bus.publisher(&Lane { stream: stream.to_owned(), ..lane() }).await.unwrap();
        let losses = publisher.losses().await.unwrap();
        publisher.publish(&events(1..=3)).await.unwrap();
        assert_eq!(publisher.losses().await.unwrap(), losses);
        counted.push(losses);
        let denied = admin(&client, &format!("STREAM.MSG.DELETE.{name}"), json!({ "seq": 3 })).await;
        assert!(denied["error"].is_object(), "{denied}");
        let denied = admin(&client, &format!("STREAM.PURGE.{name}"), Value::Null).await;
        assert!(denied["error"].is_object(), "{denied}");
    }
    assert_eq!(counted[0], 0);
    assert!(counted[1] != 0 && counted[2] != 0 && counted[1] != counted[2], "{counted:?}");
}

#[tokio::test]
async fn without_a_server_everything_fails_in_time_and_goes_on_with_one() {
    let nats = Nats::start();
    nats.kill();
    let bus = nats.bus().await;
    let begun = Instant::now();
    assert!(matches!(bus.ping().await, Err(BusError::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    nats.restart();
    eventually(async || bus.ping().await).await;
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    publisher.publish(&events(1..=3)).await.unwrap();
    nats.kill();
    let begun = Instant::now();
    assert!(matches!(publisher.publish(&events(4..=4)).await, Err(BusError::Unavailable(_))));
    assert!(matches!(publisher.publish(&events(4..=9)).await, Err(BusError::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    nats.restart();
    let mut publisher = eventually(async || bus.publisher(&lane()).await).await;
    let tail = publisher.tail().map_or(0, |tail| tail.position.n);
    publisher.publish(&events(tail + 1..=9)).await.unwrap();
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::All).await, (1..=9).collect::<Vec<_>>());
}

/// Prints how fast it is, for whom that concerns.
#[tokio::test]
async fn throughput_is_noted() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    let mut noted = Vec::new();
    let mut n = 0;
    for size in [1_i64, 10, 100, 500] {
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_millis(500) {
            let batch: Vec<_> = (n + 1..=n + size).map(|n| sized(n, 300)).collect();
            publisher.publish(&batch).await.unwrap();
            (n, count) = (n + size, count + size);
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        noted.push(format!("{:.0}/s by {size}", count as f64 / begun.elapsed().as_secs_f64()));
    }
    let begun = Instant::now();
    let all = read(&*bus, ReadFrom::Start, Scope::Published).await;
    let read = begun.elapsed();
    let mut subscription = bus.subscribe("products", &lane(), Resume::FromStart).await.unwrap();
    let (begun, mut handled) = (Instant::now(), 0);
    while handled < all.len() {
        let batch = subscription.next(64, SECOND).await.unwrap();
        handled += batch.deliveries.len();
        subscription.done_through(u64::MAX).await.unwrap();
    }
    #[allow(clippy::print_stderr, reason = "a note")]
    {
        let handled = begun.elapsed();
        eprintln!("published {}; {n} read in {read:?}, handled by 64 in {handled:?}", noted.join(", "));
    }
    assert_eq!(all.len(), usize::try_from(n).unwrap());
}
