//! Who may do what.

use std::time::Duration;

use meshwork_api::meshwork::orders::v1 as proto;
use meshwork_chassis::auth::AccessTable;
use meshwork_testkit::issuer::Claims;
use tonic::{Code, Status};

use crate::refusal::{because, reason, reason_of, refused};
use crate::shop::{Client, PATIENCE, Shop, cancel, deliver, placement, ship, uuid};

fn get(name: &str) -> proto::GetOrderRequest {
    proto::GetOrderRequest { name: name.to_owned(), ..Default::default() }
}

fn events(name: &str) -> proto::ListOrderEventsRequest {
    proto::ListOrderEventsRequest { parent: name.to_owned(), ..Default::default() }
}

fn watch(name: &str) -> proto::WatchOrderRequest {
    proto::WatchOrderRequest { name: name.to_owned(), ..Default::default() }
}

/// What a caller is answered who wants to see or change an order.
async fn refusals(client: &mut Client, name: &str) -> Vec<Status> {
    vec![
        refused(client.get_order(get(name)).await),
        refused(client.cancel_order(cancel(name)).await),
        refused(client.list_order_events(events(name)).await),
        refused(client.watch_order(watch(name)).await),
    ]
}

#[tokio::test]
async fn to_other_customers_an_order_looks_as_if_there_were_none() {
    let shop = Shop::open().await;
    let theirs = shop.order("anna").await;
    let before = shop.commits().await;
    let absent = format!("orders/{}", uuid());
    let mut bert = shop.customer("bert");
    let (seen, unseen) = (refusals(&mut bert, &theirs.name).await, refusals(&mut bert, &absent).await);
    for (seen, unseen) in seen.iter().zip(&unseen) {
        assert_eq!(reason(seen), because(Code::PermissionDenied, "NOT_ALLOWED"));
        assert_eq!(reason(unseen), reason(seen));
        assert_eq!(unseen.message().replace(&absent, &theirs.name), seen.message());
    }
    assert_eq!(shop.commits().await, before);
}

