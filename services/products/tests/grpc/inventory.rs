//! InventoryService.

use meshwork_aip::request::REPLAY;
use meshwork_api::meshwork::admin::v1::{ProductStock, ReadStocksRequest};
use meshwork_api::meshwork::products::v1 as pb;
use tonic::{Code, Response, Status};

use crate::shop::{Shop, assert_fields, assert_refused};

const UUID: &str = "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d";
const STOCK: &str = "products/lamp-1/stock";

impl Shop {
    async fn receive(&self, name: &str, quantity: i64, request_id: &str) -> Result<Response<pb::Stock>, Status> {
        let request = pb::ReceiveStockRequest { name: name.to_owned(), quantity, request_id: request_id.to_owned() };
        self.inventory.clone().receive_stock(self.staff(request)).await
    }

    async fn adjust(
        &self,
        name: &str,
        delta: i64,
        reason: &str,
        request_id: &str,
    ) -> Result<Response<pb::Stock>, Status> {
        let request = pb::AdjustStockRequest {
            name: name.to_owned(),
            delta,
            reason: reason.to_owned(),
            request_id: request_id.to_owned(),
        };
        self.inventory.clone().adjust_stock(self.staff(request)).await
    }
}

#[tokio::test]
async fn staff_keep_the_stock() {
    let shop = Shop::open().await;
    shop.stocked("lamp-1", 0).await;
    let received = shop.receive(STOCK, 10, "").await.unwrap().into_inner();
    let counted = shop.adjust(STOCK, -3, "three were broken", "").await.unwrap().into_inner();
    assert_eq!((received.available, received.received), (10, 10));
    assert_eq!((counted.available, counted.received, counted.name.as_str()), (7, 7, STOCK));
    assert_eq!(shop.stock("lamp-1").await.unwrap(), counted);
    let low = shop.adjust(STOCK, -8, "all were broken", "").await;
    assert_refused(low, Code::FailedPrecondition, "STOCK_TOO_LOW");
    for _ in 0..3 {
        shop.receive(STOCK, 1_000_000_000, "").await.unwrap();
    }
    assert_eq!(shop.stock("lamp-1").await.unwrap().received, 3_000_000_007);
}

#[tokio::test]
async fn bad_changes_of_a_stock_are_refused_and_change_nothing() {
    let shop = Shop::open().await;
    shop.stocked("lamp-1", 5).await;
    for name in ["", "products/lamp-1", "lamp-1/stock", "products//stock", "products/Lamp/stock", "products/a/stock/b"]
    {
        assert_fields(shop.receive(name, 1, "").await, &["name"]);
        assert_fields(shop.adjust(name, 1, "counted", "").await, &["name"]);
        let get = shop.staff(pb::GetStockRequest { name: name.to_owned() });
        assert_fields(shop.inventory.clone().get_stock(get).await, &["name"]);
    }
    for quantity in [0, -1, 1_000_000_001, i64::MIN, i64::MAX] {
        assert_fields(shop.receive(STOCK, quantity, "").await, &["quantity"]);
    }
    for delta in [0, 1_000_000_001, -1_000_000_001, i64::MIN, i64::MAX] {
        assert_fields(shop.adjust(STOCK, delta, "counted", "").await, &["delta"]);
    }
    for reason in ["", " ", "a\u{7}", &"x".repeat(201)] {
        assert_fields(shop.adjust(STOCK, 1, reason, "").await, &["reason"]);
    }
    assert_fields(shop.receive(STOCK, 1, "1").await, &["request_id"]);
    assert_fields(shop.adjust("", 0, "", "1").await, &["request_id", "name", "delta", "reason"]);
    let unknown = "products/none/stock";
    assert_refused(shop.receive(unknown, 1, "").await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_refused(shop.adjust(unknown, 1, "counted", "").await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_refused(shop.stock("none").await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_eq!(shop.stock("lamp-1").await.unwrap().received, 5);
}

#[tokio::test]
async fn a_repeated_change_is_made_once() {
    let shop = Shop::open().await;
    shop.stocked("lamp-1", 0).await;
    let first = shop.receive(STOCK, 5, UUID).await.unwrap();
    assert!(first.metadata().get(REPLAY).is_none());
    shop.receive(STOCK, 5, "").await.unwrap();
    for same in [UUID.to_owned(), UUID.to_uppercase()] {
        let again = shop.receive(STOCK, 5, &same).await.unwrap();
        assert_eq!(again.metadata().get(REPLAY).unwrap(), "true");
        assert_eq!(again.get_ref(), first.get_ref());
    }
    assert_refused(shop.receive(STOCK, 6, UUID).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    // Another method is another request.
    let first = shop.adjust(STOCK, -10, "counted", UUID).await.unwrap().into_inner();
    let again = shop.adjust(STOCK, -10, "counted", UUID).await.unwrap().into_inner();
    assert_eq!((again, shop.stock("lamp-1").await.unwrap().available), (first, 0));
    let reused = shop.adjust(STOCK, -10, "counted again", UUID).await;
    assert_refused(reused, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn bad_lists_of_reservations_are_refused() {
    let shop = Shop::open().await;
    let list = |filter: &str, page_size, page_token: &str| {
        let request =
            pb::ListReservationsRequest { page_size, page_token: page_token.to_owned(), filter: filter.to_owned() };
        let (mut inventory, request) = (shop.inventory.clone(), shop.staff(request));
        async move { inventory.list_reservations(request).await.map(Response::into_inner) }
    };
    for filter in [
        "state = NOWHERE",
        "state = STATE_UNSPECIFIED",
        "state = held",
        "state",
        "state != HELD",
        "state = HELD OR state = EXPIRED",
        "state = HELD AND state = EXPIRED",
        "order = o1",
        "product = \"orders/o1\"",
        "color = red",
        "order = \"orders/o1",
    ] {
        assert_fields(list(filter, 0, "").await, &["filter"]);
    }
    assert_fields(
        list("state = NOWHERE AND order = x", -1, "x").await,
        &["page_size", "page_token", "filter", "filter"],
    );
    let token = meshwork_aip::page::token(Some("0:o1"), &["state = HELD"]);
    assert!(list("state = HELD", 0, &token).await.is_ok());
    assert_fields(list("state = EXPIRED", 0, &token).await, &["page_token"]);
    let good = "state = HELD AND order = \"orders/o1\" AND product = \"products/lamp\"";
    // D8: the state as every answer spells it.
    for good in [good, &good.replace("HELD", "STATE_HELD")] {
        assert_eq!(list(good, 0, "").await.unwrap(), pb::ListReservationsResponse::default());
    }
}

#[tokio::test]
async fn an_audit_is_told_the_stocks_of_all_products_that_are_for_sale() {
    let shop = Shop::open().await;
    for (id, pieces) in [("table", 2), ("lamp", 3), ("chair", 1)] {
        shop.stocked(id, pieces).await;
    }
    let deletion = pb::DeleteProductRequest { name: "products/chair".to_owned(), ..Default::default() };
    shop.products.clone().delete_product(shop.staff(deletion)).await.unwrap();
    let refused = shop.audit.clone().read_stocks(shop.by("customer", ReadStocksRequest {})).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let mut pages = shop.audit.clone().read_stocks(shop.staff(ReadStocksRequest {})).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(page) = pages.message().await.unwrap() {
        told.extend(page.stocks);
    }
    let stock = |product: &str, pieces| ProductStock {
        product: product.to_owned(),
        available: pieces,
        received: pieces,
        ..Default::default()
    };
    assert_eq!(told, [stock("products/lamp", 3), stock("products/table", 2)]);
}
