//! The conformance suite: what every store of notifications must do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use meshwork_api::UserName;
use meshwork_chassis::page::PageRequest;
use time::{Duration, OffsetDateTime};

use crate::domain::{Notification, Occasion, Outcome, State};
use crate::ports::{Arrival, NotificationStore, Recorded, Selection, StoreError};

/// When the suite's notifications are made.
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// Runs the suite; `make_store` makes an empty store.
pub async fn conformance<F: Future<Output = Arc<dyn NotificationStore>>>(make_store: impl Fn() -> F) {
    a_notification_is_read_back_as_it_was_stored(make_store().await.as_ref()).await;
    an_event_has_its_effect_once(make_store().await.as_ref()).await;
    an_event_behind_a_hole_has_no_effect(make_store().await.as_ref()).await;
    an_event_that_calls_for_nothing_is_noted_all_the_same(make_store().await.as_ref()).await;
    there_is_one_notification_per_event_template_and_recipient(make_store().await.as_ref()).await;
    what_is_due_is_claimed_oldest_first_and_once(make_store().await.as_ref()).await;
    a_recipient_has_one_letter_under_way(make_store().await.as_ref()).await;
    a_failure_puts_its_recipient_in_quarantine_and_nobody_else(make_store().await.as_ref()).await;
    a_letter_is_tried_until_it_is_taken(make_store().await.as_ref()).await;
    a_late_end_of_a_try_changes_nothing(make_store().await.as_ref()).await;
    interrupted_tries_are_taken_back(make_store().await.as_ref()).await;
    lists_are_newest_first_and_filtered(make_store().await.as_ref()).await;
    pages_show_each_notification_once(make_store().await.as_ref()).await;
}

/// The notification to `users/{user}` that `orders/{order}` was delivered.
pub fn delivered(order: &str, user: &str, at: OffsetDateTime) -> Notification {
    let occasion = Occasion::OrderDelivered { order: format!("orders/{order}").parse().unwrap() };
    Notification::new(format!("orders/{order}:1"), user_name(user), occasion, at)
}

fn user_name(user: &str) -> UserName {
    format!("users/{user}").parse().unwrap()
}

/// Where the first event of `orders/{order}` stands.
pub fn first(order: &str) -> Arrival {
    Arrival { subject: format!("orders/{order}"), version: 1 }
}

async fn record(store: &dyn NotificationStore, order: &str, user: &str, at: OffsetDateTime) -> Notification {
    let notification = delivered(order, user, at);
    let recorded = store.record(first(order), Some(notification.clone())).await.unwrap();
    assert_eq!(recorded, Recorded::Applied);
    notification
}

async fn stored(store: &dyn NotificationStore, notification: &Notification) -> Notification {
    store.get(notification.id).await.unwrap().unwrap()
}

async fn claimed(store: &dyn NotificationStore, now: OffsetDateTime, limit: usize) -> Vec<String> {
    store.claim(now, limit).await.unwrap().into_iter().map(|it| it.occasion.about()).collect()
}

async fn all(store: &dyn NotificationStore) -> Vec<Notification> {
    store.list(Selection::default(), PageRequest { size: 200, after: None }).await.unwrap().items
}

async fn a_notification_is_read_back_as_it_was_stored(store: &dyn NotificationStore) {
    let at = NOW + Duration::microseconds(1_234_567);
    let occasion =
        Occasion::OrderShipped { order: "orders/a".parse().unwrap(), tracking_number: "\"quoted\" ünd\n".to_owned() };
    let notification = Notification::new("orders/a:1".to_owned(), user_name("anna"), occasion, at);
    store.record(first("a"), Some(notification.clone())).await.unwrap();
    assert_eq!(stored(store, &notification).await, notification);
    assert_eq!(store.get(delivered("b", "anna", NOW).id).await.unwrap(), None);
}

async fn an_event_has_its_effect_once(store: &dyn NotificationStore) {
    let notification = record(store, "a", "anna", NOW).await;
    let again = store.record(first("a"), Some(notification)).await.unwrap();
    assert_eq!(again, Recorded::Duplicate);
    assert_eq!(all(store).await.len(), 1);
    let [claimed] = store.claim(NOW, 9).await.unwrap().try_into().unwrap();
    store.settle(claimed.id, 1, Outcome::Sent, NOW).await.unwrap();
    store.record(first("a"), Some(delivered("a", "anna", NOW))).await.unwrap();
    assert_eq!(all(store).await[0].state, State::Sent, "what was sent is not sent again");
}

