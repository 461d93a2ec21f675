//! What is old: events that nobody is written to about any more, and notifications that are deleted.

use std::time::Duration;

use super::{ANY_AGE, Bench, delivered, event, first, order_name, run, user_name};
use crate::domain::{Freshness, GIVEN_UP, Notice, Outcome, State};
use crate::ports::{Arrival, Recorded};

run!(make:
    what_happened_before_the_service_began_is_not_mailed_about,
    what_happened_too_long_ago_is_not_mailed_about,
    a_letter_is_as_old_as_the_event_that_makes_it,
    what_has_waited_for_too_long_is_given_up,
    what_is_sent_again_has_as_much_time_as_what_is_new,
    what_has_ended_is_deleted_when_its_retention_is_over,
    notes_are_deleted_when_their_retention_is_over,
);

const HOUR: Duration = Duration::from_secs(3600);
const STRICT: Freshness = Freshness { mail_old_events: false, max_age: Duration::from_secs(24 * 3600) };

async fn what_happened_before_the_service_began_is_not_mailed_about(bench: &Bench) {
    let before = |order| Arrival { time: first(order).time - HOUR, ..first(order) };
    let record = async |arrival, order, freshness| {
        bench.store.record(arrival, delivered(order, "anna"), freshness).await.unwrap()
    };
    assert_eq!(record(before("a"), "a", STRICT).await, Recorded::Applied);
    assert_eq!(record(before("a"), "a", STRICT).await, Recorded::Duplicate, "it is noted all the same");
    assert_eq!(record(event("a", 2), "a", STRICT).await, Recorded::Applied);
    assert_eq!(bench.about("a").await.event_id, "orders/a:2");
    record(before("b"), "b", Freshness { mail_old_events: true, ..STRICT }).await;
    assert_eq!(bench.about("b").await.event_id, "orders/b:1");
    bench.pass(2 * HOUR).await;
    record(before("c"), "c", STRICT).await;
    assert_eq!(bench.about("c").await.event_id, "orders/c:1", "by now the service has begun before that");
}

async fn what_happened_too_long_ago_is_not_mailed_about(bench: &Bench) {
    bench.pass(48 * HOUR).await;
    for (order, age, is_mailed) in [("a", 23 * HOUR, true), ("b", 25 * HOUR, false)] {
        for mail_old_events in [false, true] {
            let order = format!("{order}-{mail_old_events}");
            let arrival = Arrival { time: first(&order).time - age, ..first(&order) };
            let freshness = Freshness { mail_old_events, ..STRICT };
            bench.store.record(arrival, delivered(&order, "anna"), freshness).await.unwrap();
            assert_eq!(bench.all_about(&order).await.len(), usize::from(is_mailed), "{order}");
        }
    }
}

async fn a_letter_is_as_old_as_the_event_that_makes_it(bench: &Bench) {
    let confirmed = Notice::Confirmed { order: order_name("a"), customer: user_name("anna"), total: None };
    let before = Arrival { time: first("a").time - HOUR, ..first("a") };
    bench.store.record(before, confirmed, STRICT).await.unwrap();
    bench.store.record(event("a", 2), Notice::Allocated { order: order_name("a") }, STRICT).await.unwrap();
    assert_eq!(bench.about("a").await.event_id, "orders/a:2");
}

