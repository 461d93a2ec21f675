//! An orders service that answers what tests need, and that can be killed.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use meshwork_api::meshwork::admin::v1::dead_letter_service_server::{DeadLetterService, DeadLetterServiceServer};
use meshwork_api::meshwork::admin::v1::{
    DeadLetter, DiscardDeadLetterRequest, DiscardDeadLetterResponse, GetDeadLetterRequest, ListDeadLettersRequest,
    ListDeadLettersResponse, RedriveDeadLetterRequest, RedriveDeadLetterResponse, RedriveDeadLettersRequest,
    RedriveDeadLettersResponse,
};
use meshwork_api::meshwork::orders::v1::order::Line;
use meshwork_api::meshwork::orders::v1::order_service_server::{OrderService, OrderServiceServer};
use meshwork_api::meshwork::orders::v1::{
    CancelOrderRequest, CreateOrderRequest, DeliverOrderRequest, GetOrderRequest, ListOrderEventsRequest,
    ListOrderEventsResponse, ListOrdersRequest, ListOrdersResponse, Order, ShipOrderRequest, WatchOrderRequest,
    WatchOrderResponse,
};
use meshwork_chassis::ServerConfig;
use meshwork_chassis::consistency::{STALE, TOKEN};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_health::server::HealthReporter;

/// The name of the service, for health.
pub const ORDERS: &str = "meshwork.orders.v1.OrderService";

/// What the upstream was asked, and what it waits for.
#[derive(Clone, Default)]
pub struct Orders {
    /// The metadata of all calls.
    pub seen: Arc<Mutex<Vec<MetadataMap>>>,
    /// The metadata of the calls that create orders.
    pub created: Arc<Mutex<Vec<MetadataMap>>>,
    /// The metadata of the calls that ask for dead letters.
    pub asked: Arc<Mutex<Vec<MetadataMap>>>,
    /// Answers to `orders/held` wait until this is true.
    pub released: watch::Sender<bool>,
}

/// A running upstream, in a runtime of its own: killing it cuts its connections.
pub struct Upstream {
    pub orders: Orders,
    pub health: HealthReporter,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Upstream {
    /// Starts on a free port; its health says SERVING.
    pub async fn start() -> Self {
        let mut upstream = Self {
            orders: Orders::default(),
            health: HealthReporter::new(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            runtime: None,
        };
        upstream.restart().await;
        upstream
    }

    /// Starts again, on the same port.
    pub async fn restart(&mut self) {
        let (health, health_service) = tonic_health::server::health_reporter();
        self.health = health;
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let runtime = Runtime::new().unwrap();
        let orders = OrderServiceServer::new(self.orders.clone());
        let dead_letters = DeadLetterServiceServer::new(self.orders.clone());
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
            // As the services have it.
            let mut server = Server::builder().http2_max_header_list_size(ServerConfig::default().max_header_list_size);
            let server = server.add_service(orders).add_service(dead_letters).add_service(health_service);
            server.serve_with_incoming(incoming).await
        });
        self.runtime = Some(runtime);
    }

    /// Ends all at once: no answer, no goodbye.
    pub fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub fn target(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many calls have come.
    pub fn calls(&self) -> usize {
        self.orders.seen.lock().unwrap().len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An error with everything that errors have.
pub fn refusal() -> Status {
    let mut status =
        Status::with_details(Code::FailedPrecondition, "no – really", b"\x00\xff details".as_slice().into());
    status.metadata_mut().insert("x-trailer", "told".parse().unwrap());
    status
}

fn update(number: u32) -> WatchOrderResponse {
    WatchOrderResponse { resume_token: number.to_string(), ..Default::default() }
}

type Updates = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

#[tonic::async_trait]
impl OrderService for Orders {
    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        self.seen.lock().unwrap().push(request.metadata().clone());
        let name = request.into_inner().name;
        match name.as_str() {
            "orders/refused" => return Err(refusal()),
            "orders/held" => {
                self.released.subscribe().wait_for(|released| *released).await.unwrap();
            }
            _ => {}
        }
        let lines = match name.as_str() {
            // Each character is six of JSON: 12 MB in all.
            "orders/large" => vec![Line { product: "\u{1}".repeat(2_000_000), ..Default::default() }],
            "orders/many" => vec![Line::default(); 70_000],
            _ => Vec::new(),
        };
        let mut response = Response::new(Order { name, lines, ..Default::default() });
        response.metadata_mut().insert("x-answer", "yes".parse().unwrap());
        response.metadata_mut().insert(TOKEN, "MC40Mg".parse().unwrap());
        response.metadata_mut().insert(STALE, "true".parse().unwrap());
        Ok(response)
    }

    type WatchOrderStream = Updates;

    async fn watch_order(&self, request: Request<WatchOrderRequest>) -> Result<Response<Updates>, Status> {
        self.seen.lock().unwrap().push(request.metadata().clone());
        let three = tokio_stream::iter(1..=3).map(|number| Ok(update(number)));
        let stream: Updates = match request.into_inner().name.as_str() {
            "orders/endless" => Box::pin(three.chain(tokio_stream::pending())),
            "orders/refused" => Box::pin(three.chain(tokio_stream::once(Err(refusal())))),
            _ => Box::pin(three),
        };
        Ok(Response::new(stream))
    }

    async fn create_order(&self, request: Request<CreateOrderRequest>) -> Result<Response<Order>, Status> {
        self.created.lock().unwrap().push(request.metadata().clone());
        Err(Status::unimplemented("fake"))
    }

    async fn list_orders(&self, _: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn cancel_order(&self, _: Request<CancelOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn ship_order(&self, _: Request<ShipOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn deliver_order(&self, _: Request<DeliverOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_order_events(
        &self,
        _: Request<ListOrderEventsRequest>,
    ) -> Result<Response<ListOrderEventsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}

#[tonic::async_trait]
impl DeadLetterService for Orders {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        self.asked.lock().unwrap().push(request.metadata().clone());
        Ok(Response::new(ListDeadLettersResponse::default()))
    }

    async fn get_dead_letter(&self, _: Request<GetDeadLetterRequest>) -> Result<Response<DeadLetter>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn redrive_dead_letter(
        &self,
        _: Request<RedriveDeadLetterRequest>,
    ) -> Result<Response<RedriveDeadLetterResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn redrive_dead_letters(
        &self,
        _: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<RedriveDeadLettersResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn discard_dead_letter(
        &self,
        _: Request<DiscardDeadLetterRequest>,
    ) -> Result<Response<DiscardDeadLetterResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}
