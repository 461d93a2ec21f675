//! The service behind all ways: a process that answers GetProduct from memory, without a codec, and beside it a stand-in for the
//! users service, whose keys the gateway fetches. It ends with its standard input, so that it does not outlive the benchmark.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::products::v1::Product;
use meshwork_testkit::Issuer;
use prost::Message;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};

use crate::processes::Obedient;

/// The method that is called.
pub const METHOD: &str = "/meshwork.products.v1.ProductService/GetProduct";
/// The product that is asked for.
pub const NAME: &str = "products/bench-mug";
/// How many callers there are, each with a token.
const CALLERS: usize = 256;
/// The most calls of one connection at once: more than there ever are.
const STREAMS: u32 = 1024;

/// The product that all calls are answered with.
pub fn product() -> Product {
    Product {
        name: NAME.to_owned(),
        display_name: "A mug for benchmarks".to_owned(),
        description:
            "Holds a third of a litre, keeps it warm for as long as a round takes, and is washed between rounds; \
                      it comes in one colour, which is that of the table it stands on."
                .to_owned(),
        price: Some(Money { currency_code: "EUR".to_owned(), units: 12, nanos: 500_000_000 }),
        create_time: Some(prost_types::Timestamp { seconds: 1_760_000_000, nanos: 123_456_000 }),
        update_time: Some(prost_types::Timestamp { seconds: 1_760_000_100, nanos: 654_321_000 }),
        etag: "\"0f3a9c5e7b2d4816\"".to_owned(),
    }
}

/// A message behind its prefix.
pub fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&body);
    framed.into()
}

/// Serves until the end of the standard input; says where first, and what callers bear.
pub async fn run() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(0);
    });
    let issuer = Issuer::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tokens: Vec<_> = (0..CALLERS).map(|at| issuer.token(&format!("caller-{at}"), "customer")).collect();
    println!(
        "{}",
        json!({"products": listener.local_addr().unwrap().to_string(), "users": issuer.target(), "tokens": tokens})
    );
    let product = framed(&product());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // What breaks is counted as failed by those who call.
        tokio::spawn(serve(stream, product.clone()));
    }
}

async fn serve(stream: TcpStream, product: Bytes) -> Result<(), h2::Error> {
    stream.set_nodelay(true).unwrap();
    let mut connection = h2::server::Builder::new().max_concurrent_streams(STREAMS).handshake(stream).await?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        tokio::spawn(answer(request, respond, product.clone()));
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    product: Bytes,
) -> Result<(), h2::Error> {
    let is_ours = request.uri().path() == METHOD;
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
    }
    let mut head = Response::new(());
    head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if !is_ours {
        // UNIMPLEMENTED: who asks for its health takes it for well then.
        head.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
        respond.send_response(head, true)?;
        return Ok(());
    }
    let mut sender = respond.send_response(head, false)?;
    sender.send_data(product, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    sender.send_trailers(trailers)
}

/// The service, running.
pub struct Upstream {
    process: Obedient,
    products: SocketAddr,
    users: String,
    tokens: Vec<String>,
    file: NamedTempFile,
}

impl Upstream {
    pub fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("upstream");
        let mut process = Obedient::new(command);
        let said = process.result().expect("the service did not start");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let tokens: Vec<_> = said["tokens"].as_array().unwrap().iter().map(text).collect();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(tokens.join("\n").as_bytes()).unwrap();
        Self { process, products: text(&said["products"]).parse().unwrap(), users: text(&said["users"]), tokens, file }
    }

    /// Where products are.
    pub fn address(&self) -> SocketAddr {
        self.products
    }

    /// Where the users service is: a target of gRPC.
    pub fn users(&self) -> &str {
        &self.users
    }

    /// The token of one of the callers.
    pub fn token(&self) -> &str {
        &self.tokens[0]
    }

    /// The file with all tokens, one a line.
    pub fn tokens(&self) -> &Path {
        self.file.path()
    }

    /// User and system time that it has used, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.process.cpu_us()
    }
}
