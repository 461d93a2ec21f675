//! However much is sent, what is answered is small.

use meshwork_api::meshwork::products::v1 as pb;
use meshwork_chassis::MAX_REQUEST;
use meshwork_testkit::assert_small;
use prost_types::FieldMask;
use tonic::{Response, Status};
use tonic_types::StatusExt;

use crate::shop::{Shop, assert_fields, lamp};

/// Nearly all that a message may hold.
const MOST: usize = MAX_REQUEST - 1024;

impl Shop {
    async fn masked(&self, paths: Vec<String>) -> Result<pb::Product, Status> {
        let product = pb::Product { name: "products/lamp-1".to_owned(), ..lamp() };
        let request = pb::UpdateProductRequest { product: Some(product), update_mask: Some(FieldMask { paths }) };
        self.products.clone().update_product(self.staff(request)).await.map(Response::into_inner)
    }

    async fn batch(&self, names: Vec<String>) -> Result<pb::BatchGetProductsResponse, Status> {
        let request = pb::BatchGetProductsRequest { names };
        self.products.clone().batch_get_products(request).await.map(Response::into_inner)
    }
}

#[track_caller]
fn last_description(status: &Status) -> String {
    status.get_details_bad_request().unwrap().field_violations.pop().unwrap().description
}

#[tokio::test]
async fn a_mask_that_is_too_long_is_refused_unread() {
    let shop = Shop::open().await;
    let unknown = (0..1000).map(|at| format!("unknown{at:04}")).collect();
    // The shortest paths take two or three bytes of a message.
    for paths in [unknown, vec![String::new(); MOST / 2], vec!["x".to_owned(); MOST / 3], vec!["\0".repeat(MOST)]] {
        let status = assert_fields(shop.masked(paths).await, &["update_mask"]);
        assert!(status.message().starts_with("update_mask must have at most 100 paths"), "{}", status.message());
        assert_small(&status);
    }
}

#[tokio::test]
async fn of_many_faults_the_first_are_told_and_the_rest_are_counted() {
    let shop = Shop::open().await;
    let unknown: Vec<_> = (0..100).map(|at| format!("unknown{at}-{}", "x".repeat(60))).collect();
    let status = assert_fields(shop.masked(unknown.clone()).await, &["update_mask"; 20]);
    assert!(status.message().contains("80 more"), "{}", status.message());
    assert!(last_description(&status).contains("80 more"));
    // What was sent is shown, but cut.
    assert!(status.message().contains(&format!("{:?}", format!("{}…", &unknown[0][..64]))), "{}", status.message());
    assert_small(&status);

    let told: Vec<_> = (0..20).map(|at| format!("names[{at}]")).collect();
    let told: Vec<_> = told.iter().map(String::as_str).collect();
    for bad in [String::new(), "x".repeat(200), "\u{1f4a1}".repeat(500)] {
        let status = assert_fields(shop.batch(vec![bad; 100]).await, &told);
        assert!(status.message().contains("80 more"), "{}", status.message());
        assert!(last_description(&status).contains("80 more"));
        assert_small(&status);
    }
}

#[tokio::test]
async fn a_batch_that_is_too_long_is_refused_unread() {
    let shop = Shop::open().await;
    for names in [vec!["no name".to_owned(); 10_000], vec![String::new(); MOST / 2]] {
        assert_small(&assert_fields(shop.batch(names).await, &["names"]));
    }
    assert_small(&assert_fields(shop.batch(vec!["x".repeat(MOST)]).await, &["names[0]"]));
}

#[tokio::test]
async fn every_text_that_is_too_long_is_named() {
    let shop = Shop::open().await;
    let (mut products, mut inventory) = (shop.products.clone(), shop.inventory.clone());
    // Quotes, controls and signs that take most bytes: what grows when it is shown.
    for text in ["x", "\"\0\u{7f}\u{10ffff}", "\u{1f4a1}"] {
        let long = text.repeat(5_000);
        let named = || format!("products/{long}");

        let product = pb::Product { display_name: long.clone(), description: long.clone(), ..lamp() };
        let creation =
            pb::CreateProductRequest { product: Some(product), product_id: long.clone(), request_id: long.clone() };
        let refused = products.create_product(shop.staff(creation)).await;
        let fields = ["request_id", "product_id", "product.display_name", "product.description"];
        assert_small(&assert_fields(refused, &fields));

        let product = pb::Product { name: named(), etag: long.clone(), ..lamp() };
        let update = pb::UpdateProductRequest { product: Some(product), update_mask: None };
        let refused = products.update_product(shop.staff(update)).await;
        assert_small(&assert_fields(refused, &["product.name", "product.etag"]));

        let delete = pb::DeleteProductRequest { name: named(), etag: long.clone() };
        assert_small(&assert_fields(products.delete_product(shop.staff(delete)).await, &["name", "etag"]));
        let get = pb::GetProductRequest { name: named() };
        assert_small(&assert_fields(products.get_product(get).await, &["name"]));
        let list = pb::ListProductsRequest { page_size: 0, page_token: long.clone() };
        assert_small(&assert_fields(products.list_products(list).await, &["page_token"]));

        let get = pb::GetStockRequest { name: format!("{}/stock", named()) };
        assert_small(&assert_fields(inventory.get_stock(shop.staff(get)).await, &["name"]));
        let receive = pb::ReceiveStockRequest { name: named(), quantity: 1, request_id: long.clone() };
        let refused = inventory.receive_stock(shop.staff(receive)).await;
        assert_small(&assert_fields(refused, &["request_id", "name"]));
        let adjust = pb::AdjustStockRequest { name: named(), delta: 1, reason: long.clone(), request_id: long.clone() };
        let refused = inventory.adjust_stock(shop.staff(adjust)).await;
        assert_small(&assert_fields(refused, &["request_id", "name", "reason"]));
        let list = pb::ListReservationsRequest { page_size: 0, page_token: long.clone(), filter: long.clone() };
        let refused = inventory.list_reservations(shop.staff(list)).await;
        assert_small(&assert_fields(refused, &["page_token", "filter"]));
        let terms = vec![format!("{:?} = x", text.repeat(100)); 3].join(" AND ").replace(['"', '\\'], "");
        let list = pb::ListReservationsRequest { filter: terms, ..Default::default() };
        let status = inventory.list_reservations(shop.staff(list)).await.unwrap_err();
        assert!(status.message().starts_with("filter "), "{}", status.message());
        assert_small(&status);
    }
}