async fn what_has_waited_for_too_long_is_given_up(bench: &Bench) {
    let tried = bench.deliver("tried", "anna").await;
    bench.deliver("sending", "bert").await;
    assert_eq!(bench.store.claim(9, HOUR * 9).await.unwrap().len(), 2);
    bench.settle(&tried, 1, Outcome::Again("no")).await;
    bench.deliver("waits", "bert").await;
    bench.pass(2 * HOUR).await;
    bench.deliver("new", "cora").await;
    assert_eq!(bench.store.give_up(3 * HOUR, 9).await.unwrap(), 0);
    for given_up in [1, 1, 0] {
        assert_eq!(bench.store.give_up(HOUR, 1).await.unwrap(), given_up);
    }
    for (order, attempts) in [("tried", 1), ("waits", 0)] {
        let failed = bench.about(order).await;
        assert_eq!((failed.state, failed.state_reason.as_str()), (State::Failed, GIVEN_UP));
        assert_eq!((failed.attempts, failed.send_time), (attempts, None));
    }
    assert_eq!(bench.about("sending").await.state, State::Sending);
    assert_eq!(bench.claim(9).await, ["orders/new"]);
    // It has ended now, and is kept for as long as what has ended otherwise.
    assert_eq!(bench.store.prune(HOUR, 9).await.unwrap(), 0);
    bench.pass(2 * HOUR).await;
    assert_eq!(bench.store.prune(HOUR, 9).await.unwrap(), 2);
}

async fn what_is_sent_again_has_as_much_time_as_what_is_new(bench: &Bench) {
    let notification = bench.deliver("a", "anna").await;
    bench.pass(2 * HOUR).await;
    assert_eq!(bench.store.give_up(HOUR, 9).await.unwrap(), 1);
    bench.store.resend(notification.id).await.unwrap();
    assert_eq!(bench.store.give_up(HOUR, 9).await.unwrap(), 0);
    assert_eq!(bench.claim(9).await, ["orders/a"]);
    bench.settle(&notification, 1, Outcome::Again("no")).await;
    bench.pass(HOUR / 2).await;
    assert_eq!(bench.store.give_up(HOUR, 9).await.unwrap(), 0);
    bench.pass(HOUR).await;
    assert_eq!(bench.store.give_up(HOUR, 9).await.unwrap(), 1);
    assert_eq!(bench.about("a").await.state, State::Failed);
}

async fn what_has_ended_is_deleted_when_its_retention_is_over(bench: &Bench) {
    for order in ["sent", "failed", "waits", "sending", "late"] {
        bench.deliver(order, order).await;
    }
    let claimed = bench.store.claim(9, HOUR * 9).await.unwrap();
    for (order, outcome) in [("sent", Outcome::Sent), ("failed", Outcome::Never("no")), ("waits", Outcome::Again("no"))]
    {
        let notification = claimed.iter().find(|it| it.about == format!("orders/{order}")).unwrap();
        bench.settle(notification, 1, outcome).await;
    }
    bench.pass(2 * HOUR).await;
    let late = bench.about("late").await;
    bench.settle(&late, 1, Outcome::Sent).await;
    bench.deliver("new", "new").await;
    assert_eq!(bench.store.prune(3 * HOUR, 1).await.unwrap(), 0);
    for deleted in [1, 1, 0] {
        assert_eq!(bench.store.prune(HOUR, 1).await.unwrap(), deleted);
    }
    let left: Vec<_> = bench.all().await.into_iter().map(|it| it.about).collect();
    assert_eq!(left, ["orders/new", "orders/late", "orders/sending", "orders/waits"]);
    bench.pass(HOUR * 2).await;
    assert_eq!(bench.store.prune(HOUR, 9).await.unwrap(), 1);
}

async fn notes_are_deleted_when_their_retention_is_over(bench: &Bench) {
    for order in ["a", "b"] {
        let confirmed = Notice::Confirmed { order: order_name(order), customer: user_name("anna"), total: None };
        bench.store.record(first(order), confirmed, ANY_AGE).await.unwrap();
    }
    assert_eq!(bench.store.prune(HOUR, 9).await.unwrap(), 0);
    bench.pass(2 * HOUR).await;
    assert_eq!(bench.store.prune(HOUR, 1).await.unwrap(), 1);
    assert_eq!(bench.store.prune(HOUR, 9).await.unwrap(), 1);
    for order in ["a", "b"] {
        bench.store.record(event(order, 2), Notice::Allocated { order: order_name(order) }, ANY_AGE).await.unwrap();
    }
    assert_eq!(bench.all().await, []);
}
