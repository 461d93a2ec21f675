//! Several instances on one store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Bench, LEASE, run};
use crate::domain::{Outcome, State};
use crate::ports::NotificationStore;

run!(make:
    what_one_instance_has_under_way_no_other_takes,
    a_lease_that_is_over_gives_its_letter_to_another,
    a_lease_that_is_renewed_keeps_its_letter,
    several_instances_share_the_letters,
);

async fn what_one_instance_has_under_way_no_other_takes(bench: &Bench) {
    let a = bench.deliver("a", "anna").await;
    bench.deliver("b", "anna").await;
    assert_eq!(bench.claim(9).await, ["orders/a"]);
    assert_eq!(bench.other.claim(9, LEASE).await.unwrap(), []);
    bench.pass(LEASE - Duration::from_secs(5)).await;
    assert_eq!(bench.other.claim(9, LEASE).await.unwrap(), []);
    bench.settle(&a, 1, Outcome::Sent).await;
    let [b] = bench.other.claim(9, LEASE).await.unwrap().try_into().unwrap();
    assert_eq!(b.about, "orders/b");
}

async fn a_lease_that_is_over_gives_its_letter_to_another(bench: &Bench) {
    let notification = bench.deliver("a", "anna").await;
    bench.settle(&notification, 0, Outcome::Sent).await;
    assert_eq!(bench.about("a").await.state, State::Pending, "that try was never begun");
    bench.claim(9).await;
    bench.pass(LEASE).await;
    let [second] = bench.other.claim(9, LEASE).await.unwrap().try_into().unwrap();
    assert_eq!((second.id, second.attempts), (notification.id, 2));
    for late in [Outcome::Never("late"), Outcome::Again("late"), Outcome::Sent] {
        bench.settle(&notification, 1, late).await;
        assert_eq!(bench.about("a").await, second);
    }
    bench.other.settle(notification.id, 2, Outcome::Sent).await.unwrap();
    let sent = bench.about("a").await;
    assert_eq!((sent.state, sent.attempts), (State::Sent, 2));
}

async fn a_lease_that_is_renewed_keeps_its_letter(bench: &Bench) {
    let short = Duration::from_secs(5);
    let a = bench.deliver("a", "anna").await;
    let renew = async |attempt| bench.store.renew(a.id, attempt, LEASE).await.unwrap();
    assert!(!renew(0).await, "no try is under way");
    bench.claim(9).await;
    bench.pass(LEASE - short).await;
    assert!(renew(1).await);
    bench.pass(LEASE - short).await;
    assert_eq!(bench.other.claim(9, LEASE).await.unwrap(), []);
    bench.pass(short).await;
    let [second] = bench.other.claim(9, LEASE).await.unwrap().try_into().unwrap();
    assert_eq!((second.id, second.attempts), (a.id, 2));
    assert!(!renew(1).await, "it is another's by now");
    assert_eq!(bench.about("a").await, second);
    // One that is over and that nobody has taken is taken back.
    bench.pass(LEASE).await;
    assert!(renew(2).await);
    assert_eq!(bench.claim(9).await, [""; 0]);
    bench.settle(&a, 2, Outcome::Sent).await;
    let sent = bench.about("a").await;
    assert!(!renew(2).await);
    assert_eq!((sent.state, bench.about("a").await), (State::Sent, sent));
}

/// Who is written to at this moment, and how often what was sent.
#[derive(Default)]
struct Seen {
    under_way: BTreeSet<String>,
    sent: BTreeMap<String, u32>,
}

async fn several_instances_share_the_letters(bench: &Bench) {
    const LETTERS: usize = 60;
    for at in 0..LETTERS {
        bench.deliver(&format!("o{at}"), &format!("u{}", at % 7)).await;
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut instances = JoinSet::new();
    for store in [&bench.store, &bench.other, &bench.store, &bench.other] {
        instances.spawn(work(store.clone(), seen.clone(), LETTERS));
    }
    while let Some(ended) = instances.join_next().await {
        ended.unwrap();
    }
    let sent = seen.lock().unwrap().sent.clone();
    assert!(sent.len() == LETTERS && sent.values().all(|times| *times == 1), "{sent:?}");
    assert!(bench.all().await.iter().all(|it| (it.state, it.attempts) == (State::Sent, 1)));
}

async fn work(store: Arc<dyn NotificationStore>, seen: Arc<Mutex<Seen>>, letters: usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while seen.lock().unwrap().sent.len() < letters {
        assert!(tokio::time::Instant::now() < deadline, "all letters are sent in time");
        let claimed = store.claim(3, Duration::from_secs(600)).await.unwrap();
        for notification in &claimed {
            let is_alone = seen.lock().unwrap().under_way.insert(notification.recipient.to_string());
            assert!(is_alone, "{} has two letters under way", notification.recipient);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        for notification in claimed {
            {
                let mut seen = seen.lock().unwrap();
                seen.under_way.remove(&notification.recipient.to_string());
                *seen.sent.entry(notification.about.clone()).or_default() += 1;
            }
            store.settle(notification.id, notification.attempts, Outcome::Sent).await.unwrap();
        }
    }
}
