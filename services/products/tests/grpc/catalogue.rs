//! ProductService.

use meshwork_aip::request::REPLAY;
use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::products::v1 as pb;
use meshwork_events::testing::read_all;
use meshwork_events::{Bus as _, SqliteBus};
use prost::Message as _;
use prost_types::FieldMask;
use tonic::{Code, Response, Status};

use crate::shop::{Shop, assert_fields, assert_refused, creation, euros, eventually, lamp};

const UUID: &str = "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d";

impl Shop {
    async fn create(&self, request: pb::CreateProductRequest) -> Result<Response<pb::Product>, Status> {
        self.products.clone().create_product(self.staff(request)).await
    }

    async fn update(&self, product: pb::Product, paths: &[&str]) -> Result<pb::Product, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = pb::UpdateProductRequest { product: Some(product), update_mask: Some(FieldMask { paths }) };
        self.products.clone().update_product(self.staff(request)).await.map(Response::into_inner)
    }

    async fn delete(&self, name: &str, etag: &str) -> Result<(), Status> {
        let request = pb::DeleteProductRequest { name: name.to_owned(), etag: etag.to_owned() };
        self.products.clone().delete_product(self.staff(request)).await.map(Response::into_inner)
    }

    async fn listed(&self) -> Vec<pb::Product> {
        let request = pb::ListProductsRequest::default();
        self.products.clone().list_products(request).await.unwrap().into_inner().products
    }
}

