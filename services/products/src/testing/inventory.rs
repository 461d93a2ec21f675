//! What every inventory must do for staff, and how its reservations are listed.

use meshwork_aip::page::PageRequest;
use meshwork_chassis::consistency::Freshness;

use super::stores::{Stores, created, order, product, refusal, request};
use crate::domain::{Input, MAX_PIECES, Refusal, State, Stock, StockChange};
use crate::ports::{ReservationFilter, StoreError};

pub(super) async fn conformance<F>(make: &impl Fn() -> F)
where
    F: Future<Output = Stores>,
{
    changes_of_a_stock_are_counted(make().await).await;
    a_refused_change_changes_nothing(make().await).await;
    a_repeated_request_changes_a_stock_once(make().await).await;
    reservations_are_listed_newest_first_in_pages(make().await).await;
    reservations_are_filtered(make().await).await;
}

fn receive(quantity: i64) -> StockChange {
    StockChange::Receive { quantity }
}

fn adjust(delta: i64) -> StockChange {
    StockChange::Adjust { delta, reason: "counted".to_owned(), actor: "users/anna".to_owned() }
}

async fn changes_of_a_stock_are_counted(stores: Stores) {
    stores.stocked("lamp", 0).await;
    let empty = stores.inventory.stock(&product("lamp"), Freshness::Latest).await.unwrap();
    let received = stores.inventory.change_stock(product("lamp"), receive(10), None).await.unwrap();
    let updated_at = received.value.updated_at;
    assert!(updated_at >= empty.updated_at);
    let expected = Stock { available: 10, received: 10, updated_at, ..empty };
    assert_eq!(received.value, expected);
    let counted = stores.inventory.change_stock(product("lamp"), adjust(-4), None).await.unwrap();
    assert_eq!((counted.value.available, counted.value.received), (6, 6));
    let found = stores.inventory.change_stock(product("lamp"), adjust(1), None).await.unwrap();
    assert_eq!((found.value.available, found.value.received), (7, 7));
    assert_eq!(stores.inventory.stock(&product("lamp"), Freshness::Latest).await.unwrap(), found.value);
}

async fn a_refused_change_changes_nothing(stores: Stores) {
    stores.stocked("lamp", 5).await;
    stores.hear("o1", 1, created(&[("lamp", 2)])).await;
    let before = stores.inventory.stock(&product("lamp"), Freshness::Latest).await.unwrap();
    let change = |change| stores.inventory.change_stock(product("lamp"), change, None);
    let low = Refusal::StockTooLow { product: product("lamp"), available: 3 };
    assert_eq!(refusal(change(adjust(-4)).await), low);
    let overflow = Refusal::StockOverflow { product: product("lamp") };
    assert_eq!(refusal(change(receive(MAX_PIECES - 4)).await), overflow);
    assert_eq!(refusal(change(adjust(MAX_PIECES)).await), overflow);
    assert_eq!(stores.inventory.stock(&product("lamp"), Freshness::Latest).await.unwrap(), before);
    change(receive(MAX_PIECES - 5)).await.unwrap();
    assert_eq!(refusal(change(receive(1)).await), overflow);
    let missing = stores.inventory.change_stock(product("none"), receive(1), None).await;
    assert_eq!(refusal(missing), Refusal::ProductNotFound { product: product("none") });
}

async fn a_repeated_request_changes_a_stock_once(stores: Stores) {
    stores.stocked("lamp", 0).await;
    let receive_as = |id: &'static str, body| {
        let key = request("anna", "ReceiveStock", id, body);
        stores.inventory.change_stock(product("lamp"), receive(5), key)
    };
    let first = receive_as("r1", 1).await.unwrap();
    let second = receive_as("r2", 1).await.unwrap();
    assert_eq!((first.value.available, second.value.available), (5, 10));
    let again = receive_as("r1", 1).await.unwrap();
    assert!(again.replayed && !first.replayed && !second.replayed);
    assert_eq!(again.value, first.value);
    let reused = receive_as("r1", 2).await;
    assert!(matches!(reused, Err(StoreError::RequestReused)), "{reused:?}");
    assert_eq!(stores.pieces("lamp").await, [10, 0, 0, 0]);
    let key = request("anna", "AdjustStock", "r1", 1);
    stores.inventory.change_stock(product("lamp"), adjust(-10), key).await.unwrap();
    // The answer comes before the question whether it could be done now.
    let key = request("anna", "AdjustStock", "r1", 1);
    assert!(stores.inventory.change_stock(product("lamp"), adjust(-10), key).await.unwrap().replayed);
    stores.catalogue.delete(product("lamp"), None).await.unwrap();
    assert_eq!(receive_as("r1", 1).await.unwrap().value, first.value);
}

