//! Who may call what.

use meshwork_api::meshwork::products::v1 as pb;
use meshwork_testkit::issuer::Claims;
use tonic::{Code, Request, Status};

use crate::shop::{Shop, assert_refused, creation, with_token};

/// Calls every method as `request` makes the caller; whether each was let through to its handler.
async fn let_through(
    shop: &Shop,
    mut token: impl FnMut() -> Option<String>,
) -> Vec<(&'static str, Result<(), Status>)> {
    let (mut products, mut inventory) = (shop.products.clone(), shop.inventory.clone());
    macro_rules! call {
        ($client:ident, $method:ident, $message:ident) => {{
            // Empty requests: who is let through is told of bad fields, and nothing is written.
            let message = pb::$message::default();
            let request = match token() {
                Some(token) => with_token(message, &token),
                None => Request::new(message),
            };
            (stringify!($method), $client.$method(request).await.map(|_| ()))
        }};
    }
    vec![
        call!(products, create_product, CreateProductRequest),
        call!(products, update_product, UpdateProductRequest),
        call!(products, delete_product, DeleteProductRequest),
        call!(products, get_product, GetProductRequest),
        call!(products, batch_get_products, BatchGetProductsRequest),
        call!(products, list_products, ListProductsRequest),
        call!(inventory, get_stock, GetStockRequest),
        call!(inventory, receive_stock, ReceiveStockRequest),
        call!(inventory, adjust_stock, AdjustStockRequest),
        call!(inventory, list_reservations, ListReservationsRequest),
    ]
}

const OPEN: [&str; 3] = ["get_product", "batch_get_products", "list_products"];
const FOR_SERVICES: [&str; 2] = ["get_stock", "list_reservations"];

#[tokio::test]
async fn each_role_is_let_through_to_what_is_its_own() {
    let shop = Shop::open().await;
    for role in ["", "customer", "service", "staff"] {
        let token = || (!role.is_empty()).then(|| shop.issuer.token("anna", role));
        for (method, result) in let_through(&shop, token).await {
            let allowed = match role {
                "staff" => true,
                "service" => OPEN.contains(&method) || FOR_SERVICES.contains(&method),
                _ => OPEN.contains(&method),
            };
            let what = format!("{method} by {role:?}: {result:?}");
            match (allowed, method) {
                // An empty list request is a good one.
                (true, "list_products" | "list_reservations") => assert!(result.is_ok(), "{what}"),
                (true, _) => assert_eq!(result.unwrap_err().code(), Code::InvalidArgument, "{what}"),
                (false, _) if role.is_empty() => {
                    assert_refused(result, Code::Unauthenticated, "NOT_SIGNED_IN");
                }
                (false, _) => {
                    assert_refused(result, Code::PermissionDenied, "NOT_ALLOWED");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_token_that_is_not_ours_is_refused_everywhere() {
    let shop = Shop::open().await;
    let stranger = meshwork_testkit::Issuer::start().await;
    let claims = Claims::of("anna", "staff");
    let bad = [
        ("malformed", "not-a-token".to_owned()),
        ("tampered", format!("{}x", shop.issuer.token("anna", "staff"))),
        ("of another key", stranger.token("anna", "staff")),
        ("expired", shop.issuer.sign(&Claims { exp: claims.iat - 3600, ..claims.clone() })),
        ("for another audience", shop.issuer.sign(&Claims { aud: "elsewhere".to_owned(), ..claims.clone() })),
        ("of another issuer", shop.issuer.sign(&Claims { iss: "somebody".to_owned(), ..claims.clone() })),
        ("with an unknown role", shop.issuer.sign(&Claims { role: "owner".to_owned(), ..claims.clone() })),
        ("without a name", shop.issuer.sign(&Claims { sub: "anna".to_owned(), ..claims })),
    ];
    for (what, token) in bad {
        for (method, result) in let_through(&shop, || Some(token.clone())).await {
            let status = result.expect_err(what);
            assert_eq!(status.code(), Code::Unauthenticated, "{method} with a token {what}: {status:?}");
        }
        let created = shop.products.clone().create_product(with_token(creation("lamp-1"), &token)).await;
        assert_refused(created, Code::Unauthenticated, "BAD_TOKEN");
    }
    assert_refused(shop.product("lamp-1").await, Code::NotFound, "PRODUCT_NOT_FOUND");
}
