//! What every catalogue must do.

use meshwork_aip::page::PageRequest;
use meshwork_api::meshwork::events::v1::{ProductCreated, ProductDeleted, ProductUpdated};
use meshwork_chassis::consistency::Freshness;
use prost::Message;
use time::{Duration, OffsetDateTime};

use super::stores::{Stores, created, lamp, product, refusal, request};
use crate::domain::{NewProduct, Price, Product, ProductChange, Refusal};
use crate::ports::StoreError;

pub(super) async fn conformance<F>(make: &impl Fn() -> F)
where
    F: Future<Output = Stores>,
{
    a_product_is_read_back_as_it_was_added(make().await).await;
    an_id_stays_taken(make().await).await;
    a_change_needs_the_version_that_was_read(make().await).await;
    a_product_with_reserved_pieces_can_not_be_deleted(make().await).await;
    a_deleted_product_is_absent(make().await).await;
    a_batch_is_in_order_and_all_or_none(make().await).await;
    pages_show_every_product_once_oldest_first(make().await).await;
    a_repeated_request_gets_its_first_answer(make().await).await;
    each_change_is_announced_once(make().await).await;
}

fn page(size: usize) -> PageRequest {
    PageRequest { size, after: None }
}

fn renamed(name: &str) -> ProductChange {
    ProductChange { display_name: Some(name.to_owned()), ..ProductChange::default() }
}

async fn a_product_is_read_back_as_it_was_added(stores: Stores) {
    let before = OffsetDateTime::now_utc();
    let added = stores.catalogue.create(lamp("lamp"), None).await.unwrap();
    assert!(!added.replayed);
    let expected = Product::new(lamp("lamp"), added.value.created_at);
    assert_eq!(added.value, expected);
    // The store's clock is a clock.
    assert!((added.value.created_at - before).abs() < Duration::HOUR);
    assert_eq!(stores.catalogue.get(&[product("lamp")], Freshness::Latest).await.unwrap(), [expected]);
    assert_eq!(stores.catalogue.get(&[], Freshness::Latest).await.unwrap(), []);
    let stock = stores.inventory.stock(&product("lamp"), Freshness::Latest).await.unwrap();
    assert_eq!(stock, crate::domain::Stock::new(product("lamp"), added.value.created_at));
    let missing = refusal(stores.catalogue.get(&[product("none")], Freshness::Latest).await);
    assert_eq!(missing, Refusal::ProductNotFound { product: product("none") });
}

async fn an_id_stays_taken(stores: Stores) {
    let added = stores.catalogue.create(lamp("lamp"), None).await.unwrap().value;
    let taken = Refusal::ProductIdTaken { product: product("lamp") };
    let other = NewProduct { display_name: "Other".to_owned(), ..lamp("lamp") };
    assert_eq!(refusal(stores.catalogue.create(other.clone(), None).await), taken);
    assert_eq!(stores.catalogue.get(&[product("lamp")], Freshness::Latest).await.unwrap(), [added]);
    stores.catalogue.delete(product("lamp"), None).await.unwrap();
    assert_eq!(refusal(stores.catalogue.create(other, None).await), taken);
    assert!(stores.catalogue.get(&[product("lamp")], Freshness::Latest).await.is_err());
}

async fn a_change_needs_the_version_that_was_read(stores: Stores) {
    let added = stores.catalogue.create(lamp("lamp"), None).await.unwrap().value;
    let change = ProductChange {
        display_name: None,
        description: Some(String::new()),
        price: Some(Price { currency: "JPY".to_owned(), minor: 3000 }),
    };
    let changed = stores.catalogue.update(product("lamp"), change, Some(1)).await.unwrap();
    assert_eq!((changed.version, changed.created_at), (2, added.created_at));
    assert!(changed.updated_at >= added.updated_at);
    assert_eq!((changed.display_name.as_str(), changed.description.as_str()), ("Lamp", ""));
    assert_eq!(stores.catalogue.get(&[product("lamp")], Freshness::Latest).await.unwrap()[0], changed);
    let stale = Refusal::ProductChanged { product: product("lamp") };
    assert_eq!(refusal(stores.catalogue.update(product("lamp"), renamed("A"), Some(1)).await), stale);
    assert_eq!(refusal(stores.catalogue.delete(product("lamp"), Some(1)).await), stale);
    assert_eq!(stores.catalogue.get(&[product("lamp")], Freshness::Latest).await.unwrap(), [changed]);
    assert_eq!(stores.catalogue.update(product("lamp"), renamed("B"), None).await.unwrap().version, 3);
    let missing = refusal(stores.catalogue.update(product("none"), renamed("C"), None).await);
    assert_eq!(missing, Refusal::ProductNotFound { product: product("none") });
}