async fn reservations_are_listed_newest_first_in_pages(stores: Stores) {
    stores.stocked("lamp", 100).await;
    for at in [3, 0, 6, 1, 4, 2, 5] {
        stores.hear(&format!("o{at}"), 1, created(&[("lamp", 1)])).await;
        if at % 2 == 0 {
            // Some are of one moment, where clocks are coarse, and others are not.
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
    }
    let mut made = Vec::new();
    for id in 0..7 {
        let found = stores.reservation(&format!("o{id}")).await.unwrap();
        made.push((found.created_at, found.order.id().to_owned()));
    }
    made.sort_by(|one, other| other.cmp(one));
    let expected: Vec<_> = made.into_iter().map(|(_, id)| id).collect();
    let of_all = ReservationFilter::default();
    let of_state = ReservationFilter { state: Some(State::Held), ..ReservationFilter::default() };
    let of_product = ReservationFilter { product: Some(product("lamp")), ..ReservationFilter::default() };
    for (filter, size) in
        [of_all, of_state, of_product].iter().flat_map(|filter| [1, 3, 7, 100].map(|size| (filter, size)))
    {
        let mut seen = Vec::new();
        let mut wanted = PageRequest { size, after: None };
        loop {
            let found = stores.inventory.reservations(filter, &wanted, Freshness::Latest).await.unwrap();
            assert!(found.items.len() <= size);
            seen.extend(found.items.iter().map(|found| found.order.id().to_owned()));
            let Some(next) = found.next else { break };
            wanted.after = Some(next);
        }
        assert_eq!(seen, expected, "{filter:?} in pages of {size}");
    }
    for forged in ["nowhere", "x:o", "1:o\0"] {
        let wanted = PageRequest { size: 1, after: Some(forged.to_owned()) };
        let refused = stores.inventory.reservations(&ReservationFilter::default(), &wanted, Freshness::Latest).await;
        assert!(matches!(refused, Err(StoreError::BadCursor)), "{forged:?}: {refused:?}");
    }
}

async fn reservations_are_filtered(stores: Stores) {
    stores.stocked("lamp", 10).await;
    stores.stocked("torch", 10).await;
    stores.hear("o1", 1, created(&[("lamp", 1)])).await;
    stores.hear("o2", 1, created(&[("torch", 1), ("lamp", 2)])).await;
    stores.hear("o3", 1, created(&[("torch", 11)])).await;
    stores.hear("o4", 1, Input::OrderCancelled).await;
    let filtered = async |filter: ReservationFilter| {
        let page = PageRequest { size: 10, after: None };
        let found = stores.inventory.reservations(&filter, &page, Freshness::Latest).await.unwrap().items;
        let mut ids: Vec<_> = found.iter().map(|found| found.order.id().to_owned()).collect();
        ids.sort();
        ids.join(" ")
    };
    let none = ReservationFilter::default;
    assert_eq!(filtered(none()).await, "o1 o2 o3 o4");
    assert_eq!(filtered(ReservationFilter { state: Some(State::Held), ..none() }).await, "o1 o2");
    assert_eq!(filtered(ReservationFilter { state: Some(State::Rejected), ..none() }).await, "o3");
    assert_eq!(filtered(ReservationFilter { state: Some(State::Shipped), ..none() }).await, "");
    assert_eq!(filtered(ReservationFilter { product: Some(product("torch")), ..none() }).await, "o2 o3");
    assert_eq!(filtered(ReservationFilter { order: Some(order("o4")), ..none() }).await, "o4");
    let both = ReservationFilter { state: Some(State::Held), product: Some(product("torch")), order: None };
    assert_eq!(filtered(both).await, "o2");
    let of_order = |id, of| ReservationFilter { order: Some(order(id)), product: Some(product(of)), state: None };
    assert_eq!(filtered(of_order("o2", "lamp")).await, "o2");
    assert_eq!(filtered(of_order("o1", "torch")).await, "");
    let lines = stores.reservation("o2").await.unwrap().lines;
    assert_eq!(lines, super::lines(&[("lamp", 2), ("torch", 1)]).as_slice());
}
