//! The gateway as callers meet it: tokens, rights, limits and bad input, on the shipped defaults.
//!
//! Each service's own tests hold every field; these hold the way through the gateway.

use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, GetOrderRequest, ListOrdersRequest, Order};
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{CreateProductRequest, ListProductsRequest, Product};
use meshwork_api::meshwork::users::v1::SignInRequest;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_testkit::Up;
use meshwork_testkit::up::{UNLIMITED, with};
use tonic::{Code, Request, Status};

use crate::shop::{eventually, order_request, settled_order, stocked_product};

/// The message of google.rpc.Status in a status's details, for its parts.
fn reason(status: &Status) -> String {
    String::from_utf8_lossy(status.details()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_refused_at_the_gateway_and_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    let (_, customer) = up.customer("anna").await;
    let create = CreateProductRequest { product: Some(Product::default()), ..CreateProductRequest::default() };
    // The services verify callers themselves; the gateway is no wall that others stand behind.
    for service in ["gateway", "products"] {
        let mut products = ProductServiceClient::new(up.channel_to(service));
        let nobody = products.create_product(create.clone()).await.unwrap_err();
        assert_eq!(nobody.code(), Code::Unauthenticated, "{service}: {nobody}");
        let customer = products.create_product(with(&customer, create.clone())).await.unwrap_err();
        assert_eq!(customer.code(), Code::PermissionDenied, "{service}: {customer}");
        for bad in ["Bearer nonsense", "Bearer a.b.c", "Basic YTpi", "Bearer "] {
            let mut request = Request::new(create.clone());
            request.metadata_mut().insert("authorization", bad.parse().unwrap());
            let refused = products.create_product(request).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{service}, {bad:?}: {refused}");
            assert!(reason(&refused).contains("BAD_TOKEN"), "{service}, {bad:?}: {refused:?}");
        }
        products.list_products(ListProductsRequest::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_sees_their_own_orders_only() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "shared", 10).await;
    let ((_, anna), (_, bert)) = (up.customer("anna").await, up.customer("bert").await);
    let mut orders = OrderServiceClient::new(up.channel());
    let mine = orders.create_order(with(&anna, order_request(&product, 1, ""))).await.unwrap().into_inner();
    settled_order(up.channel(), &anna, &mine.name).await;
    let name = mine.name.clone();
    let refused = orders.get_order(with(&bert, GetOrderRequest { name, ..Default::default() })).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let list = async |token| {
        let list = orders.clone().list_orders(with(token, ListOrdersRequest::default())).await.unwrap().into_inner();
        list.orders.into_iter().map(|order| order.name).collect::<Vec<_>>()
    };
    eventually("the list", async || list(&anna).await == [mine.name.clone()]).await;
    assert_eq!(list(&bert).await, Vec::<String>::new());
    assert_eq!(list(&staff).await, [mine.name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_through_the_gateway_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    let (_, customer) = up.customer("anna").await;
    let mut orders = OrderServiceClient::new(up.channel());
    let huge = order_request("products/none", i64::MAX, "not a uuid");
    let refused = orders.create_order(with(&customer, huge)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    for field in ["order.lines[0].quantity", "request_id"] {
        assert!(reason(&refused).contains(field), "{field}: {refused:?}");
    }
    let empty = CreateOrderRequest { order: Some(Order::default()), ..CreateOrderRequest::default() };
    let refused = orders.create_order(with(&customer, empty)).await.unwrap_err();
    assert!(reason(&refused).contains("order.lines"), "{refused:?}");
    let unknown = orders.create_order(with(&customer, order_request("products/none", 1, ""))).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument, "{unknown}");
    assert!(reason(&unknown).contains("order.lines[0].product"), "{unknown:?}");
    let list = orders.list_orders(with(&customer, ListOrdersRequest::default())).await.unwrap().into_inner();
    assert_eq!(list.orders, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_id_gives_one_order_and_another_body_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "repeated", 10).await;
    let (_, customer) = up.customer("anna").await;
    let mut orders = OrderServiceClient::new(up.channel());
    let id = "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d";
    let first = orders.create_order(with(&customer, order_request(&product, 2, id))).await.unwrap();
    assert!(first.metadata().get("idempotent-replay").is_none());
    let first = first.into_inner();
    settled_order(up.channel(), &customer, &first.name).await;
    let again = orders.create_order(with(&customer, order_request(&product, 2, id))).await.unwrap();
    assert_eq!(again.metadata().get("idempotent-replay").unwrap(), "true");
    assert_eq!(again.into_inner(), first, "the same answer, though the order has moved on");
    let other = orders.create_order(with(&customer, order_request(&product, 3, id))).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument, "{other}");
    assert!(reason(&other).contains("REQUEST_ID_REUSED"), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_calls_too_often_is_held_back_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    // No refill within the test, so that the burst is exact.
    let settings = [("MESHWORK_GATEWAY__RATE_LIMIT__PER_SECOND", "0.0001")];
    let up = Up::start(folder.path(), &settings);
    let (_, anna) = up.customer("anna").await;
    let (_, bert) = up.customer("bert").await;
    let mut orders = OrderServiceClient::new(up.channel());
    for _ in 0..100 {
        orders.list_orders(with(&anna, ListOrdersRequest::default())).await.unwrap();
    }
    let refused = orders.list_orders(with(&anna, ListOrdersRequest::default())).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(reason(&refused).contains("RetryInfo") && reason(&refused).contains("QuotaFailure"), "{refused:?}");
    orders.list_orders(with(&bert, ListOrdersRequest::default())).await.unwrap();

    // Who has no token is counted by address.
    let mut auth = AuthServiceClient::new(up.channel());
    let mut held_back = false;
    for _ in 0..100 {
        let request = SignInRequest { email: "nobody@example.com".to_owned(), password: "wrong password".to_owned() };
        let refused = auth.sign_in(request).await.unwrap_err();
        held_back = refused.code() == Code::ResourceExhausted;
        if held_back {
            break;
        }
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    assert!(held_back, "guessing passwords is not held back");
}