#[tokio::test]
async fn a_product_from_its_addition_to_its_end() {
    let shop = Shop::open().await;
    let added = shop.stocked("lamp-1", 0).await;
    assert_eq!((added.name.as_str(), added.etag.as_str()), ("products/lamp-1", "\"v1\""));
    assert_eq!((added.display_name.as_str(), added.price.clone()), ("Lamp", euros(19, 990_000_000)));
    assert_eq!(added.create_time, added.update_time);
    assert_eq!(shop.product("lamp-1").await.unwrap(), added);

    let changed = shop.update(pb::Product { price: euros(25, 0), ..added.clone() }, &["price"]).await.unwrap();
    assert_eq!((changed.price.clone(), changed.etag.as_str()), (euros(25, 0), "\"v2\""));
    assert_eq!(
        pb::Product {
            price: added.price.clone(),
            etag: added.etag.clone(),
            update_time: added.update_time,
            ..changed.clone()
        },
        added
    );
    assert_eq!(shop.product("lamp-1").await.unwrap(), changed);

    let stale = shop.update(pb::Product { price: euros(1, 0), ..added.clone() }, &["price"]).await;
    assert_refused(stale, Code::Aborted, "ETAG_MISMATCH");
    assert_refused(shop.delete("products/lamp-1", &added.etag).await, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(shop.product("lamp-1").await.unwrap(), changed);

    shop.delete("products/lamp-1", &changed.etag).await.unwrap();
    assert_refused(shop.product("lamp-1").await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_refused(shop.delete("products/lamp-1", "").await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_refused(shop.update(changed.clone(), &["price"]).await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_refused(shop.stock("lamp-1").await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_eq!(shop.listed().await, []);
    assert_refused(shop.create(creation("lamp-1")).await, Code::AlreadyExists, "PRODUCT_ID_TAKEN");

    // The world hears of it, in order.
    let bus = SqliteBus::open(&shop.folder.path().join("bus")).await.unwrap();
    let heard = eventually("the events", || async {
        let mut heard = Vec::new();
        for lane in bus.lanes("products") {
            heard.extend(read_all(bus.as_ref(), &lane).await);
        }
        (heard.len() >= 3).then_some(heard)
    })
    .await;
    let heard: Vec<_> = heard.iter().map(|event| (event.event_type.as_str(), event.id.as_str())).collect();
    let expected = [
        ("product_created", "products/lamp-1:1"),
        ("product_updated", "products/lamp-1:2"),
        ("product_deleted", "products/lamp-1:3"),
    ];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_bad_product_is_told_all_its_faults_and_not_added() {
    let shop = Shop::open().await;
    let with = |change: &dyn Fn(&mut pb::CreateProductRequest)| {
        let mut request = creation("lamp-1");
        change(&mut request);
        shop.create(request)
    };
    assert_fields(with(&|r| r.product = None).await, &["product", "product.price", "product.display_name"]);
    let money = |currency: &str, units, nanos| Some(Money { currency_code: currency.to_owned(), units, nanos });
    for (price, field) in [
        (None, "product.price"),
        (money("EUR", 0, 0), "product.price"),
        (money("", 1, 0), "product.price.currency_code"),
        (money("eur", 1, 0), "product.price.currency_code"),
        (money("ABC", 1, 0), "product.price.currency_code"),
        (money("EUR", -1, 0), "product.price.units"),
        (money("EUR", 1_000_000, 10_000_000), "product.price.units"),
        (money("EUR", 1_000_001, 0), "product.price.units"),
        (money("EUR", i64::MAX, 0), "product.price.units"),
        (money("EUR", 1, -10_000_000), "product.price.nanos"),
        (money("EUR", 1, 1_000_000_000), "product.price.nanos"),
        (money("EUR", 1, 1), "product.price.nanos"),
        (money("JPY", 1, 500_000_000), "product.price.nanos"),
    ] {
        let refused = with(&|r| r.product.as_mut().unwrap().price = price.clone()).await;
        assert_fields(refused, &[field]);
    }
    // D7: nothing that shows nothing, nothing that turns what is beside it.
    for name in ["", "  ", "a\u{0}b", "\u{200b}\u{200d}", "La\u{202e}mp", &"x".repeat(201)] {
        let refused = with(&|r| r.product.as_mut().unwrap().display_name = name.to_owned()).await;
        assert_fields(refused, &["product.display_name"]);
    }
    let refused = with(&|r| r.product.as_mut().unwrap().description = "x".repeat(4001)).await;
    assert_fields(refused, &["product.description"]);
    for id in ["abc", "1abc", "-abc", "abc-", "Lamp", "la mp", "lamp_1", &"x".repeat(64), &UUID.to_uppercase()] {
        assert_fields(with(&|r| r.product_id = id.to_owned()).await, &["product_id"]);
    }
    for id in ["r1", "not-a-uuid"] {
        assert_fields(with(&|r| r.request_id = id.to_owned()).await, &["request_id"]);
    }
    let all = with(&|r| {
        r.request_id = "x".to_owned();
        r.product_id = "x".to_owned();
        r.product = Some(pb::Product { description: "x".repeat(4001), ..Default::default() });
    });
    let fields = ["request_id", "product_id", "product.price", "product.display_name", "product.description"];
    assert_fields(all.await, &fields);
    assert_eq!(shop.listed().await, []);

    // What is just allowed.
    let longest = pb::Product {
        display_name: "é".repeat(200),
        description: "é".repeat(4000),
        price: money("EUR", 1_000_000, 0),
        ..Default::default()
    };
    for (product_id, price) in [
        ("x".repeat(63), euros(1_000_000, 0)),
        (UUID.to_owned(), euros(0, 10_000_000)),
        (String::new(), money("JPY", 1, 0)),
    ] {
        let product = Some(pb::Product { price: price.clone(), ..longest.clone() });
        let request = pb::CreateProductRequest { product, product_id, request_id: String::new() };
        assert_eq!(shop.create(request).await.unwrap().into_inner().price, price);
    }
    assert_eq!(shop.listed().await.len(), 3);
}

#[tokio::test]
async fn what_a_caller_can_not_set_is_passed_over() {
    let shop = Shop::open().await;
    let given = pb::Product {
        name: "products/other".to_owned(),
        create_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        etag: "\"v9\"".to_owned(),
        ..lamp()
    };
    let request = pb::CreateProductRequest { product: Some(given.clone()), ..creation("lamp-1") };
    let added = shop.create(request).await.unwrap().into_inner();
    assert_eq!((added.name.as_str(), added.etag.as_str()), ("products/lamp-1", "\"v1\""));
    assert_ne!(added.create_time, given.create_time);
    let change = pb::Product { name: added.name.clone(), display_name: "Torch".to_owned(), ..Default::default() };
    let changed = shop.update(change, &["create_time", "display_name"]).await.unwrap();
    assert_eq!((changed.display_name.as_str(), changed.create_time), ("Torch", added.create_time));
}

#[tokio::test]
async fn a_mask_says_what_is_changed() {
    let shop = Shop::open().await;
    let added = shop.stocked("lamp-1", 0).await;
    let named = |product: pb::Product| pb::Product { name: added.name.clone(), ..product };
    // Without a mask, what is set is changed.
    let change = named(pb::Product { display_name: "Torch".to_owned(), ..Default::default() });
    let changed = shop.update(change, &[]).await.unwrap();
    assert_eq!((changed.display_name.as_str(), changed.description.as_str()), ("Torch", "It shines"));
    // With one, what is not set is emptied.
    let change = named(pb::Product { display_name: "Ignored".to_owned(), ..Default::default() });
    let changed = shop.update(change, &["description"]).await.unwrap();
    assert_eq!((changed.display_name.as_str(), changed.description.as_str()), ("Torch", ""));
    let change = named(pb::Product { price: euros(5, 0), display_name: "Bulb".to_owned(), ..Default::default() });
    let changed = shop.update(change, &["*"]).await.unwrap();
    assert_eq!((changed.display_name.as_str(), changed.price.clone()), ("Bulb", euros(5, 0)));

    let bare = || named(pb::Product::default());
    assert_fields(shop.update(bare(), &[]).await, &["update_mask"]);
    assert_fields(shop.update(bare(), &["stock"]).await, &["update_mask"]);
    assert_fields(shop.update(bare(), &["price.units"]).await, &["update_mask"]);
    assert_fields(shop.update(bare(), &["display_name"]).await, &["product.display_name"]);
    assert_fields(shop.update(bare(), &["price"]).await, &["product.price"]);
    assert_fields(shop.update(bare(), &["*"]).await, &["product.display_name", "product.price"]);
    assert_fields(shop.update(pb::Product { etag: "v1".to_owned(), ..named(lamp()) }, &[]).await, &["product.etag"]);
    for name in ["", "lamp-1", "products/", "products/Lamp", "products/a/b", "users/lamp-1"] {
        let product = pb::Product { name: name.to_owned(), ..lamp() };
        assert_fields(shop.update(product, &[]).await, &["product.name"]);
        assert_fields(shop.delete(name, "").await, &["name"]);
        let get = pb::GetProductRequest { name: name.to_owned() };
        assert_fields(shop.products.clone().get_product(get).await, &["name"]);
    }
    assert_fields(shop.delete(&added.name, "v1").await, &["etag"]);
    let nothing = pb::UpdateProductRequest::default();
    let refused = shop.products.clone().update_product(shop.staff(nothing)).await;
    assert_fields(refused, &["product", "product.name", "update_mask"]);
    assert_eq!(shop.product("lamp-1").await.unwrap(), changed);
    let missing = shop.update(pb::Product { name: "products/none".to_owned(), ..lamp() }, &[]).await;
    assert_refused(missing, Code::NotFound, "PRODUCT_NOT_FOUND");
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_the_first_time() {
    let shop = Shop::open().await;
    let request = || pb::CreateProductRequest { request_id: UUID.to_owned(), ..creation("") };
    let first = shop.create(request()).await.unwrap();
    assert!(first.metadata().get(REPLAY).is_none());
    let first = first.into_inner();
    shop.update(pb::Product { name: first.name.clone(), ..lamp() }, &["price"]).await.unwrap();
    let again = shop.create(request()).await.unwrap();
    assert_eq!(again.metadata().get(REPLAY).unwrap(), "true");
    assert_eq!(again.into_inner(), first);
    let other = pb::CreateProductRequest { product_id: "lamp-2".to_owned(), ..request() };
    assert_refused(shop.create(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    // An answer outlives the service, and what it speaks of.
    shop.delete(&first.name, "").await.unwrap();
    let shop = shop.reopen().await;
    assert_eq!(shop.create(request()).await.unwrap().into_inner(), first);
    assert_eq!(shop.listed().await, []);
}

#[tokio::test]
async fn lists_come_in_pages_and_batches_in_order() {
    let shop = Shop::open().await;
    let mut added = Vec::new();
    for at in 0..5 {
        added.push(shop.stocked(&format!("lamp-{at}"), 0).await);
    }
    let list = |page_size, page_token: &str| {
        let request = pb::ListProductsRequest { page_size, page_token: page_token.to_owned() };
        let mut products = shop.products.clone();
        async move { products.list_products(request).await.map(Response::into_inner) }
    };
    let first = list(2, "").await.unwrap();
    let second = list(2, &first.next_page_token).await.unwrap();
    let third = list(2, &second.next_page_token).await.unwrap();
    assert_eq!([first.products, second.products, third.products].concat(), added);
    assert_eq!(third.next_page_token, "");
    assert_eq!(list(1000, "").await.unwrap().products.len(), 5);
    assert_fields(list(-1, "").await, &["page_size"]);
    assert_fields(list(2, "garbage").await, &["page_token"]);
    // A token that somebody made: of our form, but of no place in this list.
    let forged = meshwork_aip::page::token(Some("nowhere"), &[]);
    assert_fields(list(2, &forged).await, &["page_token"]);

    let batch = |names: Vec<String>| {
        let mut products = shop.products.clone();
        async move { products.batch_get_products(pb::BatchGetProductsRequest { names }).await.map(Response::into_inner) }
    };
    let names = |ids: &[usize]| ids.iter().map(|at| format!("products/lamp-{at}")).collect::<Vec<_>>();
    let found = batch(names(&[3, 0, 3])).await.unwrap().products;
    assert_eq!(found, [added[3].clone(), added[0].clone(), added[3].clone()]);
    assert_refused(batch(names(&[0, 9])).await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_fields(batch(Vec::new()).await, &["names"]);
    assert_fields(batch(names(&[0; 101])).await, &["names"]);
    assert_fields(
        batch(vec!["products/lamp-0".to_owned(), "lamp".to_owned(), String::new()]).await,
        &["names[1]", "names[2]"],
    );
}

#[tokio::test]
async fn d2_pages_of_long_products_are_messages_that_clients_take() {
    let shop = Shop::open().await;
    let description = "\u{1f4a1}".repeat(4000);
    for at in 0..140 {
        let mut request = creation(&format!("lamp-{at}"));
        request.product = Some(pb::Product { description: description.clone(), ..lamp() });
        shop.create(request).await.unwrap();
    }
    let (mut sizes, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListProductsRequest { page_size: 200, page_token };
        let page = shop.products.clone().list_products(request).await.unwrap().into_inner();
        assert!(page.encoded_len() <= meshwork_aip::page::MAX_BYTES + 1024, "{}", page.encoded_len());
        sizes.push(page.products.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (2, 140), "{sizes:?}");
}
