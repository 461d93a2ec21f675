//! An upstream that the gateway wasn't built with: the weather, as `weather.proto` has it.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use ::http::{Request as HttpRequest, Response as HttpResponse};
use prost::Message;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// Its service.
pub const WEATHER: &str = "weather.v1.WeatherService";
pub const GET: &str = "/weather.v1.WeatherService/GetWeather";
pub const WATCH: &str = "/weather.v1.WeatherService/WatchWeather";
pub const REPORT: &str = "/weather.v1.WeatherService/ReportWeather";
pub const SYNC: &str = "/weather.v1.WeatherService/SyncWeather";
pub const ERASE: &str = "/weather.v1.WeatherService/EraseWeather";

/// The only message.
#[derive(Clone, PartialEq, Message)]
pub struct Weather {
    #[prost(string, tag = "1")]
    pub city: String,
    #[prost(string, tag = "2")]
    pub sky: String,
}

/// The contracts, as an encoded `FileDescriptorSet`.
pub fn descriptors() -> Vec<u8> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [here.join("tests/gateway"), here.join("../../proto")];
    let mut compiler = protox::Compiler::new(folders).unwrap();
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("weather.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

/// How the server is asked for its contracts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reflection {
    None,
    V1,
    V1Alpha,
}

/// A running server, in a runtime of its own.
pub struct WeatherServer {
    pub asked: Arc<Mutex<Vec<MetadataMap>>>,
    address: SocketAddr,
    reflection: Reflection,
    runtime: Option<Runtime>,
}

impl WeatherServer {
    /// Starts on a free port.
    pub fn start(reflection: Reflection) -> Self {
        let mut server = Self::stopped(reflection);
        server.restart();
        server
    }

    /// Has a port on which nothing listens yet.
    pub fn stopped(reflection: Reflection) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { asked: Arc::default(), address, reflection, runtime: None }
    }

    /// Starts on its port.
    pub fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime = Runtime::new().unwrap();
        let (service, reflection) = (WeatherService(Arc::clone(&self.asked)), self.reflection);
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
            let descriptors = descriptors();
            let builder =
                || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(&descriptors);
            let (_, health) = tonic_health::server::health_reporter();
            let server = Server::builder().add_service(service).add_service(health);
            let server = match reflection {
                Reflection::None => server,
                Reflection::V1 => server.add_service(builder().build_v1().unwrap()),
                Reflection::V1Alpha => server.add_service(builder().build_v1alpha().unwrap()),
            };
            server.serve_with_incoming(incoming).await
        });
        self.runtime = Some(runtime);
    }

    pub fn target(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for WeatherServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct WeatherService(Arc<Mutex<Vec<MetadataMap>>>);

impl NamedService for WeatherService {
    const NAME: &'static str = WEATHER;
}

impl Service<HttpRequest<Body>> for WeatherService {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<HttpResponse<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let (asked, path) = (Arc::clone(&self.0), request.uri().path().to_owned());
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Weather, Weather>::default());
            let sunny = move |request: Request<Weather>| {
                asked.lock().unwrap().push(request.metadata().clone());
                Weather { sky: "sunny".to_owned(), ..request.into_inner() }
            };
            if path == WATCH {
                let three = service_fn(move |request| {
                    let all = vec![Ok::<_, Status>(sunny(request)); 3];
                    async move { Ok::<_, Status>(Response::new(tokio_stream::iter(all))) }
                });
                return Ok(grpc.server_streaming(three, request).await);
            }
            let one = service_fn(move |request| {
                let weather = sunny(request);
                async move { Ok::<_, Status>(Response::new(weather)) }
            });
            Ok(grpc.unary(one, request).await)
        })
    }
}
