//! Both stores pass the suite.

use std::sync::Mutex;

use meshwork_products::testing::conformance;

use crate::rooms::{Room, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_conforms() {
    let rooms: Mutex<Vec<Room>> = Mutex::default();
    conformance(|| async {
        let room = Room::file();
        let both = [room.open().await, room.open().await];
        rooms.lock().unwrap().push(room);
        both
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_on_a_server_conforms() {
    let server = server().await;
    conformance(|| async {
        let room = Room::database(&server).await;
        [room.open().await, room.open().await]
    })
    .await;
}
