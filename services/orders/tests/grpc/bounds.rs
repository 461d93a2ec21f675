//! However much is sent, what is answered is small.

use meshwork_api::meshwork::admin::v1 as admin;
use meshwork_api::meshwork::orders::v1::{self as proto, Order, order};
use meshwork_chassis::consistency::TOKEN;
use meshwork_testkit::assert_small;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

use crate::refusal::{bad_fields, refused};
use crate::shop::{Shop, line};

/// The fields of a refusal, which is small; it says how many more there are, if there are.
#[track_caller]
fn small<T: std::fmt::Debug>(result: Result<Response<T>, Status>, more: Option<usize>) -> Vec<String> {
    let status = refused(result);
    assert_small(&status);
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert!(violations.len() <= 20);
    let last = &violations.last().unwrap().description;
    match more {
        Some(more) => {
            for text in [status.message(), last] {
                assert!(text.ends_with(&format!("; {more} more faults of the request are not listed")), "{text}");
            }
        }
        None => assert!(!status.message().contains("not listed") && !last.contains("not listed"), "{last}"),
    }
    bad_fields::<()>(Err(status))
}

fn with_lines(lines: Vec<order::Line>) -> proto::CreateOrderRequest {
    proto::CreateOrderRequest { order: Some(Order { lines, ..Order::default() }), ..Default::default() }
}

#[tokio::test]
async fn of_many_bad_lines_the_first_are_told_and_the_rest_are_counted() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    let told: Vec<_> =
        (0..10).flat_map(|at| ["product", "quantity"].map(|field| format!("order.lines[{at}].{field}"))).collect();
    for product in ["", "tea", &"x".repeat(200), &"\u{1f375}".repeat(500)] {
        let request = with_lines(vec![line(product, -1); 100]);
        assert_eq!(small(anna.create_order(request).await, Some(180)), told);
    }
    let mut twenty_one = vec![line("products/tea", 1)];
    twenty_one.extend((0..21).map(|_| line("products/tea", 1)));
    let status = refused(anna.create_order(with_lines(twenty_one)).await);
    assert!(status.message().ends_with("; 1 more fault of the request is not listed"), "{}", status.message());
    assert_eq!(shop.commits().await, []);
}

#[tokio::test]
async fn an_order_of_too_many_lines_is_refused_unread() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    for count in [101, 100_000] {
        let request = with_lines(vec![line("", 0); count]);
        assert_eq!(small(anna.create_order(request).await, None), ["order.lines"]);
    }
}

#[tokio::test]
async fn a_filter_that_is_too_long_is_refused_unread() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    let mut list = async |filter: String| {
        let request = proto::ListOrdersRequest { filter, ..Default::default() };
        small(anna.list_orders(request).await, None)
    };
    for term in ["x = y AND ", "state = ", "state", "\"", "=", "\0", "\u{1f375}"] {
        assert_eq!(list(term.repeat(20_000 / term.len())).await, ["filter"], "{term:?}");
    }
    // What is short enough to be read is not shown as it is either.
    for value in ["x".repeat(1000), "\0".repeat(1000), "\u{1f375}".repeat(250)] {
        assert_eq!(list(format!("state = {value}")).await, ["filter"]);
        assert_eq!(list(format!("{value} = PENDING")).await, ["filter"]);
    }
}

#[tokio::test]
async fn of_many_bad_terms_the_first_are_told_and_the_rest_are_counted() {
    let shop = Shop::open().await;
    let terms: Vec<_> = (0..100).map(|at| format!("x{at}=y")).collect();
    let request = proto::ListOrdersRequest { filter: terms.join(" AND "), ..Default::default() };
    assert_eq!(small(shop.customer("anna").list_orders(request).await, Some(80)), vec!["filter"; 20]);
}

#[tokio::test]
async fn every_text_that_is_too_long_is_named() {
    let shop = Shop::open().await;
    let (mut staff, mut projections) = (shop.staff(), shop.projections("sam", "staff"));
    for text in ["x", "\"\0\u{7f}\u{10ffff}", "\u{1f375}"] {
        let long = || text.repeat(5_000);
        let name = || format!("orders/{}", long());
        let create = proto::CreateOrderRequest {
            order: Some(Order { customer: long(), lines: vec![line(&long(), 1)], ..Order::default() }),
            order_id: long(),
            request_id: long(),
            ..Default::default()
        };
        let fields = ["request_id", "order_id", "order.customer", "order.lines[0].product"];
        assert_eq!(small(staff.create_order(create).await, None), fields);
        let get = proto::GetOrderRequest { name: name(), ..Default::default() };
        assert_eq!(small(staff.get_order(get).await, None), ["name"]);
        let list = proto::ListOrdersRequest { page_token: long(), ..Default::default() };
        assert_eq!(small(staff.list_orders(list).await, None), ["page_token"]);
        let cancel = proto::CancelOrderRequest { name: name(), reason: long(), etag: long(), request_id: long() };
        assert_eq!(small(staff.cancel_order(cancel).await, None), ["name", "reason", "etag", "request_id"]);
        let ship = proto::ShipOrderRequest { name: name(), tracking_number: long(), etag: long(), request_id: long() };
        assert_eq!(small(staff.ship_order(ship).await, None), ["name", "tracking_number", "etag", "request_id"]);
        let deliver = proto::DeliverOrderRequest { name: name(), etag: long(), request_id: long() };
        assert_eq!(small(staff.deliver_order(deliver).await, None), ["name", "etag", "request_id"]);
        let events = proto::ListOrderEventsRequest { parent: name(), page_token: long(), ..Default::default() };
        assert_eq!(small(staff.list_order_events(events).await, None), ["parent", "page_token"]);
        let watch = proto::WatchOrderRequest { name: name(), resume_token: long() };
        let watched = staff.watch_order(watch).await.map(|response| response.map(|_| ()));
        assert_eq!(small(watched, None), ["name", "resume_token"]);

        let get = admin::GetProjectionRequest { name: long() };
        assert_eq!(small(projections.get_projection(get).await, None), ["name"]);
        let list = admin::ListProjectionsRequest { page_token: long(), ..Default::default() };
        assert_eq!(small(projections.list_projections(list).await, None), ["page_token"]);
        let retry = admin::RetryParkedRequest { name: long(), stream: long() };
        assert_eq!(small(projections.retry_parked(retry).await, None), ["stream", "name"]);
        let rebuild = admin::RebuildProjectionRequest { name: long(), accept_differences: true };
        let rebuilt = projections.rebuild_projection(rebuild).await.map(|response| response.map(|_| ()));
        assert_eq!(small(rebuilt, None), ["name"]);
        let back = admin::RollbackProjectionRequest { name: long() };
        let back = projections.rollback_projection(back).await.map(|response| response.map(|_| ()));
        assert_eq!(small(back, None), ["name"]);
    }
    let mut request = Request::new(proto::ListOrdersRequest::default());
    request.metadata_mut().insert(TOKEN, "MS4x".repeat(1000).parse().unwrap());
    assert_eq!(small(staff.list_orders(request).await, None), [TOKEN]);
}
