//! What every inventory must do about the events of orders.

use meshwork_api::meshwork::events::v1 as pb;
use meshwork_chassis::clock::timestamp;
use meshwork_chassis::consistency::Freshness;
use prost::Message;
use time::Duration;

use super::stores::{HOLD, Stores, allocation_requested, created, created_for, order, product, requested};
use crate::domain::{Input, State};
use crate::ports::Applied;

pub(super) async fn conformance<F>(make: &impl Fn() -> F)
where
    F: Future<Output = Stores>,
{
    an_order_goes_its_way(make().await).await;
    an_order_is_reserved_whole_or_not_at_all(make().await).await;
    what_was_deleted_is_not_sold(make().await).await;
    an_event_that_comes_again_changes_nothing(make().await).await;
    an_event_after_a_hole_waits(make().await).await;
    events_that_do_not_concern_us_are_counted(make().await).await;
    a_contradiction_leaves_no_trace(make().await).await;
    pieces_come_back_from_cancelled_orders(make().await).await;
    a_cancellation_may_come_first(make().await).await;
    pieces_are_held_for_a_time(make().await).await;
    an_expired_order_may_still_get_its_pieces(make().await).await;
    an_order_that_asks_again_is_told_again(make().await).await;
    a_confirmed_order_that_asks_again_is_answered_whatever_came_before(make().await).await;
    histories_keep_the_invariants(make().await).await;
}

async fn an_order_goes_its_way(stores: Stores) {
    stores.stocked("lamp", 10).await;
    stores.stocked("torch", 10).await;
    assert_eq!(stores.state("o1").await, None);
    assert_eq!(stores.hear("o1", 1, created(&[("torch", 1), ("lamp", 3)])).await, Applied::Now);
    assert_eq!(stores.pieces("lamp").await, [7, 3, 0, 0]);
    let held = stores.reservation("o1").await.unwrap();
    assert_eq!((held.state, held.expires_at, held.version), (State::Held, Some(held.created_at + HOLD), 1));
    let expire_time = held.expires_at.map(timestamp);
    assert_eq!(stores.hear("o1", 2, Input::OrderConfirmed).await, Applied::Now);
    assert_eq!(stores.pieces("lamp").await, [7, 0, 3, 0]);
    let allocated = stores.reservation("o1").await.unwrap();
    assert_eq!((allocated.state, allocated.expires_at, allocated.version), (State::Allocated, None, 2));
    assert_eq!(stores.hear("o1", 3, Input::OrderShipped).await, Applied::Now);
    assert_eq!(stores.pieces("lamp").await, [7, 0, 0, 3]);
    assert_eq!(stores.pieces("torch").await, [9, 0, 0, 1]);
    assert_eq!(stores.state("o1").await, Some(State::Shipped));

    let told = stores.told("reservations/o1").await;
    let types: Vec<_> = told.iter().map(|event| (event.event_type.as_str(), event.version)).collect();
    assert_eq!(types, [("stock_reserved", 1), ("stock_allocated", 2)]);
    let line = |id: &str, quantity| pb::StockLine { product: format!("products/{id}"), quantity };
    let expected = pb::StockReserved {
        order: "orders/o1".to_owned(),
        lines: vec![line("lamp", 3), line("torch", 1)],
        expire_time,
    };
    assert_eq!(pb::StockReserved::decode(told[0].data.clone()).unwrap(), expected);
    assert_eq!(pb::StockAllocated::decode(told[1].data.clone()).unwrap().order, "orders/o1");
    stores.assert_sound(&["lamp", "torch"]).await;
}

async fn an_order_is_reserved_whole_or_not_at_all(stores: Stores) {
    stores.stocked("lamp", 10).await;
    stores.stocked("torch", 1).await;
    let wanted = [("lamp", 3), ("torch", 2), ("unknown", 1)];
    assert_eq!(stores.hear("o1", 1, created(&wanted)).await, Applied::Now);
    assert_eq!(stores.state("o1").await, Some(State::Rejected));
    assert_eq!(stores.pieces("lamp").await, [10, 0, 0, 0]);
    let told = stores.told("reservations/o1").await;
    let shortage =
        |id: &str, requested, available| pb::Shortage { product: format!("products/{id}"), requested, available };
    let expected = pb::StockRejected {
        order: "orders/o1".to_owned(),
        shortages: vec![shortage("torch", 2, 1), shortage("unknown", 1, 0)],
    };
    assert_eq!(told.len(), 1);
    assert_eq!(pb::StockRejected::decode(told[0].data.clone()).unwrap(), expected);
    // More pieces than anybody can count are merely too many.
    stores.hear("o2", 1, created(&[("lamp", i64::MAX)])).await;
    assert_eq!(stores.state("o2").await, Some(State::Rejected));
    // The last piece is for sale.
    stores.hear("o3", 1, created(&[("torch", 1)])).await;
    assert_eq!(stores.state("o3").await, Some(State::Held));
    stores.assert_sound(&["lamp", "torch"]).await;
}