async fn an_event_behind_a_hole_has_no_effect(store: &dyn NotificationStore) {
    let third = || Arrival { version: 3, ..first("a") };
    let notification = delivered("a", "anna", NOW);
    let recorded = store.record(third(), Some(notification.clone())).await.unwrap();
    assert_eq!(recorded, Recorded::Hole { last: 0 });
    store.record(first("a"), None).await.unwrap();
    let recorded = store.record(third(), Some(notification.clone())).await.unwrap();
    assert_eq!(recorded, Recorded::Hole { last: 1 });
    assert_eq!(all(store).await, []);
    store.record(Arrival { version: 2, ..first("a") }, None).await.unwrap();
    assert_eq!(store.record(third(), Some(notification)).await.unwrap(), Recorded::Applied);
    assert_eq!(all(store).await.len(), 1);
}

async fn an_event_that_calls_for_nothing_is_noted_all_the_same(store: &dyn NotificationStore) {
    assert_eq!(store.record(first("a"), None).await.unwrap(), Recorded::Applied);
    assert_eq!(store.record(first("a"), None).await.unwrap(), Recorded::Duplicate);
    assert_eq!(all(store).await, []);
}

async fn there_is_one_notification_per_event_template_and_recipient(store: &dyn NotificationStore) {
    let notification = record(store, "a", "anna", NOW).await;
    // The same event under another version: a source that numbers anew.
    let again = store.record(Arrival { version: 2, ..first("a") }, Some(notification)).await.unwrap();
    assert_eq!(again, Recorded::Applied);
    assert_eq!(all(store).await.len(), 1);
}

async fn what_is_due_is_claimed_oldest_first_and_once(store: &dyn NotificationStore) {
    record(store, "later", "anna", NOW + Duration::seconds(2)).await;
    record(store, "b", "bert", NOW + Duration::seconds(1)).await;
    record(store, "a", "cora", NOW).await;
    assert_eq!(claimed(store, NOW - Duration::microseconds(1), 9).await, [""; 0]);
    let now = NOW + Duration::seconds(1);
    assert_eq!(claimed(store, now, 1).await, ["orders/a"]);
    assert_eq!(claimed(store, now, 9).await, ["orders/b"]);
    assert_eq!(claimed(store, now, 9).await, [""; 0]);
    let [_, bert, _] = all(store).await.try_into().unwrap();
    assert_eq!((bert.state, bert.attempts), (State::Sending, 1));
}

async fn a_recipient_has_one_letter_under_way(store: &dyn NotificationStore) {
    for order in ["a", "b", "c"] {
        record(store, order, "anna", NOW).await;
    }
    let of_bert = record(store, "d", "bert", NOW).await;
    let claimed_first = store.claim(NOW, 9).await.unwrap();
    let about: Vec<_> = claimed_first.iter().map(|it| it.occasion.about()).collect();
    assert_eq!(about, ["orders/a", "orders/d"]);
    store.settle(of_bert.id, 1, Outcome::Sent, NOW).await.unwrap();
    assert_eq!(claimed(store, NOW, 9).await, [""; 0]);
    store.settle(claimed_first[0].id, 1, Outcome::Sent, NOW).await.unwrap();
    assert_eq!(claimed(store, NOW, 9).await, ["orders/b"]);
}

async fn a_failure_puts_its_recipient_in_quarantine_and_nobody_else(store: &dyn NotificationStore) {
    let [a, b] = [record(store, "a", "anna", NOW).await, record(store, "b", "anna", NOW).await];
    let c = record(store, "c", "bert", NOW).await;
    store.claim(NOW, 1).await.unwrap();
    store.settle(a.id, 1, Outcome::Again("no"), NOW).await.unwrap();
    let tried = stored(store, &a).await;
    assert_eq!((tried.state, tried.state_reason.as_str(), tried.attempts), (State::Pending, "no", 1));
    assert_eq!(tried.next_try_time, NOW + Duration::seconds(1));
    let waits = stored(store, &b).await;
    assert_eq!((waits.state, waits.state_reason.as_str(), waits.attempts), (State::Pending, "", 0));
    assert_eq!(claimed(store, NOW, 9).await, [c.occasion.about()]);
    assert_eq!(claimed(store, NOW + Duration::seconds(1), 9).await, ["orders/a"], "the order of letters stays");
}

