//! Placing orders.

use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::events::v1::OrderCreated;
use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, Order, order};
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

use crate::catalogue::Mood;
use crate::refusal::{bad_fields, because, reason, reason_of, refused};
use crate::shop::{Shop, line, placement, uuid};

fn euro(units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: "EUR".to_owned(), units, nanos })
}

#[tokio::test]
async fn an_order_is_priced_by_the_catalogue_and_pending() {
    let shop = Shop::open().await;
    let mut request = placement(&[("tea", 2), ("cup", 3)]);
    // What only we may say is not read.
    let asked = request.order.as_mut().unwrap();
    asked.lines[0].unit_price = euro(0, 10_000_000);
    asked.state = order::State::Delivered.into();
    asked.total = euro(1, 0);
    asked.name = "orders/mine".to_owned();
    let order = shop.customer("anna").create_order(request).await.unwrap().into_inner();
    assert_eq!(order.customer, "users/anna");
    assert_eq!(order.state(), order::State::Pending);
    assert_eq!(order.total, euro(44, 400_000_000));
    let lines: Vec<_> = order
        .lines
        .iter()
        .map(|l| (l.product.as_str(), l.quantity, l.display_name.as_str(), l.unit_price.clone()))
        .collect();
    assert_eq!(
        lines,
        [("products/tea", 2, "Green tea", euro(4, 200_000_000)), ("products/cup", 3, "Cup", euro(12, 0))]
    );
    assert_eq!(order.create_time, order.update_time);
    assert!(uuid::Uuid::try_parse(order.name.strip_prefix("orders/").unwrap()).is_ok(), "{}", order.name);
    assert_eq!(shop.get(&order.name).await, order);
}

#[tokio::test]
async fn the_catalogue_is_asked_with_a_token_of_the_service_role() {
    let shop = Shop::open().await;
    shop.order("anna").await;
    let authorizations = shop.catalogue.authorizations();
    let [authorization] = authorizations.as_slice() else { panic!("{authorizations:?}") };
    let token = authorization.strip_prefix("Bearer ").unwrap();
    // The token is good, for a service: it opens what customers may not see.
    let order = shop.order("anna").await;
    let mut service = shop.bearing(Some(token));
    let request =
        meshwork_api::meshwork::orders::v1::GetOrderRequest { name: order.name.clone(), ..Default::default() };
    assert_eq!(service.get_order(request).await.unwrap().into_inner(), order);
}

#[tokio::test]
async fn an_order_that_was_placed_is_published_with_all_that_it_holds() {
    let shop = Shop::open().await;
    let order = shop.order("anna").await;
    let published = shop.published(&order.name).await;
    let [created] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!((created.event_type.as_str(), created.version, created.source.as_str()), ("order_created", 1, "orders"));
    assert_eq!(created.id, format!("{}:1", order.name));
    let event = OrderCreated::decode(created.data.as_ref()).unwrap();
    assert_eq!((event.order, event.customer), (order.name, "users/anna".to_owned()));
    assert_eq!((event.total, event.create_time), (order.total, order.create_time));
    assert_eq!(event.lines.len(), 1);
    assert_eq!((event.lines[0].product.as_str(), event.lines[0].quantity), ("products/tea", 2));
    assert_eq!(event.lines[0].unit_price, euro(4, 200_000_000));
}

#[tokio::test]
async fn the_largest_orders_are_taken() {
    let shop = Shop::open().await;
    let lines = (0..100).map(|at| line(&format!("products/p-{at}"), 1_000_000)).collect();
    let order = Some(Order { lines, ..Order::default() });
    let order = shop.customer("anna").create_order(CreateOrderRequest { order, ..Default::default() }).await;
    assert_eq!(order.unwrap().into_inner().total, euro(100_000_000, 0));
}

#[tokio::test]
async fn the_caller_may_choose_the_id_once() {
    let shop = Shop::open().await;
    let id = uuid();
    let request = CreateOrderRequest { order_id: id.clone(), ..placement(&[("tea", 1)]) };
    let order = shop.customer("anna").create_order(request.clone()).await.unwrap().into_inner();
    assert_eq!(order.name, format!("orders/{id}"));
    let before = shop.commits().await;
    for user in ["anna", "bert"] {
        let taken = shop.customer(user).create_order(request.clone()).await;
        assert_eq!(reason_of(taken), because(Code::AlreadyExists, "ORDER_ID_TAKEN"), "{user}");
    }
    // A refused request has used up nothing, its request id included.
    let refused = CreateOrderRequest { request_id: uuid(), ..request };
    let taken = shop.customer("anna").create_order(refused.clone()).await;
    assert_eq!(reason_of(taken), because(Code::AlreadyExists, "ORDER_ID_TAKEN"));
    assert_eq!(shop.commits().await, before);
    let elsewhere = CreateOrderRequest { order_id: uuid(), ..refused };
    shop.customer("anna").create_order(elsewhere).await.unwrap();
}

/// The request with its order changed.
fn with(change: impl FnOnce(&mut Order)) -> CreateOrderRequest {
    let mut request = placement(&[("tea", 2), ("cup", 1)]);
    change(request.order.as_mut().unwrap());
    request
}

