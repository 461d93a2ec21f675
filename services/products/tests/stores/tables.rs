//! What is in the tables, past the adapters.

use meshwork_products::app::App;
use meshwork_products::app::commands::AdjustStock;
use meshwork_products::domain::Input;
use meshwork_products::ports::Applied;
use meshwork_products::testing::{HOLD, created, product};

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