async fn a_product_with_reserved_pieces_can_not_be_deleted(stores: Stores) {
    stores.stocked("lamp", 5).await;
    stores.hear("o1", 1, created(&[("lamp", 2)])).await;
    let reserved = Refusal::StockReserved { product: product("lamp"), pieces: 2 };
    assert_eq!(refusal(stores.catalogue.delete(product("lamp"), None).await), reserved);
    stores.hear("o1", 2, crate::domain::Input::OrderConfirmed).await;
    assert_eq!(refusal(stores.catalogue.delete(product("lamp"), None).await), reserved);
    assert_eq!(stores.catalogue.get(&[product("lamp")], Freshness::Latest).await.unwrap()[0].version, 1);
    stores.hear("o1", 3, crate::domain::Input::OrderShipped).await;
    stores.catalogue.delete(product("lamp"), None).await.unwrap();
    assert_eq!(stores.told("products/lamp").await.len(), 2);
}

async fn a_deleted_product_is_absent(stores: Stores) {
    stores.stocked("lamp", 5).await;
    stores.stocked("torch", 5).await;
    let deleted = stores.catalogue.delete(product("lamp"), Some(1)).await.unwrap();
    assert_eq!((deleted.version, deleted.deleted_at), (2, Some(deleted.updated_at)));
    let gone = Refusal::ProductNotFound { product: product("lamp") };
    assert_eq!(refusal(stores.catalogue.get(&[product("torch"), product("lamp")], Freshness::Latest).await), gone);
    assert_eq!(refusal(stores.catalogue.update(product("lamp"), renamed("A"), None).await), gone);
    assert_eq!(refusal(stores.catalogue.delete(product("lamp"), None).await), gone);
    assert_eq!(refusal(stores.inventory.stock(&product("lamp"), Freshness::Latest).await), gone);
    let receive = crate::domain::StockChange::Receive { quantity: 1 };
    assert_eq!(refusal(stores.inventory.change_stock(product("lamp"), receive, None).await), gone);
    let listed = stores.catalogue.list(&page(10), Freshness::Latest).await.unwrap();
    assert_eq!(listed.items.iter().map(|found| found.name.id()).collect::<Vec<_>>(), ["torch"]);
}

async fn a_batch_is_in_order_and_all_or_none(stores: Stores) {
    for id in ["one", "two", "three"] {
        stores.catalogue.create(lamp(id), None).await.unwrap();
    }
    let names = ["three", "one", "two", "one"].map(product);
    let found = stores.catalogue.get(&names, Freshness::Latest).await.unwrap();
    assert_eq!(found.iter().map(|product| product.name.clone()).collect::<Vec<_>>(), names);
    let missing = stores.catalogue.get(&["one", "four", "five"].map(product), Freshness::Latest).await;
    assert_eq!(refusal(missing), Refusal::ProductNotFound { product: product("four") });
}

