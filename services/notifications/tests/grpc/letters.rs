//! From events to letters.

use std::time::Duration;

use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::events::v1 as events;
use meshwork_api::meshwork::notifications::v1::notification::State;

use time::OffsetDateTime;

use crate::world::{World, eventually};

fn name(collection: &str, id: &str) -> String {
    format!("{collection}/{id}")
}

#[tokio::test]
async fn a_confirmed_order_becomes_one_letter_to_its_customer() {
    let world = World::start().await;
    let total = Some(Money { currency_code: "EUR".to_owned(), units: 12, nanos: 340_000_000 });
    let event = events::OrderConfirmed { order: name("orders", "a1b2"), customer: name("users", "anna"), total };
    world.publish("orders", "order_confirmed", "orders/a1b2", 1, &event).await;
    let event = events::OrderAllocated { order: name("orders", "a1b2") };
    world.publish("orders", "order_allocated", "orders/a1b2", 2, &event).await;
    let [sent] = world.wait_for("a1b2", State::Sent, 1).await.try_into().unwrap();
    assert_eq!((sent.recipient.as_str(), sent.template.as_str()), ("users/anna", "order_confirmed"));
    assert_eq!((sent.event_id.as_str(), sent.subject.as_str()), ("orders/a1b2:2", "Your order a1b2 is confirmed"));
    assert_eq!((sent.attempts, sent.state_reason.as_str()), (1, ""));
    assert!(sent.send_time.unwrap().seconds >= sent.create_time.unwrap().seconds);

    let [letter] = world.letters().try_into().unwrap();
    let id = sent.name.strip_prefix("notifications/").unwrap();
    for line in [
        "From: shop@meshwork.local",
        "To: ANNA <anna@example.com>",
        "Subject: Your order a1b2 is confirmed",
        &format!("Message-ID: <{id}@meshwork.local>"),
        "Hello ANNA,",
    ] {
        assert!(letter.lines().any(|found| found == line), "{line} in {letter}");
    }
    assert!(letter.contains("12.34 EUR"), "{letter}");
    assert!(world.mail().join(format!("{id}.eml")).is_file());
    world.stop().await;
}

#[tokio::test]
async fn each_event_has_its_template_or_none() {
    let world = World::start().await;
    let (order, customer) = (name("orders", "a"), name("users", "anna"));
    let reason = "because".to_owned();
    let subject = order.as_str();
    world.publish("orders", "order_created", subject, 1, &events::OrderCreated::default()).await;
    let event = events::OrderConfirmed { order: order.clone(), customer: customer.clone(), total: None };
    world.publish("orders", "order_confirmed", subject, 2, &event).await;
    world.publish("orders", "order_gilded", subject, 3, &events::OrderCreated::default()).await;
    let event = events::OrderAllocated { order: order.clone() };
    world.publish("orders", "order_allocated", subject, 4, &event).await;
    let event =
        events::OrderShipped { order: order.clone(), customer: customer.clone(), tracking_number: "TN42".into() };
    world.publish("orders", "order_shipped", subject, 5, &event).await;
    let event = events::OrderDelivered { order: order.clone(), customer: customer.clone() };
    world.publish("orders", "order_delivered", subject, 6, &event).await;
    let event = events::OrderCancelled { order: order.clone(), customer: customer.clone(), reason: reason.clone() };
    world.publish("orders", "order_cancelled", subject, 7, &event).await;
    let event = events::OrderRejected { order: order.clone(), customer, reason };
    world.publish("orders", "order_rejected", subject, 8, &event).await;
    let mut templates: Vec<_> =
        world.wait_for("a", State::Sent, 5).await.into_iter().map(|sent| sent.template).collect();
    templates.sort();
    assert_eq!(templates, ["order_cancelled", "order_confirmed", "order_delivered", "order_rejected", "order_shipped"]);
    assert!(world.letters().iter().any(|letter| letter.contains("TN42")));

    for (user, role) in [("anna", "customer"), ("bert", "staff"), ("machine", "service")] {
        let event = events::UserRegistered { user: name("users", user), role: role.to_owned() };
        world.publish("users", "user_registered", &event.user, 1, &event).await;
    }
    world.publish("users", "user_deleted", "users/bert", 2, &events::UserDeleted { user: name("users", "bert") }).await;
    // Events of one partition are handled in order: when the last has come, so have all.
    let last = events::UserRegistered { user: name("users", "zoe"), role: "customer".to_owned() };
    world.publish("users", "user_registered", "users/zoe", 1, &last).await;
    eventually(async || (!world.list("about = users/zoe").await.is_empty()).then_some(())).await;
    let [anna] = world.list("about = users/anna").await.try_into().unwrap();
    assert_eq!((anna.template.as_str(), anna.recipient.as_str()), ("welcome", "users/anna"));
    assert_eq!(world.list("").await.len(), 7);
}

