//! What must hold when two instances of the service are at one database.
//!
//! Checks that a planted bug must fail return what they have found; the suite expects nothing.

use std::collections::BTreeSet;

use meshwork_aip::page::PageRequest;
use meshwork_chassis::consistency::Freshness;
use time::Duration;

use super::stores::{HOLD, Stores, created, created_for, lamp, order, product, request};
use crate::domain::{Input, Price, ProductChange, Refusal, State, StockChange};
use crate::ports::{Applied, OrderEvent, ReservationFilter, StoreError};

pub(super) async fn conformance<F>(make: &impl Fn() -> F)
where
    F: Future<Output = [Stores; 2]>,
{
    let nothing = Vec::<String>::new();
    assert_eq!(more_buyers_than_pieces(&make().await).await, nothing);
    assert_eq!(orders_of_the_same_products(&make().await).await, nothing);
    let [one, _] = make().await;
    assert_eq!(e5_holds_that_are_not_over(&one).await, nothing);
    an_event_that_comes_to_both_is_applied_once(make().await).await;
    e5_a_product_is_deleted_or_held(make().await).await;
    no_change_of_a_product_is_lost(make().await).await;
    e5_of_racing_changes_of_one_version_exactly_one_is_made(make().await).await;
    racing_receipts_are_all_counted(make().await).await;
    a_request_that_comes_to_both_is_carried_out_once(make().await).await;
    e5_an_expiry_and_a_confirmation_do_not_both_get_the_pieces(make().await).await;
}

/// Runs all of these at once and returns what they return, in their order.
async fn at_once<T: Send + 'static>(
    work: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let running: Vec<_> = work.into_iter().map(tokio::spawn).collect();
    let mut done = Vec::with_capacity(running.len());
    for running in running {
        done.push(running.await.unwrap());
    }
    done
}

/// Applies an event by one of the two; the outcome, or what went wrong.
async fn told(stores: Stores, id: String, version: i64, input: Input) -> Result<Applied, String> {
    let event = OrderEvent { order: order(&id), version, input: Some(input) };
    stores.inventory.apply(event).await.map_err(|error| format!("{id}: {error}"))
}

async fn count(stores: &Stores, state: State) -> usize {
    stores.all_reservations().await.iter().filter(|found| found.state == state).count()
}

/// Four hundred orders want one of forty lamps and a torch each.
pub async fn more_buyers_than_pieces(both: &[Stores; 2]) -> Vec<String> {
    const ORDERS: usize = 400;
    const PIECES: usize = 40;
    both[0].stocked("lamp", 40).await;
    both[0].stocked("torch", 1000).await;
    let race = (0..ORDERS).map(|at| {
        // Half of them name the products the other way round.
        let wanted = if at % 4 < 2 { [("lamp", 1), ("torch", 1)] } else { [("torch", 1), ("lamp", 1)] };
        told(both[at % 2].clone(), format!("o{at}"), 1, created(&wanted))
    });
    let mut faults: Vec<_> = at_once(race).await.into_iter().filter_map(Result::err).collect();
    let (held, rejected) = (count(&both[0], State::Held).await, count(&both[0], State::Rejected).await);
    if (held, rejected) != (PIECES, ORDERS - PIECES) {
        faults.push(format!("{PIECES} pieces were sold to {held} of {ORDERS} buyers, {rejected} were refused"));
    }
    let pieces = [both[0].pieces("lamp").await, both[0].pieces("torch").await];
    if pieces != [[0, 40, 0, 0], [960, 40, 0, 0]] {
        faults.push(format!("the stocks are {pieces:?}"));
    }
    faults.extend(both[0].audit.violations().await);
    faults
}

/// Orders of the same five products, of which there are enough.
pub async fn orders_of_the_same_products(both: &[Stores; 2]) -> Vec<String> {
    const PRODUCTS: [&str; 5] = ["a", "b", "c", "d", "e"];
    for id in PRODUCTS {
        both[0].stocked(id, 1000).await;
    }
    let race = (0..60).map(|at| {
        let mut wanted = PRODUCTS.map(|id| (id, 1));
        wanted.rotate_left(at % 5);
        told(both[at % 2].clone(), format!("o{at}"), 1, created(&wanted))
    });
    let mut faults: Vec<_> = at_once(race).await.into_iter().filter_map(Result::err).collect();
    faults.extend(both[0].audit.violations().await);
    faults
}

/// Sweeps while no hold is over by the store's clock.
pub async fn e5_holds_that_are_not_over(stores: &Stores) -> Vec<String> {
    stores.stocked("lamp", 10).await;
    stores.hear("o1", 1, created(&[("lamp", 1)])).await;
    let mut faults = Vec::new();
    if !stores.inventory.due(10).await.unwrap().is_empty() {
        faults.push(format!("a hold of {HOLD} is due at once"));
    }
    if stores.inventory.expire(order("o1")).await.unwrap() {
        faults.push(format!("a hold of {HOLD} has expired at once"));
    }
    faults
}