async fn pages_show_every_product_once_oldest_first(stores: Stores) {
    // Added in another order than that of their ids; some of one moment, where clocks are coarse, and others not.
    let mut expected = Vec::new();
    for at in [6, 1, 0, 5, 2, 4, 3] {
        expected.push(stores.catalogue.create(lamp(&format!("lamp{at}")), None).await.unwrap().value);
        if at % 2 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
    }
    expected.sort_by_key(|product| (product.created_at, product.name.clone()));
    for size in [1, 2, 3, 7, 100] {
        let mut seen = Vec::new();
        let mut wanted = page(size);
        loop {
            let found = stores.catalogue.list(&wanted, Freshness::Latest).await.unwrap();
            assert!(found.items.len() <= size);
            seen.extend(found.items);
            let Some(next) = found.next else { break };
            wanted = PageRequest { size, after: Some(next) };
        }
        assert_eq!(seen, expected, "pages of {size}");
    }
    for forged in ["", "lamp1", "x:lamp1", "99999999999999999999:lamp1", "1:lamp\0"] {
        let refused =
            stores.catalogue.list(&PageRequest { size: 1, after: Some(forged.to_owned()) }, Freshness::Latest).await;
        assert!(matches!(refused, Err(StoreError::BadCursor)), "{forged:?}: {refused:?}");
    }
}

async fn a_repeated_request_gets_its_first_answer(stores: Stores) {
    let key = || request("anna", "CreateProduct", "r1", 1);
    stores.catalogue.create(lamp("taken"), None).await.unwrap();
    // A refusal is not kept: the request may come again with another outcome.
    assert!(matches!(refusal(stores.catalogue.create(lamp("taken"), key()).await), Refusal::ProductIdTaken { .. }));
    let first = stores.catalogue.create(lamp("lamp"), key()).await.unwrap();
    assert!(!first.replayed);
    stores.catalogue.update(product("lamp"), renamed("Torch"), None).await.unwrap();
    // The server gives another id to a request without one; the answer is the first all the same.
    for again in [lamp("lamp"), lamp("other")] {
        let again = stores.catalogue.create(again, key()).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.value, first.value);
    }
    stores.catalogue.delete(product("lamp"), None).await.unwrap();
    assert_eq!(stores.catalogue.create(lamp("lamp"), key()).await.unwrap().value, first.value);
    let reused = stores.catalogue.create(lamp("lamp"), request("anna", "CreateProduct", "r1", 2)).await;
    assert!(matches!(reused, Err(StoreError::RequestReused)), "{reused:?}");
    let others = stores.catalogue.create(lamp("bens"), request("ben", "CreateProduct", "r1", 2)).await.unwrap();
    assert!(!others.replayed);
    assert!(stores.catalogue.get(&[product("other")], Freshness::Latest).await.is_err());
}

async fn each_change_is_announced_once(stores: Stores) {
    let key = || request("anna", "CreateProduct", "r1", 1);
    stores.catalogue.create(lamp("lamp"), key()).await.unwrap();
    stores.catalogue.create(lamp("lamp"), key()).await.unwrap();
    stores.catalogue.create(lamp("lamp"), None).await.unwrap_err();
    stores.catalogue.update(product("lamp"), renamed("Torch"), Some(7)).await.unwrap_err();
    stores.catalogue.update(product("lamp"), renamed("Torch"), Some(1)).await.unwrap();
    stores.catalogue.delete(product("lamp"), None).await.unwrap();
    stores.catalogue.delete(product("lamp"), None).await.unwrap_err();
    let told = stores.told("products/lamp").await;
    let types: Vec<_> = told.iter().map(|event| (event.event_type.as_str(), event.version)).collect();
    assert_eq!(types, [("product_created", 1), ("product_updated", 2), ("product_deleted", 3)]);
    let created = ProductCreated::decode(told[0].data.clone()).unwrap();
    assert_eq!((created.product.as_str(), created.display_name.as_str()), ("products/lamp", "Lamp"));
    let price = created.price.unwrap();
    assert_eq!((price.currency_code.as_str(), price.units, price.nanos), ("EUR", 19, 990_000_000));
    assert_eq!(ProductUpdated::decode(told[1].data.clone()).unwrap().display_name, "Torch");
    assert_eq!(ProductDeleted::decode(told[2].data.clone()).unwrap().product, "products/lamp");
}