async fn what_was_deleted_is_not_sold(stores: Stores) {
    stores.stocked("lamp", 10).await;
    stores.catalogue.delete(product("lamp"), None).await.unwrap();
    stores.hear("o1", 1, created(&[("lamp", 1)])).await;
    assert_eq!(stores.state("o1").await, Some(State::Rejected));
    let told = stores.told("reservations/o1").await;
    let rejected = pb::StockRejected::decode(told[0].data.clone()).unwrap();
    assert_eq!((rejected.shortages[0].requested, rejected.shortages[0].available), (1, 0));
}

/// Everything that can be seen of the stores.
async fn seen(stores: &Stores, products: &[&str]) -> String {
    let mut seen = format!("{:?} {:?}", stores.all_told().await, stores.all_reservations().await);
    for id in products {
        seen += &format!(" {:?}", stores.inventory.stock(&product(id), Freshness::Latest).await.unwrap());
    }
    seen
}

async fn an_event_that_comes_again_changes_nothing(stores: Stores) {
    stores.stocked("lamp", 10).await;
    stores.stocked("torch", 1).await;
    let histories: [(&str, Vec<Input>); 4] = [
        ("o1", vec![created(&[("lamp", 2)]), Input::OrderConfirmed, Input::OrderShipped]),
        ("o2", vec![created(&[("lamp", 2), ("torch", 1)]), Input::OrderConfirmed, Input::OrderCancelled]),
        ("o3", vec![created(&[("torch", 9)]), requested(&[("torch", 9)]), Input::OrderCancelled]),
        ("o4", vec![Input::OrderCancelled, created(&[("lamp", 2)])]),
    ];
    for (id, history) in &histories {
        for (version, input) in (1..).zip(history) {
            assert_eq!(stores.hear(id, version, input.clone()).await, Applied::Now, "{id} {input:?}");
            let before = seen(&stores, &["lamp", "torch"]).await;
            for _ in 0..2 {
                assert_eq!(stores.hear(id, version, input.clone()).await, Applied::Before);
            }
            assert_eq!(seen(&stores, &["lamp", "torch"]).await, before, "{id} {input:?}");
        }
    }
    // As after a crash that lost what the bus knew of us: everything comes again, from the beginning.
    let before = seen(&stores, &["lamp", "torch"]).await;
    for (id, history) in &histories {
        for (version, input) in (1..).zip(history) {
            assert_eq!(stores.hear(id, version, input.clone()).await, Applied::Before);
        }
    }
    assert_eq!(seen(&stores, &["lamp", "torch"]).await, before);
    stores.assert_sound(&["lamp", "torch"]).await;
}

async fn an_event_after_a_hole_waits(stores: Stores) {
    stores.stocked("lamp", 10).await;
    let before = seen(&stores, &["lamp"]).await;
    assert_eq!(stores.hear("o1", 2, Input::OrderConfirmed).await, Applied::Hole { last: 0 });
    assert_eq!(seen(&stores, &["lamp"]).await, before);
    stores.hear("o1", 1, created(&[("lamp", 1)])).await;
    assert_eq!(stores.hear("o1", 3, Input::OrderShipped).await, Applied::Hole { last: 1 });
    assert_eq!(stores.hear("o1", 2, Input::OrderConfirmed).await, Applied::Now);
    assert_eq!(stores.hear("o1", 3, Input::OrderShipped).await, Applied::Now);
    assert_eq!(stores.pieces("lamp").await, [9, 0, 0, 1]);
}

async fn events_that_do_not_concern_us_are_counted(stores: Stores) {
    stores.stocked("lamp", 10).await;
    assert_eq!(stores.hear_of("o1", 1, None).await, Applied::Now);
    assert_eq!(stores.hear_of("o1", 1, None).await, Applied::Before);
    assert_eq!(stores.state("o1").await, None);
    assert_eq!(stores.hear("o1", 2, created(&[("lamp", 1)])).await, Applied::Now);
    assert_eq!(stores.state("o1").await, Some(State::Held));
}

