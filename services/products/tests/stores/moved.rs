//! A shop that gets a server.

use meshwork_chassis::config::{PostgresConfig, Secret};
use meshwork_products::Config;
use meshwork_products::adapters::store::SqliteStore;
use meshwork_products::adapters::stores;
use meshwork_products::testing::lamp;

use crate::rooms::{Room, server};

#[tokio::test]
async fn the_products_of_a_folder_are_not_left_behind_for_an_empty_database() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let Room::Server { url, .. } = Room::database(&server).await else { panic!("it is on a server") };
    let postgres = PostgresConfig { url: Secret::new(url), max_connections: 4, ..PostgresConfig::default() };
    let config = Config { data: folder.path().to_owned(), postgres, ..Config::default() };
    // Where nothing was, a database without products is where the shop begins.
    let begun = stores::open(&config, "orders").await.unwrap();

    SqliteStore::open(folder.path()).await.unwrap();
    let refused = stores::open(&config, "orders").await.err().unwrap();
    let (place, database) = (folder.path().display().to_string(), config.postgres.shown());
    for part in ["holds the products of this shop", &place, &database] {
        assert!(refused.sentence.contains(part), "{refused}");
    }
    for part in ["products.postgres.url", "products.db"] {
        assert!(refused.hint.contains(part), "{}", refused.hint);
    }

    // A shop that has products there has moved before.
    begun.catalogue.create(lamp("lamp"), None).await.unwrap();
    stores::open(&config, "orders").await.unwrap();
}
