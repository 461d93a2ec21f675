//! Services behind the gateway that die, come back, and have little time.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::products::v1::ListProductsRequest;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{CreateUserRequest, SignInRequest, User};
use meshwork_testkit::up::{Token, UNLIMITED, text, with};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};

use crate::processes::{NAMES, Processes};
use crate::shop::{eventually, order_request};

fn gateway(processes: &Processes) -> Channel {
    Endpoint::from_shared(format!("http://{}", processes.address("gateway"))).unwrap().connect_lazy()
}

async fn list_products(channel: &Channel) -> Result<(), Status> {
    ProductServiceClient::new(channel.clone()).list_products(ListProductsRequest::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_killed_serves_again_without_a_restart_of_its_callers() {
    let folder = tempfile::tempdir().unwrap();
    let mut processes = Processes::new(folder.path(), UNLIMITED);
    for name in NAMES {
        processes.start(name);
    }
    for name in NAMES {
        processes.wait_for(name);
    }
    let channel = gateway(&processes);
    eventually("the gateway reaches products", async || list_products(&channel).await.is_ok()).await;
    let demo = processes.demo();
    assert!(demo.status.success(), "{}", text(&demo.stderr));

    for _ in 0..3 {
        processes.kill("products");
        let refused = list_products(&channel).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        processes.start("products");
        processes.wait_for("products");
        eventually("the next call succeeds", async || list_products(&channel).await.is_ok()).await;
        for _ in 0..50 {
            list_products(&channel).await.unwrap();
        }
    }
    // The orders service, too, has found it again.
    eventually("an order is confirmed", async || processes.demo().status.success()).await;
}

/// Stands where the products service would; notes how much time its callers have, and knows no product.
#[derive(Clone, Default)]
struct Products {
    timeouts: Arc<Mutex<Vec<String>>>,
}

impl NamedService for Products {
    const NAME: &'static str = "meshwork.products.v1.ProductService";
}

impl Service<http::Request<Body>> for Products {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let timeout = request.headers().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
        self.timeouts.lock().unwrap().push(timeout.unwrap_or_default());
        Box::pin(async { Ok(Status::not_found("no product").into_http()) })
    }
}

/// What a `grpc-timeout` says, in the units that the mesh writes.
fn duration(timeout: &str) -> Duration {
    let (digits, unit) = timeout.split_at(timeout.len() - 1);
    let number = digits.parse().unwrap();
    match unit {
        "n" => Duration::from_nanos(number),
        "u" => Duration::from_micros(number),
        "m" => Duration::from_millis(number),
        "S" => Duration::from_secs(number),
        _ => panic!("the unit of {timeout:?}"),
    }
}

async fn customer(channel: &Channel) -> Token {
    let (email, password) = ("hurried@example.com".to_owned(), "a password of ten or more".to_owned());
    let user = User {
        email: email.clone(),
        display_name: "In a hurry".to_owned(),
        password: password.clone(),
        ..User::default()
    };
    let request = CreateUserRequest { user: Some(user), ..CreateUserRequest::default() };
    UserServiceClient::new(channel.clone()).create_user(request).await.unwrap();
    let session = AuthServiceClient::new(channel.clone()).sign_in(SignInRequest { email, password }).await.unwrap();
    format!("Bearer {}", session.into_inner().access_token).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_deadline_goes_from_the_gateway_through_orders_to_products() {
    let folder = tempfile::tempdir().unwrap();
    let products = Products::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder().add_service(products.clone()).serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(server);
    let settings = [&[("MESHWORK_ORDERS__PRODUCTS", target.as_str())], UNLIMITED].concat();
    let mut processes = Processes::new(folder.path(), &settings);
    for name in ["users", "orders", "gateway"] {
        processes.start(name);
        processes.wait_for(name);
    }
    let channel = gateway(&processes);
    let reached = async || {
        let request = SignInRequest { email: "nobody@example.com".to_owned(), password: "wrong".to_owned() };
        let refused = AuthServiceClient::new(channel.clone()).sign_in(request).await.unwrap_err();
        refused.code() == Code::Unauthenticated
    };
    eventually("the gateway reaches users", reached).await;
    let customer = customer(&channel).await;

    // Much less than what the policy gives to a call.
    let given = Duration::from_millis(990);
    let seen = async || {
        let mut request = with(&customer, order_request("products/none", 1, ""));
        request.metadata_mut().insert("grpc-timeout", "990m".parse().unwrap());
        OrderServiceClient::new(channel.clone()).create_order(request).await.unwrap_err();
        !products.timeouts.lock().unwrap().is_empty()
    };
    // The first one may be over before the orders service has signed in.
    eventually("products is asked", seen).await;
    for timeout in products.timeouts.lock().unwrap().iter() {
        let left = duration(timeout);
        assert!(Duration::ZERO < left && left < given, "{timeout}");
    }
    server.abort();
}
