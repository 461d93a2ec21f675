//! Events, and what they call for.

use super::{ANY_AGE, Bench, LEASE, delivered, event, first, order_name, run, user_name};
use crate::domain::{Amount, Notice, Notification, Occasion, Outcome, State};
use crate::ports::{Arrival, Recorded};

run!(make:
    a_notification_is_read_back_as_it_was_stored,
    an_event_has_its_effect_once,
    an_event_behind_a_hole_has_no_effect,
    an_event_that_calls_for_nothing_is_noted_all_the_same,
    there_is_one_notification_per_event_template_and_recipient,
    a_confirmed_order_is_told_of_once_its_pieces_are_allocated,
    an_order_that_is_cancelled_before_is_not_called_confirmed,
    an_allocation_that_nothing_is_known_of_calls_for_nothing,
    a_sum_that_can_not_be_read_is_left_out,
    d3_a_reason_that_a_first_release_has_stored_is_told_without_the_stock,
    d4_what_an_erased_account_was_told_is_gone,
);

async fn record(bench: &Bench, arrival: Arrival, notice: Notice) -> Recorded {
    bench.store.record(arrival, notice, ANY_AGE).await.unwrap()
}

async fn a_notification_is_read_back_as_it_was_stored(bench: &Bench) {
    let tracking_number = "\"quoted\" ünd\n\0".to_owned();
    let occasion = Occasion::OrderShipped { order: order_name("a"), tracking_number };
    let notice = Notice::Letter { recipient: user_name("anna"), occasion: occasion.clone() };
    record(bench, first("a"), notice).await;
    let found = bench.about("a").await;
    let expected = Notification::new("orders/a:1".to_owned(), user_name("anna"), occasion, found.create_time);
    assert_eq!(found, expected);
    assert_eq!(bench.other.get(expected.id).await.unwrap(), Some(expected));
    let unknown = Occasion::OrderDelivered { order: order_name("b") };
    let unknown = Notification::id_of("orders/b:1", &unknown, &user_name("anna"));
    assert_eq!(bench.store.get(unknown).await.unwrap(), None);
}

async fn an_event_has_its_effect_once(bench: &Bench) {
    let notification = bench.deliver("a", "anna").await;
    assert_eq!(record(bench, first("a"), delivered("a", "anna")).await, Recorded::Duplicate);
    assert_eq!(bench.all().await.len(), 1);
    bench.claim(9).await;
    bench.settle(&notification, 1, Outcome::Sent).await;
    record(bench, first("a"), delivered("a", "anna")).await;
    assert_eq!(bench.about("a").await.state, State::Sent, "what was sent is not sent again");
}

async fn an_event_behind_a_hole_has_no_effect(bench: &Bench) {
    let third = || event("a", 3);
    let notice = || delivered("a", "anna");
    assert_eq!(record(bench, third(), notice()).await, Recorded::Hole { last: 0 });
    assert_eq!(record(bench, first("a"), Notice::Nothing).await, Recorded::Applied);
    assert_eq!(record(bench, third(), notice()).await, Recorded::Hole { last: 1 });
    assert_eq!(bench.all().await, []);
    assert_eq!(record(bench, event("a", 2), Notice::Nothing).await, Recorded::Applied);
    assert_eq!(record(bench, third(), notice()).await, Recorded::Applied);
    assert_eq!(bench.all().await.len(), 1);
}

async fn an_event_that_calls_for_nothing_is_noted_all_the_same(bench: &Bench) {
    assert_eq!(record(bench, first("a"), Notice::Nothing).await, Recorded::Applied);
    assert_eq!(record(bench, first("a"), Notice::Nothing).await, Recorded::Duplicate);
    assert_eq!(bench.all().await, []);
}

async fn there_is_one_notification_per_event_template_and_recipient(bench: &Bench) {
    bench.deliver("a", "anna").await;
    // The same event under another version: a source that numbers anew.
    let again = Arrival { version: 2, ..first("a") };
    assert_eq!(record(bench, again, delivered("a", "anna")).await, Recorded::Applied);
    assert_eq!(bench.all().await.len(), 1);
}

fn confirmed(order: &str) -> Notice {
    let total = Some(Amount { currency: "EUR".to_owned(), minor: 1234, digits: 2 });
    Notice::Confirmed { order: order_name(order), customer: user_name("anna"), total }
}