async fn a_contradiction_leaves_no_trace(stores: Stores) {
    stores.stocked("lamp", 10).await;
    for input in [Input::OrderConfirmed, Input::OrderShipped] {
        let before = seen(&stores, &["lamp"]).await;
        let applied = stores.hear("o1", 1, input).await;
        assert!(matches!(applied, Applied::Contradiction(_)), "{applied:?}");
        assert_eq!(seen(&stores, &["lamp"]).await, before);
    }
    // The version is still free, so that a repaired history can be applied.
    assert_eq!(stores.hear("o1", 1, created(&[("lamp", 1)])).await, Applied::Now);
    assert!(matches!(stores.hear("o1", 2, Input::OrderShipped).await, Applied::Contradiction(_)));
    assert_eq!(stores.hear("o1", 2, Input::OrderConfirmed).await, Applied::Now);
    stores.assert_sound(&["lamp"]).await;
}

async fn pieces_come_back_from_cancelled_orders(stores: Stores) {
    stores.stocked("lamp", 10).await;
    stores.hear("o1", 1, created(&[("lamp", 2)])).await;
    stores.hear("o1", 2, Input::OrderCancelled).await;
    stores.hear("o2", 1, created(&[("lamp", 3)])).await;
    stores.hear("o2", 2, Input::OrderConfirmed).await;
    stores.hear("o2", 3, Input::OrderCancelled).await;
    assert_eq!(stores.pieces("lamp").await, [10, 0, 0, 0]);
    assert_eq!(stores.types("o1").await, ["stock_reserved", "stock_released"]);
    assert_eq!(stores.types("o2").await, ["stock_reserved", "stock_allocated", "stock_released"]);
    let told = stores.told("reservations/o2").await;
    assert_eq!(pb::StockReleased::decode(told[2].data.clone()).unwrap().lines[0].quantity, 3);
    for id in ["o1", "o2"] {
        assert_eq!(stores.state(id).await, Some(State::Released));
    }
    // A confirmation that was under way gets its answer; a shipment can't be answered, and people must know.
    stores.hear("o1", 3, Input::OrderConfirmed).await;
    assert_eq!(stores.types("o1").await, ["stock_reserved", "stock_released", "allocation_failed"]);
    assert!(matches!(stores.hear("o1", 4, Input::OrderShipped).await, Applied::Alarm(_)));
    assert_eq!(stores.hear("o1", 4, Input::OrderShipped).await, Applied::Before);
    stores.assert_sound(&["lamp"]).await;
}

async fn a_cancellation_may_come_first(stores: Stores) {
    stores.stocked("lamp", 10).await;
    stores.hear("o1", 1, Input::OrderCancelled).await;
    let tombstone = stores.reservation("o1").await.unwrap();
    assert_eq!((tombstone.state, tombstone.version, tombstone.lines.len()), (State::Tombstone, 0, 0));
    stores.hear("o1", 2, created(&[("lamp", 2)])).await;
    stores.hear("o1", 3, requested(&[("lamp", 2)])).await;
    assert_eq!(stores.pieces("lamp").await, [10, 0, 0, 0]);
    assert_eq!(stores.types("o1").await, Vec::<String>::new());
    stores.hear("o1", 4, Input::OrderConfirmed).await;
    assert_eq!(stores.types("o1").await, ["allocation_failed"]);
    stores.assert_sound(&["lamp"]).await;
}

async fn due(stores: &Stores, limit: usize) -> Vec<String> {
    let due = stores.inventory.due(limit).await.unwrap();
    due.into_iter().map(|order| order.id().to_owned()).collect()
}

