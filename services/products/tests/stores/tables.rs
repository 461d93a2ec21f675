//! What is in the tables, past the adapters.

use std::time::Duration;

use meshwork_aip::page::PageRequest;
use meshwork_chassis::consistency::Freshness;
use meshwork_products::app::App;
use meshwork_products::app::commands::AdjustStock;
use meshwork_products::domain::Input;
use meshwork_products::ports::{Applied, ReservationFilter, StoreError};
use meshwork_products::testing::{HOLD, Stores, created, product};

use crate::rooms::Room;

#[tokio::test]
async fn a_store_that_is_opened_again_goes_on_where_it_was() {
    for room in Room::both().await {
        let history = [(1, created(&[("lamp", 2)])), (2, Input::OrderConfirmed), (3, Input::OrderCancelled)];
        room.open().await.stocked("lamp", 5).await;
        // The process ends after each event, and the bus, which has heard of none, brings all of them again.
        for known in 0..history.len() {
            let stores = room.open().await;
            for (at, (version, input)) in history[..=known].iter().enumerate() {
                let expected = if at < known { Applied::Before } else { Applied::Now };
                assert_eq!(stores.hear("o1", *version, input.clone()).await, expected, "version {version}");
            }
            stores.assert_sound(&["lamp"]).await;
        }
        let stores = room.open().await;
        assert_eq!(stores.pieces("lamp").await, [5, 0, 0, 0]);
        assert_eq!(stores.types("o1").await, ["stock_reserved", "stock_allocated", "stock_released"]);
    }
}

#[tokio::test]
async fn the_ledger_has_every_movement_once() {
    for room in Room::both().await {
        let stores = room.open().await;
        stores.stocked("lamp", 5).await;
        stores.stocked("torch", 1).await;
        for (version, input) in
            [(1, created(&[("torch", 1), ("lamp", 2)])), (2, Input::OrderConfirmed), (3, Input::OrderShipped)]
        {
            stores.hear("o1", version, input.clone()).await;
            stores.hear("o1", version, input).await;
        }
        // A rejected order has moved nothing, not even what there was enough of.
        stores.hear("o2", 1, created(&[("lamp", 1), ("torch", 1)])).await;
        let ledger = room.ask(
            "SELECT order_id || ' ' || product || ' ' || transition || ' ' || quantity FROM stock_ledger \
             ORDER BY order_id, product, transition",
        );
        let expected = [
            "o1 lamp allocate 2",
            "o1 lamp hold 2",
            "o1 lamp ship 2",
            "o1 torch allocate 1",
            "o1 torch hold 1",
            "o1 torch ship 1",
        ];
        assert_eq!(ledger.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_correction_is_kept_with_its_reason() {
    for room in Room::both().await {
        let stores = room.open().await;
        let app =
            App { catalogue: stores.catalogue.clone(), inventory: stores.inventory.clone(), reservation_ttl: HOLD };
        stores.stocked("lamp", 5).await;
        let adjust = |delta| AdjustStock {
            product: product("lamp"),
            delta,
            reason: "two were broken".to_owned(),
            actor: "users/anna".to_owned(),
            request: None,
        };
        app.adjust_stock(adjust(-2)).await.unwrap();
        app.adjust_stock(adjust(-9)).await.unwrap_err();
        let kept = room.ask("SELECT product || ' ' || delta || ' ' || reason || ' ' || actor FROM stock_adjustment");
        assert_eq!(kept.await.unwrap(), ["lamp -2 two were broken users/anna"]);
    }
}

#[tokio::test]
async fn the_tables_refuse_pieces_from_nowhere() {
    for room in Room::both().await {
        let stores = room.open().await;
        stores.stocked("lamp", 5).await;
        for sql in [
            "UPDATE stock SET available = available + 1",
            "UPDATE stock SET available = -1, held = 6",
            "UPDATE stock SET available = 5000000000000000, received = 5000000000000000",
        ] {
            let refused = room.ask(sql).await.unwrap_err();
            assert!(refused.to_string().to_lowercase().contains("check"), "{sql}: {refused}");
        }
    }
}

/// The ids of all products, by pages of `size`.
async fn listed(stores: &Stores, size: usize) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = stores.catalogue.list(&PageRequest { size, after }, Freshness::Latest).await.unwrap();
        ids.extend(page.items.iter().map(|product| product.name.id().to_owned()));
        match page.next {
            Some(next) => after = Some(next),
            None => return ids,
        }
    }
}

/// The orders of all reservations, newest first, by pages of `size`.
async fn reserved(stores: &Stores, size: usize) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let wanted = PageRequest { size, after };
        let page =
            stores.inventory.reservations(&ReservationFilter::default(), &wanted, Freshness::Latest).await.unwrap();
        ids.extend(page.items.iter().map(|reservation| reservation.order.id().to_owned()));
        match page.next {
            Some(next) => after = Some(next),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn d14_what_can_not_be_read_is_left_out_of_lists() {
    for room in Room::both().await {
        let stores = room.open().await;
        for id in ["lamp", "torch"] {
            stores.stocked(id, 5).await;
            // Lists are in the order of time.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        for id in ["o1", "o2", "o3"] {
            stores.hear(id, 1, created(&[("lamp", 1)])).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        for sql in [
            // The oldest product, the newest reservation, and a line of one amid.
            "INSERT INTO product (id, display_name, description, currency, price, created_at, updated_at, version) \
             VALUES ('no id', 'Lamp', '', 'EUR', 1, 1, 1, 1)",
            "INSERT INTO reservation (order_id, state, created_at, updated_at, version) \
             VALUES ('no id', 'TOMBSTONE', 4000000000000000, 4000000000000000, 0)",
            "INSERT INTO reservation_line (order_id, product, quantity, created_at) \
             SELECT order_id, 'no id', 1, created_at FROM reservation WHERE order_id = 'o2'",
        ] {
            room.ask(sql).await.unwrap();
        }
        for size in [1, 2, 100] {
            assert_eq!(listed(&stores, size).await, ["lamp", "torch"], "pages of {size}");
            assert_eq!(reserved(&stores, size).await, ["o3", "o1"], "pages of {size}");
        }
    }
}

#[tokio::test]
async fn d14_a_product_that_can_not_be_read_is_an_error_of_who_asks_for_it() {
    // Only SQLite takes a text for a number.
    let room = Room::file();
    let stores = room.open().await;
    for id in ["lamp", "torch"] {
        stores.stocked(id, 5).await;
    }
    room.ask("UPDATE product SET price = 'much' WHERE id = 'lamp'").await.unwrap();
    assert_eq!(listed(&stores, 10).await, ["torch"]);
    let unreadable = stores.catalogue.get(&[product("lamp")], Freshness::Latest).await;
    assert!(matches!(unreadable, Err(StoreError::Damaged(_))), "{unreadable:?}");
    assert_eq!(stores.catalogue.get(&[product("torch")], Freshness::Latest).await.unwrap().len(), 1);
}
