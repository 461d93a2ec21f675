//! Lists.

use meshwork_aip::page::PageRequest;

use super::{Bench, run, user_name};
use crate::domain::State;
use crate::ports::{Selection, StoreError};

run!(make:
    lists_are_newest_first_and_filtered,
    pages_show_each_notification_once,
    d14_a_page_shows_what_can_be_read,
);

async fn lists_are_newest_first_and_filtered(bench: &Bench) {
    bench.deliver("a", "anna").await;
    bench.deliver("b", "bert").await;
    bench.deliver("c", "anna").await;
    bench.claim(1).await;
    let list = async |selection| {
        let page = bench.store.list(selection, PageRequest { size: 9, after: None }).await.unwrap();
        page.items.into_iter().map(|it| it.about).collect::<Vec<_>>()
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

async fn pages_show_each_notification_once(bench: &Bench) {
    for order in ["a", "b", "c", "d", "e"] {
        bench.deliver(order, "anna").await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = bench.store.list(Selection::default(), PageRequest { size: 2, after }).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|it| it.about));
        // What is made between two pages is newer than both.
        if seen.len() == 2 {
            bench.deliver("f", "anna").await;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["orders/e", "orders/d", "orders/c", "orders/b", "orders/a"]);
    let unknown = PageRequest { size: 2, after: Some("x".to_owned()) };
    let error = bench.store.list(Selection::default(), unknown).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownCursor), "{error}");
}

async fn d14_a_page_shows_what_can_be_read(bench: &Bench) {
    for order in ["sound", "newer", "damaged", "last"] {
        bench.deliver(order, "anna").await;
    }
    let of_newer =
        "SET template = 'order_painted', occasion = '{\"template\":\"order_painted\"}' WHERE about = 'orders/newer'";
    bench.execute(&format!("UPDATE notification {of_newer}")).await;
    bench.execute("UPDATE notification SET recipient = 'nobody' WHERE about = 'orders/damaged'").await;
    let [last, newer, sound] = bench.all().await.try_into().unwrap();
    assert_eq!([&last.about, &newer.about, &sound.about], ["orders/last", "orders/newer", "orders/sound"]);
    assert_eq!((newer.template.as_str(), &newer.occasion), ("order_painted", &None));
    assert_eq!((newer.recipient.clone(), newer.state), (user_name("anna"), State::Pending));
    assert_eq!(bench.store.get(newer.id).await.unwrap(), Some(newer));
    // A page may be short, but the list goes on behind it.
    let page = |after| bench.store.list(Selection::default(), PageRequest { size: 2, after });
    let first = page(None).await.unwrap();
    assert_eq!(first.items, [last]);
    assert_eq!(page(first.next).await.unwrap().items.len(), 2);
}
