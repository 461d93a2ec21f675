//! What only the embedded store has: a past.

use meshwork_products::domain::State;
use meshwork_products::testing::created;

use crate::rooms::Room;

#[tokio::test]
async fn what_the_release_before_has_deleted_is_not_sold() {
    let room = Room::file();
    let stores = room.open().await;
    stores.stocked("lamp", 5).await;
    // It leaves the stock as it is.
    room.ask("UPDATE product SET deleted_at = 1, version = 2").await.unwrap();
    stores.hear("o1", 1, created(&[("lamp", 1)])).await;
    assert_eq!(stores.state("o1").await, Some(State::Rejected));
    assert_eq!(stores.audit.violations().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_tables_of_the_release_before_keep_their_version() {
    let room = Room::file();
    room.open().await;
    let versions = room.ask("SELECT group_concat(version) FROM _migrations_products").await.unwrap();
    assert_eq!(versions, ["1"]);
}
