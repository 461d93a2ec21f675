//! The queue: what is due, tries and their ends, letters that are sent again.

use std::time::Duration;

use super::{Bench, LEASE, delivered, run};
use crate::domain::{Notice, Notification, Outcome, State};
use crate::ports::Resent;

run!(make:
    what_is_due_is_claimed_oldest_first_and_once,
    a_recipient_has_one_letter_under_way,
    a_failure_puts_its_recipient_in_quarantine_and_nobody_else,
    a_letter_is_tried_until_it_is_taken,
    whatever_is_not_being_sent_can_be_sent_again,
    a_letter_of_a_newer_release_waits_for_one_that_can_read_it,
    a_row_that_makes_no_sense_holds_up_nobody,
);

async fn what_is_due_is_claimed_oldest_first_and_once(bench: &Bench) {
    let later = bench.deliver("later", "anna").await;
    assert_eq!(bench.claim(9).await, ["orders/later"]);
    bench.settle(&later, 1, Outcome::Again("no")).await;
    bench.deliver("a", "cora").await;
    bench.pass(Duration::from_millis(10)).await;
    bench.deliver("b", "bert").await;
    assert_eq!(bench.claim(0).await, [""; 0]);
    assert_eq!(bench.claim(1).await, ["orders/a"]);
    assert_eq!(bench.claim(9).await, ["orders/b"]);
    assert_eq!(bench.claim(9).await, [""; 0]);
    let b = bench.about("b").await;
    assert_eq!((b.state, b.attempts), (State::Sending, 1));
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(bench.claim(9).await, ["orders/later"]);
}

async fn a_recipient_has_one_letter_under_way(bench: &Bench) {
    let a = bench.deliver("a", "anna").await;
    for order in ["b", "c"] {
        bench.deliver(order, "anna").await;
    }
    let of_bert = bench.deliver("d", "bert").await;
    assert_eq!(bench.claim(9).await, ["orders/a", "orders/d"]);
    bench.settle(&of_bert, 1, Outcome::Sent).await;
    assert_eq!(bench.claim(9).await, [""; 0]);
    bench.settle(&a, 1, Outcome::Sent).await;
    assert_eq!(bench.claim(9).await, ["orders/b"]);
}

async fn a_failure_puts_its_recipient_in_quarantine_and_nobody_else(bench: &Bench) {
    let a = bench.deliver("a", "anna").await;
    bench.deliver("b", "anna").await;
    bench.deliver("c", "bert").await;
    bench.claim(1).await;
    bench.settle(&a, 1, Outcome::Again("no")).await;
    let (tried, waits) = (bench.about("a").await, bench.about("b").await);
    assert_eq!((tried.state, tried.state_reason.as_str(), tried.attempts), (State::Pending, "no", 1));
    assert!(tried.next_try_time > tried.create_time + Duration::from_secs(1));
    assert_eq!((waits.state, waits.state_reason.as_str(), waits.attempts), (State::Pending, "", 0));
    assert_eq!(waits.next_try_time, tried.next_try_time);
    assert_eq!(bench.claim(9).await, ["orders/c"]);
    bench.pass(Duration::from_secs(1)).await;
    assert_eq!(bench.claim(9).await, ["orders/a"], "the order of letters stays");
}

async fn a_letter_is_tried_until_it_is_taken(bench: &Bench) {
    let notification = bench.deliver("a", "anna").await;
    for attempt in 1..=20 {
        let [claimed] = bench.store.claim(9, LEASE).await.unwrap().try_into().unwrap();
        assert_eq!(claimed.attempts, attempt);
        bench.settle(&claimed, attempt, Outcome::Again("no")).await;
        bench.pass(Duration::from_secs(300)).await;
    }
    let waits = bench.about("a").await;
    assert_eq!((waits.state, waits.state_reason.as_str()), (State::Pending, "no"));
    bench.claim(9).await;
    bench.settle(&notification, 21, Outcome::Never("gone")).await;
    let failed = bench.about("a").await;
    assert_eq!((failed.state, failed.state_reason.as_str(), failed.send_time), (State::Failed, "gone", None));
    bench.pass(Duration::from_secs(86_400)).await;
    assert_eq!(bench.claim(9).await, [""; 0]);
}

async fn whatever_is_not_being_sent_can_be_sent_again(bench: &Bench) {
    let notification = bench.deliver("a", "anna").await;
    let resend = async || bench.store.resend(notification.id).await.unwrap();
    for (attempt, outcome) in
        [(1, Outcome::Sent), (2, Outcome::Never("no")), (3, Outcome::Again("no")), (4, Outcome::Sent)]
    {
        assert_eq!(bench.claim(9).await, ["orders/a"]);
        assert_eq!(resend().await, Resent::BeingSent);
        bench.settle(&notification, attempt, outcome).await;
        assert_eq!(bench.claim(9).await, [""; 0]);
        let Resent::Yes(resent) = resend().await else { panic!("it was not being sent") };
        assert_eq!((resent.state, resent.attempts), (State::Pending, attempt));
        assert_eq!(*resent, bench.about("a").await);
        assert!(resent.send_time.is_some(), "when it was sent first is still known");
    }
    let Notice::Letter { recipient, occasion } = delivered("unknown", "anna") else { panic!("a letter") };
    let unknown = Notification::id_of("orders/unknown:1", &occasion, &recipient);
    assert_eq!(bench.store.resend(unknown).await.unwrap(), Resent::Missing);
}

async fn a_letter_of_a_newer_release_waits_for_one_that_can_read_it(bench: &Bench) {
    bench.deliver("newer", "anna").await;
    bench.deliver("crashed", "cora").await;
    bench.deliver("sound", "bert").await;
    let of_newer =
        "UPDATE notification SET template = 'order_painted', occasion = '{\"template\":\"order_painted\"}' WHERE";
    bench.execute(&format!("{of_newer} about = 'orders/newer'")).await;
    // One that the newer release has left behind.
    bench.execute(&format!("{of_newer} about = 'orders/crashed'")).await;
    bench.execute("UPDATE notification SET state = 'SENDING', attempts = 1 WHERE about = 'orders/crashed'").await;
    assert_eq!(bench.claim(1).await, ["orders/sound"]);
    for (order, attempts) in [("newer", 0), ("crashed", 1)] {
        let waits = bench.about(order).await;
        assert_eq!((waits.state, waits.attempts, waits.state_reason.as_str()), (State::Pending, attempts, ""));
        let pause = waits.next_try_time - waits.create_time;
        assert!(pause.whole_seconds() >= 299 && pause.whole_seconds() < 330, "{pause}");
    }
    bench.pass(Duration::from_secs(400)).await;
    assert_eq!(bench.claim(9).await, ["orders/sound"], "whose lease is over");
    assert_eq!(bench.about("newer").await.state, State::Pending);
}

async fn a_row_that_makes_no_sense_holds_up_nobody(bench: &Bench) {
    let damaged = bench.deliver("damaged", "anna").await;
    bench.deliver("sound", "bert").await;
    bench.execute("UPDATE notification SET recipient = 'nobody' WHERE about = 'orders/damaged'").await;
    assert_eq!(bench.claim(1).await, ["orders/sound"]);
    assert!(bench.store.get(damaged.id).await.is_err());
}