async fn an_event_that_comes_to_both_is_applied_once(both: [Stores; 2]) {
    both[0].stocked("lamp", 100).await;
    for (version, input) in (1..).zip([created(&[("lamp", 1)]), Input::OrderConfirmed, Input::OrderShipped]) {
        let race = (0..60).map(|at| told(both[at % 2].clone(), format!("o{}", at / 2), version, input.clone()));
        for pair in at_once(race).await.chunks(2) {
            let now = pair.iter().filter(|applied| **applied == Ok(Applied::Now)).count();
            let before = pair.iter().filter(|applied| **applied == Ok(Applied::Before)).count();
            assert_eq!((now, before), (1, 1), "{pair:?}");
        }
        both[1].assert_sound(&["lamp"]).await;
    }
    assert_eq!(both[0].pieces("lamp").await, [70, 0, 0, 30]);
}

async fn e5_a_product_is_deleted_or_held(both: [Stores; 2]) {
    const PRODUCTS: usize = 25;
    for at in 0..PRODUCTS {
        both[0].stocked(&format!("p{at}"), 5).await;
    }
    let race = (0..PRODUCTS * 3).map(|at| {
        let (of, which) = (at / 3, at % 3);
        let [one, other] = both.clone();
        let (id, name) = (format!("p{of}"), product(&format!("p{of}")));
        async move {
            match which {
                // Sometimes the one is first, sometimes the other.
                0 if of % 2 == 0 => one.catalogue.delete(name, None).await.map(drop),
                2 if of % 2 == 1 => one.catalogue.delete(name, None).await.map(drop),
                _ => {
                    let applied = told(other, format!("o{at}"), 1, created(&[(id.as_str(), 1)])).await;
                    assert_eq!(applied, Ok(Applied::Now));
                    Ok(())
                }
            }
        }
    });
    let outcomes = at_once(race).await;
    for of in 0..PRODUCTS {
        let filter = ReservationFilter { product: Some(product(&format!("p{of}"))), ..ReservationFilter::default() };
        let page = PageRequest { size: 10, after: None };
        let orders = both[0].inventory.reservations(&filter, &page, Freshness::Latest).await.unwrap().items;
        let held = orders.iter().filter(|found| found.state == State::Held).count();
        let deleted = match &outcomes[if of % 2 == 0 { of * 3 } else { of * 3 + 2 }] {
            Ok(()) => true,
            Err(StoreError::Refused(Refusal::StockReserved { .. })) => false,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(held > 0, !deleted, "p{of}: {orders:?}");
    }
    assert_eq!(both[0].audit.violations().await, Vec::<String>::new());
}

async fn no_change_of_a_product_is_lost(both: [Stores; 2]) {
    both[0].catalogue.create(lamp("lamp"), None).await.unwrap();
    let race = (0..20).map(|at: i64| {
        let catalogue = both[usize::from(at % 2 == 0)].catalogue.clone();
        let change = if at % 4 < 2 {
            ProductChange { description: Some(format!("Number {at}")), ..ProductChange::default() }
        } else {
            ProductChange {
                price: Some(Price { currency: "EUR".to_owned(), minor: at + 1 }),
                ..ProductChange::default()
            }
        };
        async move { (change.clone(), catalogue.update(product("lamp"), change, None).await.unwrap()) }
    });
    let mut made = at_once(race).await;
    made.sort_by_key(|(_, product)| product.version);
    assert_eq!(made.iter().map(|(_, product)| product.version).collect::<Vec<_>>(), (2..=21).collect::<Vec<_>>());
    // Each has kept what the one before it has made.
    for pair in made.windows(2) {
        let (before, (change, after)) = (&pair[0].1, &pair[1]);
        assert_eq!(after.description, *change.description.as_ref().unwrap_or(&before.description));
        assert_eq!(after.price, *change.price.as_ref().unwrap_or(&before.price));
    }
    assert_eq!(both[0].catalogue.get(&[product("lamp")], Freshness::Latest).await.unwrap()[0], made[19].1);
    both[0].assert_sound(&["lamp"]).await;
}

async fn e5_of_racing_changes_of_one_version_exactly_one_is_made(both: [Stores; 2]) {
    both[0].catalogue.create(lamp("lamp"), None).await.unwrap();
    let race = (0..20).map(|at| {
        let catalogue = both[at % 2].catalogue.clone();
        let change = ProductChange { display_name: Some(format!("Lamp {at}")), ..ProductChange::default() };
        async move { catalogue.update(product("lamp"), change, Some(1)).await }
    });
    let (made, refused): (Vec<_>, Vec<_>) = at_once(race).await.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    for refused in refused {
        assert_eq!(super::refusal(refused), Refusal::ProductChanged { product: product("lamp") });
    }
    assert_eq!(both[0].catalogue.get(&[product("lamp")], Freshness::Latest).await.unwrap()[0].version, 2);
}

async fn racing_receipts_are_all_counted(both: [Stores; 2]) {
    both[0].stocked("lamp", 0).await;
    let race = (0..50).map(|at| {
        let inventory = both[at % 2].inventory.clone();
        // Each request comes twice.
        let key = request("anna", "ReceiveStock", &format!("r{}", at / 2), 1);
        let change = StockChange::Receive { quantity: 1 };
        async move { inventory.change_stock(product("lamp"), change, key).await.unwrap() }
    });
    let counted = at_once(race).await.iter().filter(|answer| !answer.replayed).count();
    assert_eq!(counted, 25);
    assert_eq!(both[0].pieces("lamp").await, [25, 0, 0, 0]);
}

async fn a_request_that_comes_to_both_is_carried_out_once(both: [Stores; 2]) {
    // Who comes second must not be told that the id is taken: by itself.
    let create = (0..40).map(|at| {
        let (catalogue, id) = (both[at % 2].catalogue.clone(), at / 2);
        let key = request("anna", "CreateProduct", &format!("r{id}"), 1);
        async move { catalogue.create(lamp(&format!("p{id}")), key).await.unwrap() }
    });
    for pair in at_once(create).await.chunks(2) {
        assert_eq!(pair.iter().filter(|answer| answer.replayed).count(), 1, "{pair:?}");
        assert_eq!(pair[0].value, pair[1].value);
    }
    // The server gives another id to a request without one.
    let create = (0..20).map(|at| {
        let catalogue = both[at % 2].catalogue.clone();
        let key = request("anna", "CreateProduct", "raced", 1);
        async move { catalogue.create(lamp(&format!("raced{at}")), key).await.unwrap() }
    });
    let answers = at_once(create).await;
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert_eq!(answers.iter().map(|answer| answer.value.name.clone()).collect::<BTreeSet<_>>().len(), 1);
    // Nor that there is too little left, when it has taken the last ones itself.
    for at in 0..20 {
        let receive = StockChange::Receive { quantity: 5 };
        both[0].inventory.change_stock(product(&format!("p{at}")), receive, None).await.unwrap();
    }
    let adjust = (0..40).map(|at| {
        let (inventory, id) = (both[at % 2].inventory.clone(), at / 2);
        let key = request("anna", "AdjustStock", &format!("r{id}"), 1);
        let change = StockChange::Adjust { delta: -5, reason: "lost".to_owned(), actor: "users/anna".to_owned() };
        async move { inventory.change_stock(product(&format!("p{id}")), change, key).await.unwrap() }
    });
    for pair in at_once(adjust).await.chunks(2) {
        assert_eq!(pair.iter().filter(|answer| answer.replayed).count(), 1, "{pair:?}");
        assert_eq!((&pair[0].value, pair[0].value.available), (&pair[1].value, 0));
    }
    both[0].assert_sound(&["p0", "p19"]).await;
}

async fn e5_an_expiry_and_a_confirmation_do_not_both_get_the_pieces(both: [Stores; 2]) {
    const ORDERS: usize = 30;
    both[0].stocked("lamp", 30).await;
    for at in 0..ORDERS {
        both[0].hear(&format!("o{at}"), 1, created_for(&[("lamp", 1)], Duration::ZERO)).await;
    }
    let race = (0..ORDERS * 3).map(|at| {
        let (stores, id) = (both[at % 2].clone(), format!("o{}", at / 3));
        async move {
            if at % 3 == 0 {
                assert_eq!(told(stores, id, 2, Input::OrderConfirmed).await, Ok(Applied::Now));
                false
            } else {
                stores.inventory.expire(order(&id)).await.unwrap()
            }
        }
    });
    let outcomes = at_once(race).await;
    for (at, outcomes) in outcomes.chunks(3).enumerate() {
        let expired = outcomes.iter().filter(|expired| **expired).count();
        assert!(expired <= 1, "o{at} has expired twice");
        // What had expired before it was confirmed has got its pieces all the same: there were enough.
        let expected: &[_] = if expired == 1 {
            &["stock_reserved", "reservation_expired", "stock_allocated"]
        } else {
            &["stock_reserved", "stock_allocated"]
        };
        assert_eq!(both[0].types(&format!("o{at}")).await, expected);
    }
    assert_eq!(both[0].pieces("lamp").await, [0, 0, 30, 0]);
    both[0].assert_sound(&["lamp"]).await;
}