#[tokio::test]
async fn bad_fields_are_named_and_nothing_is_written() {
    let shop = Shop::open().await;
    let product = |name: &str| with(|order| order.lines[0].product = name.to_owned());
    let quantity = |quantity| with(|order| order.lines[1].quantity = quantity);
    let lines = |count: usize| with(|order| order.lines = vec![line("products/tea", 1); count]);
    let id = |order_id: &str| CreateOrderRequest { order_id: order_id.to_owned(), ..placement(&[("tea", 1)]) };
    let request_id = |id: &str| CreateOrderRequest { request_id: id.to_owned(), ..placement(&[("tea", 1)]) };
    let cases: Vec<(&str, CreateOrderRequest, &[&str])> = vec![
        ("no order", CreateOrderRequest::default(), &["order"]),
        ("no lines", lines(0), &["order.lines"]),
        ("too many lines", lines(101), &["order.lines"]),
        ("no product", product(""), &["order.lines[0].product"]),
        ("no collection", product("tea"), &["order.lines[0].product"]),
        ("no id", product("products/"), &["order.lines[0].product"]),
        ("upper case", product("products/TEA"), &["order.lines[0].product"]),
        ("a long id", product(&format!("products/{}", "t".repeat(64))), &["order.lines[0].product"]),
        ("another resource", product("products/tea/stock"), &["order.lines[0].product"]),
        ("a stranger's product", product("users/tea"), &["order.lines[0].product"]),
        ("a product twice", product("products/cup"), &["order.lines[1].product"]),
        ("no pieces", quantity(0), &["order.lines[1].quantity"]),
        ("negative pieces", quantity(-1), &["order.lines[1].quantity"]),
        ("a piece too many", quantity(1_000_001), &["order.lines[1].quantity"]),
        ("as many as can be counted", quantity(i64::MAX), &["order.lines[1].quantity"]),
        ("as few as can be counted", quantity(i64::MIN), &["order.lines[1].quantity"]),
        ("no name", with(|order| order.customer = "anna".to_owned()), &["order.customer"]),
        ("not for sale", with(|order| order.lines[1].product = "products/air".to_owned()), &["order.lines[1].product"]),
        ("in yen", with(|order| order.lines[1].product = "products/rice".to_owned()), &["order.lines[1].product"]),
        ("a line that can't be counted", placement(&[("palace", 1025)]), &["order.lines"]),
        ("a sum that can't be counted", placement(&[("palace", 1000), ("palace-2", 1000)]), &["order.lines"]),
        ("an id that is no UUID", id("mine"), &["order_id"]),
        ("an id in upper case", id("7F1C2C3E-4A0B-4C53-9D0E-2F6F0A1B2C3D"), &["order_id"]),
        ("an id in braces", id("{7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d}"), &["order_id"]),
        ("an id without hyphens", id("7f1c2c3e4a0b4c539d0e2f6f0a1b2c3d"), &["order_id"]),
        ("a request id that is no UUID", request_id("again"), &["request_id"]),
        ("a request id with a space", request_id(" 7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d"), &["request_id"]),
        (
            "all at once",
            CreateOrderRequest {
                order_id: "mine".to_owned(),
                request_id: "again".to_owned(),
                ..with(|order| {
                    order.customer = "users/".to_owned();
                    order.lines[0] = line("tea", 0);
                    order.lines[1].quantity = -3;
                })
            },
            &[
                "request_id",
                "order_id",
                "order.customer",
                "order.lines[0].product",
                "order.lines[0].quantity",
                "order.lines[1].quantity",
            ],
        ),
    ];
    let mut anna = shop.customer("anna");
    for (what, request, fields) in cases {
        assert_eq!(bad_fields(anna.create_order(request).await), fields, "{what}");
    }
    assert_eq!(shop.commits().await, []);
}

#[tokio::test]
async fn the_largest_total_that_can_be_counted_is_taken() {
    let shop = Shop::open().await;
    let order = shop.customer("anna").create_order(placement(&[("palace", 1024)])).await.unwrap().into_inner();
    assert_eq!(order.total, euro(92_160_000_000_000_000, 0));
}

#[tokio::test]
async fn a_catalogue_that_does_not_answer_soundly_is_unavailable_and_nothing_is_written() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    for mood in [Mood::Down, Mood::Short, Mood::Shuffled, Mood::Fractional, Mood::Vague] {
        shop.catalogue.set(mood);
        let status = refused(anna.create_order(placement(&[("tea", 1), ("cup", 1)])).await);
        assert_eq!(reason(&status), because(Code::Unavailable, "DEPENDENCY_UNAVAILABLE"), "{mood:?}");
        let details = status.get_error_details();
        assert!(details.retry_info().unwrap().retry_delay.unwrap() > std::time::Duration::ZERO, "{mood:?}");
        assert!(!status.message().contains("closed for today"), "the cause is the log's affair: {status:?}");
    }
    assert_eq!(shop.commits().await, []);
}

#[tokio::test]
async fn without_a_catalogue_orders_are_refused_and_the_rest_goes_on() {
    let mut shop = Shop::open().await;
    let order = shop.order("anna").await;
    let before = shop.commits().await;
    shop.lose_catalogue().await;
    let status = refused(shop.customer("anna").create_order(placement(&[("tea", 1)])).await);
    assert_eq!(reason(&status), because(Code::Unavailable, "DEPENDENCY_UNAVAILABLE"));
    assert!(status.get_error_details().retry_info().is_some());
    assert_eq!(shop.commits().await, before);
    assert_eq!(shop.get(&order.name).await, order);
}