#[tokio::test]
async fn an_event_that_comes_again_sends_nothing_again() {
    let mut world = World::start().await;
    for _ in 0..3 {
        world.deliver("a", "anna").await;
    }
    world.deliver("b", "anna").await;
    world.wait_for("b", State::Sent, 1).await;
    world.crash().await;
    world.deliver("a", "anna").await;
    world.deliver("c", "anna").await;
    world.wait_for("c", State::Sent, 1).await;
    assert_eq!(world.list("").await.len(), 3);
    assert_eq!(world.letters().len(), 3);
}

#[tokio::test]
async fn letters_wait_for_the_users_service() {
    let world = World::start().await;
    world.users.set_down(true);
    world.deliver("a", "anna").await;
    let waiting = eventually(async || {
        let [waiting] = world.list("state = PENDING").await.try_into().ok()?;
        Some(waiting).filter(|waiting: &meshwork_api::meshwork::notifications::v1::Notification| waiting.attempts > 0)
    })
    .await;
    assert_eq!(waiting.state_reason, "the recipient's address couldn't be looked up");
    assert_eq!(waiting.send_time, None);
    assert!(world.letters().is_empty());
    world.users.set_down(false);
    let [sent] = world.wait_for("a", State::Sent, 1).await.try_into().unwrap();
    assert!(sent.attempts > 1 && sent.state_reason.is_empty(), "{sent:?}");
    assert_eq!(world.letters().len(), 1);
}

#[tokio::test]
async fn who_has_no_account_or_none_with_an_address_gets_no_letter() {
    let world = World::start().await;
    world.users.put("gone", true);
    world.users.put_without_address("foreign");
    world.deliver("a", "gone").await;
    world.deliver("b", "unknown").await;
    world.deliver("c", "foreign").await;
    for order in ["a", "b", "c"] {
        let [failed] = world.wait_for(order, State::Failed, 1).await.try_into().unwrap();
        assert_eq!((failed.attempts, failed.send_time), (1, None));
        assert_eq!(failed.state_reason, "the recipient has no account any more, or none with an e-mail address");
    }
    assert!(world.letters().is_empty());
}

#[tokio::test]
async fn a_recipient_who_is_slow_delays_nobody_else() {
    let world = World::start().await;
    world.users.hold("bert", true);
    for at in 0..20 {
        world.deliver(&format!("slow-{at}"), "bert").await;
    }
    world.wait_for("slow-0", State::Sending, 1).await;
    world.deliver("a", "anna").await;
    world.wait_for("a", State::Sent, 1).await;
    assert_eq!(world.list("state = SENDING").await.len(), 1);
    assert_eq!(world.list("state = PENDING").await.len(), 19);
    world.users.hold("bert", false);
    world.wait_for("slow-19", State::Sent, 1).await;
    assert_eq!(world.letters().len(), 21);
}

