//! Four hundred buyers of forty pieces.

use std::sync::Arc;

use meshwork_api::meshwork::orders::v1::order;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_testkit::Up;
use meshwork_testkit::up::{UNLIMITED, with};
use tokio::task::JoinSet;

use crate::shop::{order_request, settled_order, stock, stocked_product};

const BUYERS: usize = 400;
const PIECES: i64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_buyers_of_forty_pieces_get_forty_orders() {
    let folder = tempfile::tempdir().unwrap();
    let up = Arc::new(Up::start(folder.path(), UNLIMITED));
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "scarce", PIECES).await;

    let mut sign_ups = JoinSet::new();
    let mut buyers = Vec::new();
    for buyer in 0..BUYERS {
        let up = up.clone();
        sign_ups.spawn(async move { up.sign_up(&format!("buyer-{buyer}")).await });
        // Passwords are hashed two at a time; more sign-ups at once would only wait.
        if sign_ups.len() >= 4 {
            buyers.push(sign_ups.join_next().await.unwrap().unwrap());
        }
    }
    buyers.extend(sign_ups.join_all().await);

    // Staff take the orders, by telephone say: signing in costs as much as signing up.
    let channel = up.channel();
    let mut purchases = JoinSet::new();
    for buyer in buyers {
        let (channel, staff, mut request) = (channel.clone(), staff.clone(), order_request(&product, 1, ""));
        request.order.as_mut().unwrap().customer = buyer;
        purchases.spawn(async move {
            let request = with(&staff, request);
            OrderServiceClient::new(channel).create_order(request).await.unwrap().into_inner().name
        });
    }
    let orders = purchases.join_all().await;
    let mut confirmed = 0;
    for name in &orders {
        match settled_order(channel.clone(), &staff, name).await.state() {
            order::State::Confirmed => confirmed += 1,
            state => assert_eq!(state, order::State::Rejected),
        }
    }
    assert_eq!(confirmed, PIECES);
    let stock = stock(&up, &staff, &product).await;
    let pieces = (stock.available, stock.held, stock.allocated, stock.shipped, stock.received);
    assert_eq!(pieces, (0, 0, PIECES, 0, PIECES));
    up.audit(None);
}