async fn a_letter_is_tried_until_it_is_taken(store: &dyn NotificationStore) {
    let notification = record(store, "a", "anna", NOW).await;
    let mut now = NOW;
    for attempt in 1..=20 {
        now += Duration::minutes(5);
        let [claimed] = store.claim(now, 9).await.unwrap().try_into().unwrap();
        assert_eq!(claimed.attempts, attempt);
        store.settle(claimed.id, attempt, Outcome::Again("no"), now).await.unwrap();
    }
    let waits = stored(store, &notification).await;
    assert_eq!((waits.state, waits.state_reason.as_str()), (State::Pending, "no"));
    assert_eq!(waits.next_try_time, now + Duration::minutes(5));
    store.claim(waits.next_try_time, 9).await.unwrap();
    store.settle(waits.id, 21, Outcome::Never("gone"), waits.next_try_time).await.unwrap();
    assert_eq!(stored(store, &notification).await.state, State::Failed);
    assert_eq!(claimed(store, now + Duration::days(1), 9).await, [""; 0]);
}

async fn a_late_end_of_a_try_changes_nothing(store: &dyn NotificationStore) {
    let notification = record(store, "a", "anna", NOW).await;
    store.settle(notification.id, 0, Outcome::Sent, NOW).await.unwrap();
    store.claim(NOW, 9).await.unwrap();
    store.recover(NOW).await.unwrap();
    let [second] = store.claim(NOW, 9).await.unwrap().try_into().unwrap();
    store.settle(notification.id, 1, Outcome::Never("late"), NOW).await.unwrap();
    assert_eq!(stored(store, &notification).await, second);
    store.settle(delivered("unknown", "anna", NOW).id, 1, Outcome::Sent, NOW).await.unwrap();
}

async fn interrupted_tries_are_taken_back(store: &dyn NotificationStore) {
    let [a, b] = [record(store, "a", "anna", NOW).await, record(store, "b", "bert", NOW).await];
    store.claim(NOW, 1).await.unwrap();
    let mut expected = stored(store, &a).await;
    let later = NOW + Duration::seconds(7);
    expected.interrupt(later).unwrap();
    assert_eq!(store.recover(later).await.unwrap(), 1);
    assert_eq!(stored(store, &a).await, expected);
    assert_eq!(stored(store, &b).await, b);
    assert_eq!(store.recover(later).await.unwrap(), 0);
}

async fn lists_are_newest_first_and_filtered(store: &dyn NotificationStore) {
    record(store, "a", "anna", NOW).await;
    record(store, "b", "bert", NOW).await;
    record(store, "c", "anna", NOW).await;
    store.claim(NOW, 1).await.unwrap();
    let list = async |selection| {
        let page = store.list(selection, PageRequest { size: 9, after: None }).await.unwrap();
        page.items.into_iter().map(|it| it.occasion.about()).collect::<Vec<_>>()
    };
    let any = Selection::default;
    assert_eq!(list(any()).await, ["orders/c", "orders/b", "orders/a"]);
    assert_eq!(list(Selection { recipient: Some(user_name("anna")), ..any() }).await, ["orders/c", "orders/a"]);
    assert_eq!(list(Selection { about: Some("orders/b".to_owned()), ..any() }).await, ["orders/b"]);
    assert_eq!(list(Selection { state: Some(State::Sending), ..any() }).await, ["orders/a"]);
    let both = Selection { state: Some(State::Pending), recipient: Some(user_name("anna")), ..any() };
    assert_eq!(list(both).await, ["orders/c"]);
    assert_eq!(list(Selection { about: Some("orders/x".to_owned()), ..any() }).await, [""; 0]);
}

async fn pages_show_each_notification_once(store: &dyn NotificationStore) {
    for order in ["a", "b", "c", "d", "e"] {
        record(store, order, "anna", NOW).await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(Selection::default(), PageRequest { size: 2, after }).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|it| it.occasion.about()));
        // What is made between two pages is newer than both.
        if seen.len() == 2 {
            record(store, "f", "anna", NOW).await;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["orders/e", "orders/d", "orders/c", "orders/b", "orders/a"]);
    let unknown = PageRequest { size: 2, after: Some("x".to_owned()) };
    let error = store.list(Selection::default(), unknown).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownCursor), "{error}");
}
