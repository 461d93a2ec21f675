//! What is parked in the service's database: events of its own that can't be published, and what it could not apply.

use meshwork_api::meshwork::admin::v1 as proto;
use tonic::Code;

use crate::refusal::{because, reason_of};
use crate::shop::{Shop, eventually};

#[tokio::test]
async fn what_the_relay_and_the_consumer_have_parked_is_redriven_by_who_has_parked_it() {
    let mut shop = Shop::open().await;
    let (unread, poisoned) = (shop.order("anna").await.name, shop.order("anna").await.name);
    for name in [&unread, &poisoned] {
        shop.published(name).await;
    }
    shop.stop().await;
    shop.damage(&unread).await;
    // As a disk may have it: the commit can't be read, so that it can't be published.
    shop.store_sql("UPDATE commits SET command_hash = x'00' WHERE stream = ? AND command_id = 'damage'", &unread).await;
    let said = shop.inventory.says(&poisoned, "stock_reserved", vec![0xff]).await;
    shop.start();
    eventually("both to be parked", async || shop.parked().await.len() == 2).await;

    let mut staff = shop.letters("sam", "staff");
    let listed = staff.list_dead_letters(proto::ListDeadLettersRequest::default()).await.unwrap().into_inner();
    let of_stream = |stream: &str| {
        let letter = listed.dead_letters.iter().find(|letter| letter.stream == stream);
        letter.unwrap_or_else(|| panic!("no letter of {stream} in {listed:?}")).clone()
    };
    let (ours, theirs) = (of_stream("orders"), of_stream("products"));
    assert_eq!((ours.subject.as_str(), ours.version, ours.consumer.as_str()), (unread.as_str(), 2, "orders"));
    assert_eq!((theirs.event_id, theirs.consumer.as_str()), (said.id, "orders"));

    // Neither can be put right yet.
    let redrive = |name: &str| proto::RedriveDeadLetterRequest { name: name.to_owned() };
    let redriven = staff.redrive_dead_letter(redrive(&ours.name)).await.unwrap().into_inner();
    assert_eq!((redriven.handled_events, redriven.left.map(|left| left.name)), (0, Some(ours.name.clone())));
    let all = staff.redrive_dead_letters(proto::RedriveDeadLettersRequest {}).await.unwrap().into_inner();
    assert_eq!((all.handled_events, all.left_aggregates), (0, 2));

    // The disk is put right: the event is published, and nothing is done about the other.
    shop.store_sql(
        "UPDATE commits SET command_hash = zeroblob(32) WHERE stream = ? AND command_id = 'damage'",
        &unread,
    )
    .await;
    let redriven = staff.redrive_dead_letter(redrive(&ours.name)).await.unwrap().into_inner();
    assert_eq!((redriven.handled_events, redriven.left), (1, None));
    let published = shop.published(&unread).await;
    assert_eq!(published.last().map(|event| (event.version, event.event_type.as_str())), Some((2, "order_confirmed")));
    assert_eq!(shop.parked().await.len(), 1);

    let discard = proto::DiscardDeadLetterRequest { name: theirs.name.clone() };
    staff.discard_dead_letter(discard.clone()).await.unwrap();
    assert_eq!(shop.parked().await, []);
    assert_eq!(reason_of(staff.discard_dead_letter(discard).await), because(Code::NotFound, "DEAD_LETTER_NOT_FOUND"));
}

#[tokio::test]
async fn a_letter_that_can_not_be_read_can_be_given_up() {
    let shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    shop.published(&name).await;
    let said = shop.inventory.says(&name, "stock_reserved", vec![0xff]).await;
    eventually("it to be parked", async || shop.parked().await.len() == 1).await;
    let mut staff = shop.letters("sam", "staff");
    let listed = staff.list_dead_letters(proto::ListDeadLettersRequest::default()).await.unwrap().into_inner();
    let letter = listed.dead_letters[0].name.clone();
    // As a disk may have it.
    shop.view_sql("UPDATE dead_letter SET data = 1.5 WHERE subject = ?", &said.subject).await;
    let get = proto::GetDeadLetterRequest { name: letter.clone() };
    assert_eq!(staff.get_dead_letter(get).await.unwrap_err().code(), Code::DataLoss);

    let discard = proto::DiscardDeadLetterRequest { name: letter };
    let discarded = staff.discard_dead_letter(discard.clone()).await.unwrap().into_inner();
    assert_eq!((discarded.handled_events, discarded.left), (0, None));
    assert_eq!(reason_of(staff.discard_dead_letter(discard).await), because(Code::NotFound, "DEAD_LETTER_NOT_FOUND"));
}
