//! RR-: reads of a service whose database has replicas, by callers with and without tokens.

use std::time::Duration;

use meshwork_api::meshwork::products::v1 as pb;
use meshwork_chassis::config::{CacheConfig, PostgresConfig, Reads, Secret};
use meshwork_chassis::consistency::{ConsistencyToken, EventsPlace, TOKEN, WalPosition};
use meshwork_products::Config;
use meshwork_testkit::Postgres;
use meshwork_testkit::postgres::Cluster;
use tonic::{Request, Response};

use crate::shop::{Shop, assert_fields, creation, eventually};

/// A shop on a primary with two replicas, which are read from however far they are behind.
async fn shop(reads: Reads) -> (Shop, Cluster) {
    let (cluster, postgres) = tokio::task::spawn_blocking(move || {
        let cluster = Postgres::with_replicas(2, false);
        let url = cluster.database();
        let replicas = cluster.replica_urls(&url).into_iter().map(Secret::new).collect();
        let (max_lag, max_lag_bytes) = (Duration::from_secs(60), 1 << 30);
        let url = Secret::new(url);
        (cluster, PostgresConfig { url, replicas, max_lag, max_lag_bytes, reads, ..PostgresConfig::default() })
    })
    .await
    .unwrap();
    // Else what was written through would be shown to everybody.
    let cache = CacheConfig { enabled: false, ..CacheConfig::default() };
    (Shop::open_with(|config| Config { postgres, cache, ..config }).await, cluster)
}

/// A shop as of [`shop`] with `products/lamp`, which the replicas know as "Lamp", and the primary as "Torch". The token is that of
/// the change.
async fn lagging(reads: Reads) -> (Shop, Cluster, ConsistencyToken) {
    let (shop, cluster) = shop(reads).await;
    shop.stocked("lamp", 5).await;
    for replica in 0..2 {
        cluster.wait_for_replay(replica);
        cluster.pause_replay(replica);
    }
    let product =
        pb::Product { name: "products/lamp".to_owned(), display_name: "Torch".to_owned(), ..Default::default() };
    let update = pb::UpdateProductRequest { product: Some(product), update_mask: None };
    let updated = shop.products.clone().update_product(shop.staff(update)).await.unwrap();
    let token = answered(&updated);
    // They are read from once their state is known, and from then on.
    eventually("a list from a replica", || async { (shop.listed_name(None).await == "Lamp").then_some(()) }).await;
    (shop, cluster, token)
}

/// The token that a command has answered with.
fn answered<T>(response: &Response<T>) -> ConsistencyToken {
    ConsistencyToken::answered(response.metadata()).expect("a write answers with a token")
}

fn with<T>(mut request: Request<T>, token: Option<ConsistencyToken>) -> Request<T> {
    if let Some(token) = token {
        request.metadata_mut().insert(TOKEN, token.to_string().parse().unwrap());
    }
    request
}

/// A request with what no command has answered.
fn bad<T>(mut request: Request<T>) -> Request<T> {
    request.metadata_mut().insert(TOKEN, "x".parse().unwrap());
    request
}

impl Shop {
    async fn listed_name(&self, token: Option<ConsistencyToken>) -> String {
        let request = with(Request::new(pb::ListProductsRequest::default()), token);
        let mut found = self.products.clone().list_products(request).await.unwrap().into_inner().products;
        found.remove(0).display_name
    }

    async fn lamp_name(&self, token: Option<ConsistencyToken>) -> String {
        let request = with(Request::new(pb::GetProductRequest { name: "products/lamp".to_owned() }), token);
        self.products.clone().get_product(request).await.unwrap().into_inner().display_name
    }

