//! The shop on a PostgreSQL with replicas.

use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{GetProductRequest, Product, UpdateProductRequest};
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{GetUserRequest, UpdateUserRequest, User};
use meshwork_testkit::up::{Token, UNLIMITED, text, with};
use meshwork_testkit::{Postgres, Up};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response};

use crate::proof::{Audit, Load};
use crate::shop::{eventually, stocked_product};

/// The metadata by which a caller sees what it has written.
const TOKEN: &str = "meshwork-consistency-token";

/// Settings under which nothing is answered by a cache that replicas are to answer.
const UNCACHED: [(&str, &str); 2] =
    [("MESHWORK_USERS__CACHE__ENABLED", "false"), ("MESHWORK_PRODUCTS__CACHE__ENABLED", "false")];

/// An `up` on a primary and its replicas; answers that may come from a replica do.
fn up(folder: &std::path::Path, database: &str, replicas: &[String], more: &[(&str, &str)]) -> Up {
    let mut args = vec!["--postgres", database];
    args.extend(replicas.iter().flat_map(|replica| ["--replica", replica.as_str()]));
    let bounded = [("MESHWORK_USERS__POSTGRES__READS", "bounded"), ("MESHWORK_PRODUCTS__POSTGRES__READS", "bounded")];
    let settings: Vec<_> = UNLIMITED.iter().chain(&bounded).chain(more).copied().collect();
    Up::try_start_with(folder, &args, &settings).unwrap_or_else(|problem| panic!("{problem}"))
}

fn token_of<T>(response: &Response<T>) -> MetadataValue<Ascii> {
    response.metadata().get(TOKEN).expect("a write answers with a token").clone()
}

fn at_least<T>(token: &Token, seen: &MetadataValue<Ascii>, message: T) -> Request<T> {
    let mut request = with(token, message);
    request.metadata_mut().insert(TOKEN, seen.clone());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn rr_a_caller_sees_what_it_has_written_though_replicas_stand_still() {
    let (cluster, folder) = (Postgres::with_replicas(2, false), tempfile::tempdir().unwrap());
    let database = cluster.database();
    let up = up(folder.path(), &database, &cluster.replica_urls(&database), &UNCACHED);
    let target = format!("http://{}", up.address("gateway"));
    let demo = tokio::task::block_in_place(|| up.run(["demo", "--target", &target]));
    assert!(demo.status.success(), "{}\n{}", text(&demo.stderr), up.log());
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "lagging", 1).await;
    let (name, customer) = up.customer("lagging").await;
    for replica in 0..2 {
        cluster.wait_for_replay(replica);
        cluster.pause_replay(replica);
    }

    let mut users = UserServiceClient::new(up.channel());
    let mut products = ProductServiceClient::new(up.channel());
    for round in 0..10 {
        let renamed = User { name: name.clone(), display_name: format!("Round {round}"), ..User::default() };
        let request = UpdateUserRequest { user: Some(renamed), ..UpdateUserRequest::default() };
        let updated = users.update_user(with(&customer, request)).await.unwrap();
        let request = GetUserRequest { name: name.clone() };
        let found = users.get_user(at_least(&customer, &token_of(&updated), request)).await.unwrap().into_inner();
        assert_eq!(found.display_name, format!("Round {round}"));

        let renamed = Product { name: product.clone(), display_name: format!("Round {round}"), ..Product::default() };
        let request = UpdateProductRequest { product: Some(renamed), ..UpdateProductRequest::default() };
        let updated = products.update_product(with(&staff, request)).await.unwrap();
        let request = GetProductRequest { name: product.clone() };
        let found = products.get_product(at_least(&staff, &token_of(&updated), request)).await.unwrap().into_inner();
        assert_eq!(found.display_name, format!("Round {round}"));
    }
    for replica in 0..2 {
        cluster.resume_replay(replica);
    }
    // Without a token, too, once they have caught up.
    eventually("the replicas show the last change", async || {
        let request = with(&staff, GetProductRequest { name: product.clone() });
        let found = ProductServiceClient::new(up.channel()).get_product(request).await.unwrap().into_inner();
        found.display_name == "Round 9"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_gone_is_named_by_the_health_and_fails_no_call() {
    let (mut cluster, folder) = (Postgres::with_replicas(2, false), tempfile::tempdir().unwrap());
    let database = cluster.database();
    let replicas = cluster.replica_urls(&database);
    let up = up(folder.path(), &database, &replicas, &UNCACHED);
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "gone", 1).await;
    let reads = async |count: usize| {
        let mut products = ProductServiceClient::new(up.channel());
        for _ in 0..count {
            let request = with(&staff, GetProductRequest { name: product.clone() });
            products.get_product(request).await.unwrap();
        }
    };
    cluster.wait_for_replay(0);
    cluster.wait_for_replay(1);
    reads(50).await;
    cluster.replica_mut(0).kill();
    reads(200).await;
    let place = replicas[0].split('@').next_back().unwrap().split('/').next().unwrap().to_owned();
    eventually("the health names the replica", async || health(&up).await.contains(&place)).await;
    cluster.replica_mut(1).kill();
    reads(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_under_load_loses_nothing_that_was_answered() {
    let (mut cluster, folder) = (Postgres::with_replicas(2, true), tempfile::tempdir().unwrap());
    let database = cluster.database();
    let up = up(folder.path(), &database, &cluster.replica_urls(&database), &[]);
    let target = format!("http://{}", up.address("gateway"));
    let credentials = up.data().join("credentials/staff.json");
    let mut load = Load::start(folder.path(), &target, &credentials, (10, 40), &["--cancel", "5"]);
    load.has_answers(40);
    cluster.primary_mut().kill();
    let next = cluster.most_advanced();
    cluster.promote(next);
    cluster.follow(1 - next, next);
    let before = load.answered();
    load.has_answers(before + 60);
    let history = load.history().to_owned();
    load.report();
    Audit::of_up(&up, Some(&history), "60s").holds();
    let (name, customer) = up.customer("afterwards").await;
    let request = with(&customer, GetUserRequest { name: name.clone() });
    let found = UserServiceClient::new(up.channel()).get_user(request).await.unwrap().into_inner();
    assert_eq!(found.name, name);
}

/// What the ops port says of the health.
async fn health(up: &Up) -> String {
    let address = up.address("ops");
    let get = move || {
        use std::io::{Read, Write};
        let mut port = std::net::TcpStream::connect(address).unwrap();
        port.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        write!(port, "GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        port.read_to_string(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(get).await.unwrap()
}
