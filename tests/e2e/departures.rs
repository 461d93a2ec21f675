//! A customer who leaves with an order open.

use meshwork_api::meshwork::orders::v1::order;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::users::v1::DeleteUserRequest;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_testkit::Up;
use meshwork_testkit::up::{UNLIMITED, with};
use tonic::Code;

use crate::shop::{eventually, get_order, order_request, settled_order, stock, stocked_product};

#[tokio::test(flavor = "multi_thread")]
async fn d4_the_open_order_of_a_deleted_customer_is_cancelled_and_its_pieces_are_back() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "parting", 5).await;
    let (name, token) = up.customer("leaver").await;
    let mut orders = OrderServiceClient::new(up.channel());
    let placed = orders.create_order(with(&token, order_request(&product, 3, ""))).await.unwrap().into_inner();
    assert_eq!(settled_order(up.channel(), &token, &placed.name).await.state(), order::State::Confirmed);
    assert_eq!(stock(&up, &staff, &product).await.available, 2);

    let delete = DeleteUserRequest { name, ..DeleteUserRequest::default() };
    UserServiceClient::new(up.channel()).delete_user(with(&token, delete)).await.unwrap();
    eventually("the end of the order", async || {
        get_order(up.channel(), &staff, &placed.name).await.state() == order::State::Cancelled
    })
    .await;
    eventually("the pieces", async || stock(&up, &staff, &product).await.available == 5).await;
    // The token is still good for what it is, but places no orders.
    let turned_away = async || {
        let again = orders.clone().create_order(with(&token, order_request(&product, 1, ""))).await;
        again.is_err_and(|status| status.code() == Code::PermissionDenied)
    };
    eventually("the refusal", turned_away).await;
}