    async fn batch_name(&self) -> String {
        let request = pb::BatchGetProductsRequest { names: vec!["products/lamp".to_owned()] };
        let mut found = self.products.clone().batch_get_products(request).await.unwrap().into_inner().products;
        found.remove(0).display_name
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_token_shows_what_its_command_has_done() {
    let (shop, cluster, token) = lagging(Reads::Primary).await;
    assert!(token.wal.is_some() && token.events.is_none(), "{token:?}");
    for _ in 0..20 {
        assert_eq!(shop.lamp_name(Some(token)).await, "Torch");
        assert_eq!(shop.listed_name(Some(token)).await, "Torch");
        // By themselves a product and a batch, which orders are priced by, are as they are.
        assert_eq!(shop.lamp_name(None).await, "Torch");
        assert_eq!(shop.batch_name().await, "Torch");
    }
    // Other services' parts don't matter, nor does a token that is of another database.
    let place = EventsPlace { partition: 3, n: 7 };
    let own_and_others = token.merge(place.into());
    assert_eq!(shop.listed_name(Some(own_and_others)).await, "Torch");
    assert_eq!(shop.listed_name(Some(WalPosition { system: 7, timeline: 1, lsn: 1 }.into())).await, "Torch");
    assert_eq!(shop.listed_name(Some(place.into())).await, "Lamp", "it says nothing of this database");
    cluster.resume_replay(0);
    cluster.resume_replay(1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_product_is_read_from_a_replica_where_that_is_allowed() {
    let (shop, cluster, token) = lagging(Reads::Bounded).await;
    assert_eq!(shop.lamp_name(None).await, "Lamp");
    assert_eq!(shop.lamp_name(Some(token)).await, "Torch");
    assert_eq!(shop.batch_name().await, "Torch", "orders are priced by it");

    let receipt = pb::ReceiveStockRequest { name: "products/lamp/stock".to_owned(), quantity: 2, ..Default::default() };
    let received = shop.inventory.clone().receive_stock(shop.staff(receipt)).await.unwrap();
    let stock = async |token| {
        let request = shop.staff(pb::GetStockRequest { name: "products/lamp/stock".to_owned() });
        shop.inventory.clone().get_stock(with(request, token)).await.unwrap().into_inner().available
    };
    assert_eq!((stock(None).await, stock(Some(answered(&received))).await), (5, 7));
    cluster.resume_replay(0);
    cluster.resume_replay(1);
    shop.close().await;
}

#[tokio::test]
async fn every_write_answers_with_a_token_where_there_are_replicas() {
    let (shop, _cluster) = shop(Reads::Primary).await;
    let (mut products, mut inventory) = (shop.products.clone(), shop.inventory.clone());
    let creating =
        pb::CreateProductRequest { request_id: "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d".to_owned(), ..creation("lamp") };
    let (name, stock) = ("products/lamp".to_owned(), "products/lamp/stock".to_owned());
    let first = answered(&products.create_product(shop.staff(creating.clone())).await.unwrap());
    let again = answered(&products.create_product(shop.staff(creating)).await.unwrap());
    assert!(again.wal.unwrap().lsn >= first.wal.unwrap().lsn, "a replay's token covers what the first has done");
    let receipt = pb::ReceiveStockRequest { name: stock.clone(), quantity: 2, ..Default::default() };
    answered(&inventory.receive_stock(shop.staff(receipt)).await.unwrap());
    let correction =
        pb::AdjustStockRequest { name: stock, delta: -1, reason: "broken".to_owned(), ..Default::default() };
    answered(&inventory.adjust_stock(shop.staff(correction)).await.unwrap());
    let deletion = pb::DeleteProductRequest { name: name.clone(), etag: String::new() };
    let deleted = answered(&products.delete_product(shop.staff(deletion)).await.unwrap());
    // A product that is gone is missed by who has removed it.
    let gone = products.get_product(with(Request::new(pb::GetProductRequest { name }), Some(deleted))).await;
    assert_eq!(gone.unwrap_err().code(), tonic::Code::NotFound);
    let listed = products.list_products(with(Request::new(pb::ListProductsRequest::default()), Some(deleted))).await;
    assert_eq!(listed.unwrap().into_inner().products, []);
    shop.close().await;
}

#[tokio::test]
async fn a_file_needs_no_token_and_what_is_none_is_refused() {
    let shop = Shop::open().await;
    let created = shop.products.clone().create_product(shop.staff(creation("lamp"))).await.unwrap();
    assert!(!created.metadata().contains_key(TOKEN), "every read shows every write");
    // A caller may still hold one.
    let held = Some(WalPosition { system: 7, timeline: 1, lsn: 1 }.into());
    assert_eq!((shop.lamp_name(held).await, shop.listed_name(held).await), ("Lamp".to_owned(), "Lamp".to_owned()));
    let (mut products, mut inventory) = (shop.products.clone(), shop.inventory.clone());
    let (name, names) = ("products/lamp".to_owned(), vec!["products/lamp".to_owned()]);
    let get = bad(Request::new(pb::GetProductRequest { name }));
    assert_fields(products.get_product(get).await, &[TOKEN]);
    let batch = bad(Request::new(pb::BatchGetProductsRequest { names }));
    assert_fields(products.batch_get_products(batch).await, &[TOKEN]);
    let list = bad(Request::new(pb::ListProductsRequest::default()));
    assert_fields(products.list_products(list).await, &[TOKEN]);
    let stock = bad(shop.staff(pb::GetStockRequest { name: "products/lamp/stock".to_owned() }));
    assert_fields(inventory.get_stock(stock).await, &[TOKEN]);
    let reservations = bad(shop.staff(pb::ListReservationsRequest::default()));
    assert_fields(inventory.list_reservations(reservations).await, &[TOKEN]);
}