fn allocated(order: &str) -> Notice {
    Notice::Allocated { order: order_name(order) }
}

async fn a_confirmed_order_is_told_of_once_its_pieces_are_allocated(bench: &Bench) {
    record(bench, first("a"), confirmed("a")).await;
    assert_eq!(bench.all().await, []);
    assert_eq!(record(bench, event("a", 2), allocated("a")).await, Recorded::Applied);
    let found = bench.about("a").await;
    assert_eq!((found.event_id.as_str(), &found.recipient), ("orders/a:2", &user_name("anna")));
    assert_eq!((found.template.as_str(), found.state), ("order_confirmed", State::Pending));
    let Some(Occasion::OrderConfirmed { total: Some(total), .. }) = &found.occasion else { panic!("{found:?}") };
    assert_eq!(total.to_string(), "12.34 EUR");
    assert_eq!(record(bench, event("a", 2), allocated("a")).await, Recorded::Duplicate);
    record(bench, event("a", 3), allocated("a")).await;
    assert_eq!(bench.all().await.len(), 1);
    assert_eq!(bench.store.claim(9, LEASE).await.unwrap().len(), 1);
}

async fn an_order_that_is_cancelled_before_is_not_called_confirmed(bench: &Bench) {
    record(bench, first("a"), confirmed("a")).await;
    let occasion = Occasion::OrderCancelled { order: order_name("a"), reason: "no pieces".to_owned() };
    record(bench, event("a", 2), Notice::Letter { recipient: user_name("anna"), occasion }).await;
    record(bench, event("a", 3), allocated("a")).await;
    assert_eq!(bench.about("a").await.template, "order_cancelled");
}

async fn an_allocation_that_nothing_is_known_of_calls_for_nothing(bench: &Bench) {
    assert_eq!(record(bench, first("a"), allocated("a")).await, Recorded::Applied);
    record(bench, first("b"), confirmed("b")).await;
    bench.execute("UPDATE order_note SET customer = 'nobody'").await;
    assert_eq!(record(bench, event("b", 2), allocated("b")).await, Recorded::Applied);
    assert_eq!(bench.all().await, []);
}

async fn a_sum_that_can_not_be_read_is_left_out(bench: &Bench) {
    record(bench, first("a"), confirmed("a")).await;
    bench.execute("UPDATE order_note SET total = '{\"amount\": 1}'").await;
    record(bench, event("a", 2), allocated("a")).await;
    let occasion = bench.about("a").await.occasion;
    assert_eq!(occasion, Some(Occasion::OrderConfirmed { order: order_name("a"), total: None }));
}

async fn d3_a_reason_that_a_first_release_has_stored_is_told_without_the_stock(bench: &Bench) {
    let (order, reason) = (order_name("a"), "too few pieces of products/tea".to_owned());
    bench.deliver("a", "anna").await;
    for (template, expected) in [
        ("order_rejected", Occasion::OrderRejected { order: order.clone(), reason: reason.clone() }),
        ("order_cancelled", Occasion::OrderCancelled { order: order.clone(), reason: reason.clone() }),
    ] {
        let stored = format!("{reason}: 5 wanted, 3 available");
        let stored = format!(r#"{{"template":"{template}","order":"orders/a","reason":"{stored}"}}"#);
        bench.execute(&format!("UPDATE notification SET template = '{template}', occasion = '{stored}'")).await;
        assert_eq!(bench.about("a").await.occasion, Some(expected));
    }
}

async fn d4_what_an_erased_account_was_told_is_gone(bench: &Bench) {
    for (order, user) in [("a", "anna"), ("b", "bert"), ("c", "anna")] {
        bench.deliver(order, user).await;
    }
    let (event_id, subject) = ("users/anna:1".to_owned(), "users/anna".to_owned());
    let arrival = || Arrival { event_id: event_id.clone(), subject: subject.clone(), ..first("a") };
    let notice = || Notice::Erased { user: user_name("anna") };
    assert_eq!(record(bench, arrival(), notice()).await, Recorded::Applied);
    let left: Vec<_> = bench.all().await.into_iter().map(|it| it.recipient).collect();
    assert_eq!(left, [user_name("bert")]);
    assert_eq!(record(bench, arrival(), notice()).await, Recorded::Duplicate);
}