#[tokio::test]
async fn a_letter_under_way_in_a_crash_is_sent_after_it_under_the_same_id() {
    let mut world = World::start().await;
    world.users.hold("anna", true);
    world.deliver("a", "anna").await;
    let [under_way] = world.wait_for("a", State::Sending, 1).await.try_into().unwrap();
    world.crash().await;
    world.end_leases().await;
    eventually(async || world.list("").await.iter().any(|it| it.attempts == 2).then_some(())).await;
    world.users.hold("anna", false);
    let [sent] = world.wait_for("a", State::Sent, 1).await.try_into().unwrap();
    assert_eq!(sent.attempts, 2);
    assert_eq!(sent.name, under_way.name);
    assert_eq!(world.letters().len(), 1);
}

#[tokio::test]
async fn an_event_that_can_not_be_understood_holds_up_its_aggregate_alone() {
    let world = World::start().await;
    let malformed = events::OrderDelivered { order: name("orders", "a"), customer: "anna".to_owned() };
    world.publish("orders", "order_delivered", "orders/a", 1, &malformed).await;
    world.deliver("b", "anna").await;
    world.wait_for("b", State::Sent, 1).await;
    assert_eq!(world.parked().await, ["orders/a:1"]);
    assert!(world.list("about = orders/a").await.is_empty());
}

#[tokio::test]
async fn a_confirmation_waits_for_the_pieces_and_is_not_sent_for_an_order_that_is_cancelled_before() {
    let world = World::start().await;
    for order in ["a", "b"] {
        let (subject, customer) = (name("orders", order), name("users", "anna"));
        let event = events::OrderConfirmed { order: subject.clone(), customer: customer.clone(), total: None };
        world.publish("orders", "order_confirmed", &subject, 1, &event).await;
    }
    let (order, customer) = (name("orders", "b"), name("users", "anna"));
    let event = events::OrderCancelled { order: order.clone(), customer, reason: "no pieces".to_owned() };
    world.publish("orders", "order_cancelled", &order, 2, &event).await;
    world.wait_for("b", State::Sent, 1).await;
    assert!(world.list("about = orders/a").await.is_empty(), "its pieces aren't allocated");
    let event = events::OrderAllocated { order: name("orders", "a") };
    world.publish("orders", "order_allocated", "orders/a", 2, &event).await;
    let [sent] = world.wait_for("a", State::Sent, 1).await.try_into().unwrap();
    assert_eq!(sent.template, "order_confirmed");
    let templates: Vec<_> = world.list("about = orders/b").await.into_iter().map(|it| it.template).collect();
    assert_eq!(templates, ["order_cancelled"]);
}

#[tokio::test]
async fn what_happened_before_the_service_began_is_not_mailed_about() {
    let world = World::start().await;
    let event = events::OrderDelivered { order: name("orders", "old"), customer: name("users", "anna") };
    let yesterday = OffsetDateTime::now_utc() - Duration::from_secs(86_400);
    world.publish_of(yesterday, "orders", "order_delivered", "orders/old", 1, &event).await;
    world.deliver("new", "anna").await;
    world.wait_for("new", State::Sent, 1).await;
    assert!(world.list("about = orders/old").await.is_empty());
    assert_eq!((world.parked().await, world.letters().len()), (Vec::new(), 1));
}

#[tokio::test]
async fn d4_what_an_erased_account_was_told_is_gone_with_its_letters() {
    let world = World::start().await;
    for (order, user) in [("a", "anna"), ("b", "bert")] {
        world.deliver(order, user).await;
        world.wait_for(order, State::Sent, 1).await;
    }
    assert_eq!(world.letters().len(), 2);
    let user = name("users", "anna");
    let event = events::UserRegistered { user: user.clone(), role: "staff".to_owned() };
    world.publish("users", "user_registered", &user, 1, &event).await;
    world.publish("users", "user_deleted", &user, 2, &events::UserDeleted { user: user.clone() }).await;
    world.publish("users", "user_erased", &user, 3, &events::UserErased { user: user.clone() }).await;
    eventually(async || world.list("about = orders/a").await.is_empty().then_some(())).await;
    assert_eq!(world.list("").await.len(), 1);
    let [left] = <[String; 1]>::try_from(world.letters()).unwrap();
    assert!(left.contains("bert@example.com"), "{left}");
}
