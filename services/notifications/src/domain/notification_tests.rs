//! The rules of a notification's way, each alone and over random ways.

use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use super::Occasion;
use super::notification::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const LEASE: std::time::Duration = std::time::Duration::from_secs(30);

fn notification() -> Notification {
    let occasion = Occasion::OrderDelivered { order: "orders/a".parse().unwrap() };
    Notification::new("orders/a:5".to_owned(), "users/anna".parse().unwrap(), occasion, NOW)
}

#[test]
fn pauses_double_up_to_five_minutes() {
    let pauses: Vec<_> = (1..=11).map(|attempts| pause_after(attempts).whole_seconds()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(pause_after(u32::MAX), Duration::minutes(5));
}

#[test]
fn ids_depend_on_event_template_and_recipient_alone() {
    let first = notification();
    let (event, anna) = (first.event_id.clone(), first.recipient.clone());
    let later = Notification::new(event, anna, first.occasion.clone().unwrap(), NOW + Duration::DAY);
    assert_eq!(later.id, first.id);
    assert_eq!(first.id.get_version_num(), 5);
    let (anna, occasion) = (&first.recipient, first.occasion.as_ref().unwrap());
    let other = Occasion::OrderCancelled { order: "orders/a".parse().unwrap(), reason: String::new() };
    let ids = [
        first.id,
        Notification::id_of("orders/a:6", occasion, anna),
        Notification::id_of("orders/a:5", &other, anna),
        Notification::id_of("orders/a:5", occasion, &"users/bert".parse().unwrap()),
    ];
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id));
    }
    assert_eq!(Notification::id_of("orders/a:5", occasion, anna), first.id);
}

#[test]
fn a_name_holds_its_id_and_other_names_hold_none() {
    let notification = notification();
    assert_eq!(Notification::id_in(&notification.name().parse().unwrap()), Some(notification.id));
    assert_eq!(Notification::id_in(&"notifications/abc".parse().unwrap()), None);
    let without_hyphens = format!("notifications/{}", notification.id.simple());
    assert_eq!(Notification::id_in(&without_hyphens.parse().unwrap()), None);
}

#[test]
fn a_letter_that_is_refused_for_good_fails_at_once() {
    let mut notification = notification();
    notification.claim(NOW, LEASE).unwrap();
    notification.settle(1, &Outcome::Never("nobody"), NOW).unwrap();
    assert_eq!((notification.state, notification.state_reason.as_str()), (State::Failed, "nobody"));
}

#[test]
fn a_try_whose_lease_is_over_is_made_again_and_its_end_comes_too_late() {
    let mut notification = notification();
    notification.claim(NOW, LEASE).unwrap();
    assert_eq!(notification.claim(NOW + LEASE - Duration::MICROSECOND, LEASE), Err(NotDue));
    let over = NOW + LEASE;
    notification.claim(over, LEASE).unwrap();
    assert_eq!(notification.settle(1, &Outcome::Sent, over), Err(NotSending), "that was the try before");
    notification.settle(2, &Outcome::Sent, over).unwrap();
    assert_eq!((notification.state, notification.send_time), (State::Sent, Some(over)));
}

#[test]
fn whatever_is_not_being_sent_can_be_sent_again() {
    let mut notification = notification();
    for (attempt, outcome) in
        [(1, Outcome::Sent), (2, Outcome::Never("gone")), (3, Outcome::Again("no")), (4, Outcome::Sent)]
    {
        notification.claim(NOW, LEASE).unwrap();
        assert_eq!(notification.resend(NOW), Err(BeingSent));
        notification.settle(attempt, &outcome, NOW).unwrap();
        notification.resend(NOW).unwrap();
        assert_eq!((notification.state, notification.attempts), (State::Pending, attempt));
    }
    assert_eq!(notification.id, self::notification().id);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Claim,
    Sent,
    Again,
    Never,
    Resend,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Claim),
        1 => Just(Step::Sent),
        4 => Just(Step::Again),
        1 => Just(Step::Never),
        1 => Just(Step::Resend),
        4 => (0_i64..400).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold(steps in prop::collection::vec(step(), 0..120)) {
        let (mut notification, mut now) = (notification(), NOW);
        for step in steps {
            let before = notification.clone();
            let attempt = notification.attempts;
            let taken = match step {
                Step::Claim => notification.claim(now, LEASE).is_ok(),
                Step::Sent => notification.settle(attempt, &Outcome::Sent, now).is_ok(),
                Step::Again => notification.settle(attempt, &Outcome::Again("again"), now).is_ok(),
                Step::Never => notification.settle(attempt, &Outcome::Never("never"), now).is_ok(),
                Step::Resend => notification.resend(now).is_ok(),
                Step::Wait(seconds) => { now += Duration::seconds(seconds); false }
            };
            if !taken {
                prop_assert_eq!(&notification, &before, "a step that is refused changes nothing");
            }
            if matches!(before.state, State::Sent | State::Failed) {
                prop_assert!(!taken || matches!(step, Step::Resend), "what has ended stays as it is until somebody asks");
            }
            prop_assert!(notification.send_time.is_some() || notification.state != State::Sent);
            prop_assert_eq!(notification.attempts > before.attempts, taken && matches!(step, Step::Claim));
            if taken && matches!(step, Step::Claim) {
                let due = if before.state == State::Sending { before.lease_until } else { before.next_try_time };
                prop_assert!(due <= now);
                prop_assert_eq!(notification.lease_until, now + LEASE);
            }
            if taken && matches!(step, Step::Again) {
                prop_assert_eq!(notification.state, State::Pending, "what may pass is never final");
                prop_assert!(notification.next_try_time > now);
            }
        }
    }
}
