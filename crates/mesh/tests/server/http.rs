//! What is no gRPC, on the port of a gRPC server.

mod bounds;
mod hostile;
mod smuggling;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::Reason;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::rate::{Key, Rate, RateLimitLayer, RateLimiter, Rule};
use meshwork::server::{Builder, Calls, Domain, HttpService, Peer};
use meshwork::transport::Io;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::{Code, Status};

use crate::clients::{Named, by};
use crate::support::{Running, UNARY, send, unary};
use crate::wire::{self, Wire, framed};

/// Answers by the path of a request; `/call/…` is a call of gRPC, whose message is the body.
struct Front;

impl HttpService for Front {
    fn call(&self, request: Request<Body>, calls: Calls) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move {
            assert!(request.extensions().get::<Peer>().is_some());
            let path = request.uri().path().to_owned();
            match path.as_str() {
                "/hello" => text(StatusCode::OK, format!("hello by {}", request.method())),
                "/body" => match request.into_body().collect().await {
                    Ok(body) => text(StatusCode::OK, body.to_bytes().len().to_string()),
                    Err(status) => text(StatusCode::BAD_REQUEST, format!("{:?}", status.code())),
                },
                "/wait" => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    text(StatusCode::OK, "waited".to_owned())
                }
                "/large" => text(StatusCode::OK, "x".repeat(1 << 20)),
                "/torn" => {
                    let frames = [Ok(Frame::data(Bytes::from_static(b"torn"))), Err(Status::internal("as planned"))];
                    Response::new(Body::new(StreamBody::new(tokio_stream::iter(frames))))
                }
                "/panic" => panic!("as planned"),
                path => match path.strip_prefix("/call") {
                    Some(path) => call(path, request, calls).await,
                    None => text(StatusCode::NOT_FOUND, "nothing is here".to_owned()),
                },
            }
        })
    }
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response
}