/// The methods come from the contracts: one that is new fails here until it has a case.
#[tokio::test]
async fn every_method_for_owners_refuses_another_customer() {
    let shop = Shop::open().await;
    let theirs = shop.order("anna").await;
    let before = shop.commits().await;
    let mut bert = shop.customer("bert");
    let table = AccessTable::from_contracts().unwrap();
    let owned = table.owned().into_iter().filter_map(|path| path.strip_prefix("/meshwork.orders.v1.OrderService/"));
    let mut tested = 0;
    for method in owned {
        let status = match method {
            "CreateOrder" => {
                let mut request = placement(&[("tea", 1)]);
                request.order.as_mut().unwrap().customer = "users/anna".to_owned();
                refused(bert.create_order(request).await)
            }
            "GetOrder" => refused(bert.get_order(get(&theirs.name)).await),
            "ListOrders" => {
                let filter = r#"customer = "users/anna""#.to_owned();
                refused(bert.list_orders(proto::ListOrdersRequest { filter, ..Default::default() }).await)
            }
            "CancelOrder" => refused(bert.cancel_order(cancel(&theirs.name)).await),
            "ListOrderEvents" => refused(bert.list_order_events(events(&theirs.name)).await),
            "WatchOrder" => refused(bert.watch_order(watch(&theirs.name)).await),
            _ => panic!("{method} is for owners: add a call by another customer"),
        };
        assert_eq!(reason(&status), because(Code::PermissionDenied, "NOT_ALLOWED"), "{method}");
        tested += 1;
    }
    assert!(tested > 0, "no method of the service is for owners");
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn staff_learn_that_there_is_no_order() {
    let shop = Shop::open().await;
    let absent = format!("orders/{}", uuid());
    let mut staff = shop.staff();
    let mut all = refusals(&mut staff, &absent).await;
    all.push(refused(staff.ship_order(ship(&absent)).await));
    all.push(refused(staff.deliver_order(deliver(&absent)).await));
    for status in all {
        assert_eq!(reason(&status), because(Code::NotFound, "ORDER_NOT_FOUND"));
    }
    assert_eq!(shop.commits().await, []);
}

#[tokio::test]
async fn the_owner_staff_and_services_see_an_order() {
    let shop = Shop::open().await;
    let order = shop.order("anna").await;
    for mut client in [shop.customer("anna"), shop.staff(), shop.caller("mailer", "service")] {
        assert_eq!(client.get_order(get(&order.name)).await.unwrap().into_inner(), order);
        let events = client.list_order_events(events(&order.name)).await.unwrap().into_inner();
        assert_eq!(events.order_events.len(), 1);
        let mut watched = client.watch_order(watch(&order.name)).await.unwrap().into_inner();
        let first = tokio::time::timeout(PATIENCE, watched.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(first.order, Some(order.clone()));
    }
}

#[tokio::test]
async fn staff_order_for_customers_and_customers_for_themselves() {
    let shop = Shop::open().await;
    let for_whom = |customer: &str| {
        let mut request = placement(&[("tea", 1)]);
        request.order.as_mut().unwrap().customer = customer.to_owned();
        request
    };
    let order = shop.staff().create_order(for_whom("users/anna")).await.unwrap().into_inner();
    assert_eq!(order.customer, "users/anna");
    assert_eq!(shop.customer("anna").get_order(get(&order.name)).await.unwrap().into_inner(), order);
    let own = shop.customer("anna").create_order(for_whom("users/anna")).await.unwrap().into_inner();
    assert_eq!(own.customer, "users/anna");
    let before = shop.commits().await;
    for mut stranger in [shop.customer("bert"), shop.caller("mailer", "service")] {
        let refused = stranger.create_order(for_whom("users/anna")).await;
        assert_eq!(reason_of(refused), because(Code::PermissionDenied, "NOT_ALLOWED"));
    }
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn only_staff_ship_and_deliver() {
    let shop = Shop::open().await;
    let order = shop.allocated("anna").await;
    let before = shop.commits().await;
    for mut client in [shop.customer("anna"), shop.caller("mailer", "service")] {
        let shipped = client.ship_order(ship(&order.name)).await;
        assert_eq!(reason_of(shipped), because(Code::PermissionDenied, "NOT_ALLOWED"));
        let delivered = client.deliver_order(deliver(&order.name)).await;
        assert_eq!(reason_of(delivered), because(Code::PermissionDenied, "NOT_ALLOWED"));
    }
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn services_change_nobodys_order_and_list_nobodys() {
    let shop = Shop::open().await;
    let order = shop.order("anna").await;
    let before = shop.commits().await;
    let mut service = shop.caller("mailer", "service");
    let cancelled = service.cancel_order(cancel(&order.name)).await;
    assert_eq!(reason_of(cancelled), because(Code::PermissionDenied, "NOT_ALLOWED"));
    let of_anna = r#"customer = "users/anna""#.to_owned();
    let listed = service.list_orders(proto::ListOrdersRequest { filter: of_anna, ..Default::default() }).await;
    assert_eq!(reason_of(listed), because(Code::PermissionDenied, "NOT_ALLOWED"));
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn every_method_needs_a_good_token() {
    let shop = Shop::open().await;
    let order = shop.order("anna").await;
    let before = shop.commits().await;
    let claims = Claims::of("anna", "customer");
    let past = claims.iat - Duration::from_secs(3600).as_secs();
    let good = shop.issuer.sign(&claims);
    let mut cut = good.clone();
    cut.truncate(good.len() - 4);
    let tokens = [
        (None, "NOT_SIGNED_IN"),
        (Some("no token at all".to_owned()), "BAD_TOKEN"),
        (Some(cut), "BAD_TOKEN"),
        (Some(shop.issuer.sign(&Claims { exp: past, iat: past - 1, ..claims.clone() })), "BAD_TOKEN"),
        (Some(shop.issuer.sign(&Claims { aud: "another".to_owned(), ..claims.clone() })), "BAD_TOKEN"),
        (Some(shop.issuer.sign(&Claims { iss: "another".to_owned(), ..claims.clone() })), "BAD_TOKEN"),
        (Some(shop.issuer.sign(&Claims { role: "king".to_owned(), ..claims.clone() })), "BAD_TOKEN"),
        (Some(shop.issuer.sign(&Claims { sub: "anna".to_owned(), ..claims })), "BAD_TOKEN"),
    ];
    for (token, reason_word) in tokens {
        let mut client = shop.bearing(token.as_deref());
        let mut all = refusals(&mut client, &order.name).await;
        all.push(refused(client.create_order(placement(&[("tea", 1)])).await));
        all.push(refused(client.list_orders(proto::ListOrdersRequest::default()).await));
        all.push(refused(client.ship_order(ship(&order.name)).await));
        all.push(refused(client.deliver_order(deliver(&order.name)).await));
        for status in all {
            assert_eq!(reason(&status), because(Code::Unauthenticated, reason_word), "{token:?}");
        }
    }
    assert_eq!(shop.commits().await, before);
}