async fn pieces_are_held_for_a_time(stores: Stores) {
    stores.stocked("lamp", 10).await;
    for (id, hold) in
        [("o2", Duration::ZERO), ("o1", Duration::seconds(-1)), ("o3", Duration::MINUTE), ("o4", Duration::ZERO)]
    {
        stores.hear(id, 1, created_for(&[("lamp", 1)], hold)).await;
    }
    stores.hear("o4", 2, Input::OrderConfirmed).await;
    assert_eq!(due(&stores, 10).await, ["o1", "o2"]);
    assert_eq!(due(&stores, 1).await, ["o1"]);
    for (id, expires) in [("o1", true), ("o2", true), ("o3", false), ("o4", false), ("none", false), ("o1", false)] {
        assert_eq!(stores.inventory.expire(order(id)).await.unwrap(), expires, "{id}");
    }
    assert_eq!(stores.pieces("lamp").await, [8, 1, 1, 0]);
    assert_eq!(stores.types("o1").await, ["stock_reserved", "reservation_expired"]);
    let expired = stores.reservation("o1").await.unwrap();
    let hold = expired.expires_at.map(|at| at - expired.created_at);
    assert_eq!((expired.state, hold), (State::Expired, Some(Duration::seconds(-1))));
    assert!(expired.updated_at >= expired.created_at, "{expired:?}");
    // What is expired has nothing to release.
    stores.hear("o1", 2, Input::OrderCancelled).await;
    assert_eq!(stores.state("o1").await, Some(State::Expired));
    // The time comes by itself.
    stores.hear("o5", 1, created_for(&[("lamp", 1)], Duration::milliseconds(200))).await;
    while due(&stores, 10).await != ["o5"] {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let expires_at = stores.reservation("o5").await.unwrap().expires_at.unwrap();
    assert!(stores.inventory.expire(order("o5")).await.unwrap());
    assert!(stores.reservation("o5").await.unwrap().updated_at >= expires_at);
    assert_eq!(due(&stores, 10).await, Vec::<String>::new());
    stores.assert_sound(&["lamp"]).await;
}

async fn an_expired_order_may_still_get_its_pieces(stores: Stores) {
    stores.stocked("lamp", 3).await;
    for id in ["o1", "o2"] {
        stores.hear(id, 1, created_for(&[("lamp", 1)], Duration::ZERO)).await;
        assert!(stores.inventory.expire(order(id)).await.unwrap());
    }
    stores.hear("o1", 2, Input::OrderConfirmed).await;
    assert_eq!(stores.state("o1").await, Some(State::Allocated));
    assert_eq!(stores.types("o1").await, ["stock_reserved", "reservation_expired", "stock_allocated"]);
    stores.hear("o3", 1, created(&[("lamp", 2)])).await;
    stores.hear("o2", 2, Input::OrderConfirmed).await;
    assert_eq!(stores.state("o2").await, Some(State::Expired));
    let told = stores.told("reservations/o2").await;
    let failed = pb::AllocationFailed::decode(told[2].data.clone()).unwrap();
    assert_eq!(told[2].event_type, "allocation_failed");
    assert!(failed.reason.ends_with("too few pieces of products/lamp"), "{}", failed.reason);
    assert_eq!(stores.pieces("lamp").await, [0, 2, 1, 0]);
    stores.assert_sound(&["lamp"]).await;
}

async fn an_order_that_asks_again_is_told_again(stores: Stores) {
    stores.stocked("lamp", 2).await;
    // An order of which nothing was heard is reserved.
    let input = Input::ReservationRequested { lines: super::lines(&[("lamp", 2)]), hold: Duration::ZERO };
    stores.hear("o1", 1, input).await;
    assert_eq!(stores.types("o1").await, ["stock_reserved"]);
    stores.hear("o1", 2, requested(&[("lamp", 2)])).await;
    stores.hear("o2", 1, created(&[("lamp", 1)])).await;
    stores.hear("o2", 2, requested(&[("lamp", 1)])).await;
    for (id, word) in [("o1", "stock_reserved"), ("o2", "stock_rejected")] {
        let told = stores.told(&format!("reservations/{id}")).await;
        assert_eq!(stores.types(id).await, [word, word]);
        assert_eq!(told[0].data, told[1].data);
        assert_eq!((told[0].version, told[1].version), (1, 2));
    }
    assert_eq!(stores.pieces("lamp").await, [0, 2, 0, 0]);
    assert!(stores.inventory.expire(order("o1")).await.unwrap());
    stores.hear("o1", 3, requested(&[("lamp", 2)])).await;
    let told = stores.types("o1").await;
    assert_eq!(told[2..], ["reservation_expired", "reservation_expired"]);
    // What was rejected stays so, though there are pieces now.
    stores.hear("o2", 3, requested(&[("lamp", 1)])).await;
    assert_eq!(stores.state("o2").await, Some(State::Rejected));
    stores.assert_sound(&["lamp"]).await;
}

async fn a_confirmed_order_that_asks_again_is_answered_whatever_came_before(stores: Stores) {
    stores.stocked("lamp", 4).await;
    let ask = || allocation_requested(&[("lamp", 1)]);
    // Nothing was heard of it: what it was created with may have been discarded.
    stores.hear("o1", 1, ask()).await;
    // Its confirmation was discarded.
    stores.hear("o2", 1, created(&[("lamp", 1)])).await;
    stores.hear("o2", 2, ask()).await;
    // Its answer was lost.
    stores.hear("o3", 1, created(&[("lamp", 1)])).await;
    stores.hear("o3", 2, Input::OrderConfirmed).await;
    stores.hear("o3", 3, ask()).await;
    // Its pieces were let go.
    stores.hear("o4", 1, created_for(&[("lamp", 1)], Duration::ZERO)).await;
    assert!(stores.inventory.expire(order("o4")).await.unwrap());
    stores.hear("o4", 2, ask()).await;
    for id in ["o1", "o2", "o3", "o4"] {
        assert_eq!(stores.state(id).await, Some(State::Allocated), "{id}");
        assert_eq!(stores.types(id).await.last().unwrap(), "stock_allocated", "{id}");
    }
    assert_eq!(stores.types("o3").await, ["stock_reserved", "stock_allocated", "stock_allocated"]);
    assert_eq!(stores.pieces("lamp").await, [0, 0, 4, 0]);
    // There are no more: the order learns why, and learns it again.
    for version in 1..3 {
        stores.hear("o5", version, ask()).await;
    }
    assert_eq!(stores.types("o5").await, ["allocation_failed", "allocation_failed"]);
    let told = stores.told("reservations/o5").await;
    assert_eq!(pb::AllocationFailed::decode(told[0].data.clone()).unwrap().reason, "too few pieces of products/lamp");
    let rejected = stores.reservation("o5").await.unwrap();
    assert_eq!((rejected.state, rejected.lines.len()), (State::Rejected, 1));
    // What was called off stays so.
    stores.hear("o4", 3, Input::OrderCancelled).await;
    stores.hear("o4", 4, ask()).await;
    stores.hear("o6", 1, Input::OrderCancelled).await;
    stores.hear("o6", 2, ask()).await;
    assert_eq!((stores.state("o4").await, stores.state("o6").await), (Some(State::Released), Some(State::Tombstone)));
    for id in ["o4", "o6"] {
        assert_eq!(stores.types(id).await.last().unwrap(), "allocation_failed", "{id}");
    }
    assert_eq!(stores.hear("o1", 2, Input::OrderShipped).await, Applied::Now);
    stores.hear("o1", 3, ask()).await;
    assert_eq!(stores.types("o1").await, ["stock_allocated", "stock_allocated"]);
    assert_eq!(stores.pieces("lamp").await, [1, 0, 2, 1]);
    stores.assert_sound(&["lamp"]).await;
}

/// Random events of some orders over some products, some of them twice, with expiries in between.
async fn histories_keep_the_invariants(stores: Stores) {
    const PRODUCTS: [&str; 3] = ["lamp", "torch", "bulb"];
    for id in PRODUCTS {
        stores.stocked(id, 12).await;
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut dice = |sides: u64| {
        // xorshift64: the same numbers in every run, so that a failure can be looked into.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % sides
    };
    let mut versions = [0_i64; 12];
    for round in 0..400 {
        let which = usize::try_from(dice(12)).unwrap();
        let id = format!("o{which}");
        let wanted = [
            (PRODUCTS[usize::try_from(dice(3)).unwrap()], i64::try_from(dice(5) + 1).unwrap()),
            (PRODUCTS[usize::try_from(dice(3)).unwrap()], i64::try_from(dice(3) + 1).unwrap()),
        ];
        let (lines, hold) = (super::lines(&wanted), if dice(3) == 0 { Duration::ZERO } else { HOLD });
        let input = match dice(9) {
            0..=2 => Input::OrderCreated { lines, hold },
            3 => Input::ReservationRequested { lines, hold },
            4 | 5 => Input::OrderConfirmed,
            6 => Input::OrderCancelled,
            7 => Input::AllocationRequested { lines },
            _ => Input::OrderShipped,
        };
        let version = versions[which] + 1;
        let applied = stores.hear(&id, version, input.clone()).await;
        if !matches!(applied, Applied::Contradiction(_)) {
            versions[which] = version;
            if dice(2) == 0 {
                assert_eq!(stores.hear(&id, version, input).await, Applied::Before);
            }
        }
        if dice(6) == 0 {
            for order in stores.inventory.due(100).await.unwrap() {
                assert!(stores.inventory.expire(order).await.unwrap());
            }
        }
        if round % 50 == 49 {
            stores.assert_sound(&PRODUCTS).await;
        }
    }
    let reservations = stores.all_reservations().await;
    let reached = State::ALL.iter().filter(|state| reservations.iter().any(|found| found.state == **state)).count();
    assert!(reached >= 4, "only {reached} states were reached: {reservations:?}");
}
