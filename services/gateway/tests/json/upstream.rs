//! The orders and products services, as far as tests need them.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use meshwork_aip::Violations;
use meshwork_aip::errors::ETAG_MISMATCH;
use meshwork_api::meshwork::orders::v1::order_service_server::{OrderService, OrderServiceServer};
use meshwork_api::meshwork::orders::v1::{
    CancelOrderRequest, CreateOrderRequest, DeliverOrderRequest, GetOrderRequest, ListOrderEventsRequest,
    ListOrderEventsResponse, ListOrdersRequest, ListOrdersResponse, Order, ShipOrderRequest, WatchOrderRequest,
    WatchOrderResponse,
};
use meshwork_api::meshwork::products::v1::product_service_server::{ProductService, ProductServiceServer};
use meshwork_api::meshwork::products::v1::{
    BatchGetProductsRequest, BatchGetProductsResponse, CreateProductRequest, DeleteProductRequest, GetProductRequest,
    ListProductsRequest, ListProductsResponse, Product, UpdateProductRequest,
};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

const DOMAIN: &str = "shop.example.com";
/// The version of every order.
pub const ETAG: &str = "\"v1\"";

/// What the services were asked.
#[derive(Default)]
pub struct Shop {
    pub created: Mutex<Vec<CreateOrderRequest>>,
    pub updated: Mutex<Vec<UpdateProductRequest>>,
}

/// Both services, on a port. They end when this is dropped.
pub struct Upstream {
    pub asked: Arc<Shop>,
    pub target: String,
    server: JoinHandle<()>,
}

impl Upstream {
    pub async fn start() -> Self {
        let asked = Arc::new(Shop::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}", listener.local_addr().unwrap());
        let orders = OrderServiceServer::from_arc(Arc::clone(&asked));
        let products = ProductServiceServer::from_arc(Arc::clone(&asked));
        let server = tokio::spawn(async move {
            let server = Server::builder().add_service(orders).add_service(products);
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { asked, target, server }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn order(name: &str) -> Order {
    Order { name: name.to_owned(), etag: ETAG.to_owned(), ..Default::default() }
}

fn none<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not here"))
}

type Updates = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

#[tonic::async_trait]
impl OrderService for Shop {
    async fn create_order(&self, request: Request<CreateOrderRequest>) -> Result<Response<Order>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let lines = request.order.iter().flat_map(|order| &order.lines);
        for (index, line) in lines.enumerate() {
            let field = format!("order.lines[{index}].quantity");
            violations.check(line.quantity > 0, &field, "must be above 0");
        }
        violations.finish(DOMAIN)?;
        let name = format!("orders/{}", request.order_id);
        let made = Order { name, etag: ETAG.to_owned(), ..request.order.clone().unwrap_or_default() };
        self.created.lock().unwrap().push(request);
        Ok(Response::new(made))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        match request.into_inner().name.as_str() {
            "orders/missing" => Err(Status::not_found("there is no such order")),
            name => {
                let mut response = Response::new(order(name));
                response.metadata_mut().insert("x-answer", "yes".parse().unwrap());
                Ok(response)
            }
        }
    }

    async fn cancel_order(&self, request: Request<CancelOrderRequest>) -> Result<Response<Order>, Status> {
        let request = request.into_inner();
        if request.etag.is_empty() || request.etag == ETAG {
            return Ok(Response::new(order(&request.name)));
        }
        Err(ETAG_MISMATCH.status(DOMAIN, "the order has changed", &[]))
    }

    type WatchOrderStream = Updates;

    /// Three updates, from the one behind the token.
    async fn watch_order(&self, request: Request<WatchOrderRequest>) -> Result<Response<Updates>, Status> {
        let request = request.into_inner();
        let seen: u32 = request.resume_token.parse().unwrap_or_default();
        let update = |number: u32| WatchOrderResponse { resume_token: number.to_string(), ..Default::default() };
        let mut updates: Vec<_> = (seen + 1..=3).map(|number| Ok(update(number))).collect();
        if request.name == "orders/broken" {
            updates.push(Err(Status::aborted("it broke off")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(updates))))
    }

    async fn list_orders(&self, _: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        none()
    }

    async fn ship_order(&self, _: Request<ShipOrderRequest>) -> Result<Response<Order>, Status> {
        none()
    }

    async fn deliver_order(&self, _: Request<DeliverOrderRequest>) -> Result<Response<Order>, Status> {
        none()
    }

    async fn list_order_events(
        &self,
        _: Request<ListOrderEventsRequest>,
    ) -> Result<Response<ListOrderEventsResponse>, Status> {
        none()
    }
}

#[tonic::async_trait]
impl ProductService for Shop {
    async fn update_product(&self, request: Request<UpdateProductRequest>) -> Result<Response<Product>, Status> {
        let request = request.into_inner();
        let product = request.product.clone().unwrap_or_default();
        self.updated.lock().unwrap().push(request);
        Ok(Response::new(product))
    }

    async fn batch_get_products(
        &self,
        request: Request<BatchGetProductsRequest>,
    ) -> Result<Response<BatchGetProductsResponse>, Status> {
        let names = request.into_inner().names.into_iter();
        let products = names.map(|name| Product { name, ..Default::default() }).collect();
        Ok(Response::new(BatchGetProductsResponse { products }))
    }

    async fn create_product(&self, _: Request<CreateProductRequest>) -> Result<Response<Product>, Status> {
        none()
    }

    async fn get_product(&self, _: Request<GetProductRequest>) -> Result<Response<Product>, Status> {
        none()
    }

    async fn list_products(&self, _: Request<ListProductsRequest>) -> Result<Response<ListProductsResponse>, Status> {
        none()
    }

    async fn delete_product(&self, _: Request<DeleteProductRequest>) -> Result<Response<()>, Status> {
        none()
    }
}