async fn call(path: &str, request: Request<Body>, mut calls: Calls) -> Response<Body> {
    let mut call = Request::post(path).header("content-type", "application/grpc");
    if let Some(name) = request.headers().get("x-name") {
        call = call.header("x-name", name);
    }
    let said = request.into_body().collect().await.unwrap().to_bytes();
    let said = String::from_utf8(said.to_vec()).unwrap();
    let call = call.body(Body::new(Full::new(framed(&said)))).unwrap();
    let (head, body) = calls.call(call).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let status = body.trailers().and_then(Status::from_header_map).or_else(|| Status::from_header_map(&head.headers));
    let data = body.to_bytes();
    let status = status.unwrap();
    let http = match status.code() {
        Code::Ok if path.starts_with("/grpc.") => return text(StatusCode::OK, format!("{:?}", &data[5..])),
        Code::Ok => return text(StatusCode::OK, String::decode(&data[5..]).unwrap()),
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(http, status.message().to_owned())
}

fn serve(builder: Builder) -> Running {
    Running::start(builder.http(Front))
}

/// A client of HTTP/1.1 that says what it is told to say.
struct Client {
    io: Box<dyn Io>,
    read: Vec<u8>,
}

impl Client {
    async fn new(server: &Running) -> Self {
        Self { io: server.connect().await, read: Vec::new() }
    }

    async fn say(&mut self, said: impl AsRef<[u8]>) {
        self.io.write_all(said.as_ref()).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        self.io.read_buf(&mut self.read).await.is_ok_and(|read| read > 0)
    }

    /// The next answer: its status, its head and its body. `None`: the connection ends before it is whole.
    async fn answer(&mut self) -> Option<(u16, String, String)> {
        let end = loop {
            let end = self.read.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(at) = end {
                break at + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            if !self.more().await {
                return None;
            }
        }
        let body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, head, body))
    }

    /// The status and the body of the answer to `request`.
    async fn ask(&mut self, request: impl AsRef<[u8]>) -> (u16, String) {
        self.say(request).await;
        let (status, _, body) = self.answer().await.unwrap();
        (status, body)
    }

    /// All that is said to the end of the connection.
    async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: server\r\n\r\n")
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: server\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// The answer to a request of JSON over HTTP/2.
async fn ask_http2(wire: &Wire, path: &str, name: &str, said: &'static str) -> Result<(u16, String), h2::Error> {
    let head = Request::post(format!("http://server{path}")).header("content-type", "application/json");
    let (answer, mut body) = wire.send(head.header("x-name", name).body(()).unwrap(), false).await;
    body.send_data(Bytes::from_static(said.as_bytes()), true)?;
    let answer = wire::Answer::read(answer.await?, None).await?;
    Ok((answer.head.status.as_u16(), String::from_utf8(answer.data).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn requests_of_http_1_1_are_answered_one_after_the_other_on_one_connection() {
    let server = serve(Server::builder());
    let mut client = Client::new(&server).await;
    assert_eq!(client.ask(get("/hello")).await, (200, "hello by GET".to_owned()));
    assert_eq!(client.ask(post("/body", "", "four")).await, (200, "4".to_owned()));
    let chunked =
        "POST /body HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(client.ask(chunked).await, (200, "5".to_owned()));
    assert_eq!(client.ask(get("/nowhere")).await.0, 404);
    // As gRPC says it, and over HTTP/1.1 it is none.
    let framed = post("/test.Echo/Unary", "content-type: application/grpc\r\n", "x");
    assert_eq!(client.ask(framed).await.0, 404);
    assert_eq!(unary(&server.channel(), UNARY, "beside").await.unwrap(), "beside");
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_its_request_says_that_the_connection_closes() {
    let server = serve(Server::builder());
    let chunks = "POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let mut client = Client::new(&server).await;
    for request in [post("/nowhere", "", "four"), format!("{chunks}0\r\n\r\n")] {
        client.say(request).await;
        let (status, head, _) = client.answer().await.unwrap();
        assert!(status == 404 && !head.contains("connection: close"), "{head}");
    }
    assert_eq!(client.ask(get("/hello")).await, (200, "hello by GET".to_owned()));
    let expecting = "POST /nowhere HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    for request in [chunks, expecting] {
        let mut client = Client::new(&server).await;
        client.say(request).await;
        let (status, head, _) = client.answer().await.unwrap();
        assert!(status == 404 && head.contains("connection: close"), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_in_one_piece_are_answered_in_their_order() {
    let server = serve(Server::builder());
    let mut client = Client::new(&server).await;
    client.say([get("/wait"), get("/hello"), post("/body", "", "four"), "GET /hel".to_owned()].concat()).await;
    for body in ["waited", "hello by GET", "4"] {
        assert_eq!(client.answer().await.unwrap().2, body);
    }
    // What came of the next one is not forgotten.
    assert_eq!(client.ask("lo HTTP/1.1\r\nhost: x\r\n\r\n").await, (200, "hello by GET".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_asked_for_comes_after_100_continue() {
    let server = serve(Server::builder());
    let mut client = Client::new(&server).await;
    client.say("POST /body HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().0, 100);
    assert_eq!(client.ask("four").await, (200, "4".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn other_requests_of_http_2_come_to_the_service_beside_calls() {
    let server = serve(Server::builder());
    let wire = Wire::new(server.connect().await).await;
    assert_eq!(ask_http2(&wire, "/body", "anna", "{}").await.unwrap(), (200, "2".to_owned()));
    assert_eq!(ask_http2(&wire, "/call/test.Echo/Unary", "anna", "x").await.unwrap(), (200, "x".to_owned()));
    let (answer, _) = wire.send(Request::get("http://server/hello").body(()).unwrap(), true).await;
    let answer = wire::Answer::read(answer.await.unwrap(), None).await.unwrap();
    assert_eq!(answer.data, b"hello by GET");
    let head = Request::builder().method(Method::HEAD).uri("http://server/hello").body(()).unwrap();
    let (answer, _) = wire.send(head, true).await;
    let answer = wire::Answer::read(answer.await.unwrap(), None).await.unwrap();
    assert!(answer.head.status.is_success() && answer.data.is_empty());
    // A subtype of another protocol is none of gRPC's, and gRPC is none of the service's.
    let web = Request::post("http://server/body").header("content-type", "application/grpc-web+proto");
    let answer = wire::Answer::read(wire.call(web, "x").await.unwrap(), None).await.unwrap();
    assert!(answer.head.status.is_success() && !answer.data.is_empty());
    let answer = wire::Answer::read(wire.call(wire::head(UNARY), "x").await.unwrap(), None).await.unwrap();
    assert_eq!(answer.status().code(), Code::Ok);
    let answer = wire::Answer::read(wire.call(wire::head("/hello"), "x").await.unwrap(), None).await.unwrap();
    assert_eq!(answer.status().code(), Code::Unimplemented);
}

/// Anna and others may call the echo, each of them twice.
fn guarded() -> Builder {
    let rate = Rate::new(2, 1, Duration::from_secs(86_400)).unwrap();
    let rule = Rule::new("by principal", rate).key(Key::Principal);
    Server::builder()
        .authenticator(Arc::new(Named))
        .access(AccessTable::new().method(UNARY, Access::Authenticated))
        .limit_by_principal(RateLimitLayer::new(RateLimiter::in_process(), [rule], Domain::default()))
}

#[tokio::test(start_paused = true)]
async fn calls_for_requests_go_the_way_of_all_calls() {
    let server = serve(guarded());
    let mut client = Client::new(&server).await;
    let (path, anna) = ("/call/test.Echo/Unary", "x-name: anna\r\n");
    assert_eq!(client.ask(post(path, "", "x")).await.0, 401);
    assert_eq!(client.ask(post(path, anna, "x")).await, (200, "x".to_owned()));
    // HTTP/2 and gRPC take of the same share.
    let wire = Wire::new(server.connect().await).await;
    assert_eq!(ask_http2(&wire, path, "anna", "y").await.unwrap(), (200, "y".to_owned()));
    assert_eq!(client.ask(post(path, anna, "x")).await.0, 429);
    assert_eq!(ask_http2(&wire, path, "anna", "y").await.unwrap().0, 429);
    assert_eq!(send(&server.channel(), UNARY, by("anna", "x")).await.unwrap_err().code(), Code::ResourceExhausted);
    // Others have their own.
    assert_eq!(send(&server.channel(), UNARY, by("bert", "x")).await.unwrap(), "x");
    // What is open to everybody stays so: SERVING.
    assert_eq!(client.ask(post("/call/grpc.health.v1.Health/Check", "", "")).await, (200, "[8, 1]".to_owned()));
    // What needs no call is answered.
    assert_eq!(client.ask(get("/hello")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_answers_500_and_its_connection_goes_on() {
    let server = serve(Server::builder());
    let mut client = Client::new(&server).await;
    let (status, body) = client.ask(get("/panic")).await;
    assert!(status == 500 && !body.contains("planned"), "{body}");
    assert_eq!(client.ask(get("/hello")).await.0, 200);
    let wire = Wire::new(server.connect().await).await;
    assert_eq!(ask_http2(&wire, "/panic", "anna", "").await.unwrap().0, 500);
    assert_eq!(ask_http2(&wire, "/body", "anna", "").await.unwrap().0, 200);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_fails_is_cut_off() {
    let server = serve(Server::builder());
    let mut client = Client::new(&server).await;
    client.say(get("/torn")).await;
    assert!(!client.rest().await.ends_with("0\r\n\r\n"), "it looks whole");
    let wire = Wire::new(server.connect().await).await;
    let failed = ask_http2(&wire, "/torn", "anna", "").await.unwrap_err();
    assert_eq!(failed.reason(), Some(Reason::INTERNAL_ERROR), "{failed}");
    assert_eq!(ask_http2(&wire, "/body", "anna", "").await.unwrap().0, 200);
}
