//! An API server that answers as it is told, in turn, and notes what it was asked.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::rt::TokioIo;
use meshwork::resolve::{Kubernetes, Resolver as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Longer than anything takes, on a loaded machine or on paused time.
const LONG: Duration = Duration::from_secs(600);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    query: HashMap<String, String>,
    pub at: Instant,
}

impl Asked {
    /// A parameter as it was sent, or nothing.
    pub fn query(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }

    pub fn is_watch(&self) -> bool {
        self.query("watch") == "true"
    }
}

enum Answer {
    Body(StatusCode, String),
    Stream(mpsc::UnboundedReceiver<io::Result<Bytes>>),
    Unreachable,
}

/// When it has no more answers, it leaves requests without one.
#[derive(Clone)]
pub struct Api(Arc<Script>);

struct Script {
    answers: Mutex<VecDeque<Answer>>,
    asked: watch::Sender<Vec<Asked>>,
}

impl Api {
    pub fn new() -> Self {
        Self(Arc::new(Script { answers: Mutex::default(), asked: watch::Sender::new(Vec::new()) }))
    }

    /// A client in the same process, whose own namespace is `own`.
    pub fn client(&self) -> kube::Client {
        let script = Arc::clone(&self.0);
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (script, uri) = (Arc::clone(&script), request.uri().clone());
            async move { script.answer(&uri).await }
        });
        kube::Client::new(service, "own")
    }

    /// A resolver of `service` with that client.
    pub fn resolver(&self, service: &str) -> Kubernetes {
        Kubernetes::new(self.client(), service).unwrap()
    }

    /// The same over HTTP.
    pub async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = Arc::clone(&script);
                let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (script, uri) = (Arc::clone(&script), request.uri().clone());
                    async move { script.answer(&uri).await }
                });
                // It ends with an error when the test cuts it.
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    fn push(&self, answer: Answer) {
        self.0.answers.lock().unwrap().push_back(answer);
    }

    /// The next answer is a list of that version.
    pub fn list(&self, version: &str, slices: &[Value]) {
        self.page(version, "", slices);
    }

    /// The next answer is a part of a list, which goes on at `token`.
    pub fn page(&self, version: &str, token: &str, slices: &[Value]) {
        let list = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSliceList",
            "metadata": {"resourceVersion": version, "continue": token},
            "items": slices,
        });
        self.push(Answer::Body(StatusCode::OK, list.to_string()));
    }

    /// The next answer is a refusal.
    pub fn refuse(&self, code: u16, message: &str) {
        self.push(Answer::Body(StatusCode::from_u16(code).unwrap(), status(code, message).to_string()));
    }

    /// The next answer is a page of something that is in the way.
    pub fn html(&self, code: u16, text: &str) {
        self.push(Answer::Body(StatusCode::from_u16(code).unwrap(), text.to_owned()));
    }

    /// The next request finds nobody.
    pub fn unreachable(&self) {
        self.push(Answer::Unreachable);
    }

    /// The next answer is a watch.
    pub fn watch(&self) -> Watch {
        let (events, stream) = mpsc::unbounded_channel();
        self.push(Answer::Stream(stream));
        Watch(events)
    }

    /// Waits for so many requests, and gives all that there were.
    pub async fn asked(&self, count: usize) -> Vec<Asked> {
        let mut asked = self.0.asked.subscribe();
        let waited = timeout(LONG, asked.wait_for(|asked| asked.len() >= count)).await;
        match waited {
            Ok(asked) => asked.unwrap().clone(),
            Err(_) => panic!("{count} requests were expected; there were {:?}", *self.0.asked.borrow()),
        }
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        self.0.asked.borrow().len()
    }
}

impl Script {
    async fn answer(&self, uri: &Uri) -> io::Result<Response<Body>> {
        let query = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let query = query.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let answer = self.answers.lock().unwrap().pop_front();
        self.asked.send_modify(|asked| {
            asked.push(Asked { path: uri.path().to_owned(), query, at: Instant::now() });
        });
        match answer {
            Some(Answer::Body(code, text)) => {
                let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
                Ok(Response::builder().status(code).body(body).unwrap())
            }
            Some(Answer::Stream(events)) => {
                let frames = UnboundedReceiverStream::new(events).map(|bytes| bytes.map(Frame::data));
                Ok(Response::new(StreamBody::new(frames).boxed_unsync()))
            }
            Some(Answer::Unreachable) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody is there")),
            None => std::future::pending().await,
        }
    }
}

/// A watch that is under way. It ends when this is dropped.
pub struct Watch(mpsc::UnboundedSender<io::Result<Bytes>>);

impl Watch {
    fn event(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.0.send(Ok(line.into())).expect("somebody watches");
    }

    pub fn added(&self, slice: &Value) {
        self.event("ADDED", slice);
    }

    pub fn modified(&self, slice: &Value) {
        self.event("MODIFIED", slice);
    }

    pub fn deleted(&self, slice: &Value) {
        self.event("DELETED", slice);
    }

    pub fn bookmark(&self, version: &str) {
        let metadata = json!({"resourceVersion": version, "creationTimestamp": null});
        let object = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata});
        self.event("BOOKMARK", &object);
    }

    pub fn error(&self, code: u16, message: &str) {
        self.event("ERROR", &status(code, message));
    }

    /// Something that is no event.
    pub fn garbled(&self) {
        self.event("MODIFIED", &json!("no slice"));
    }

    /// The connection breaks, in the middle of an event.
    pub fn cut(self) {
        self.0.send(Ok(Bytes::from_static(b"{\"type\":\"MODIF"))).expect("somebody watches");
        self.0.send(Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut"))).expect("somebody watches");
    }

    /// Waits until nobody watches any more.
    pub async fn given_up(&self) {
        timeout(LONG, self.0.closed()).await.expect("the watch is given up");
    }
}

fn status(code: u16, message: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Told",
        "code": code,
    })
}

/// An EndpointSlice of `orders` with the port `grpc`, and a pod of its own at each of these addresses, ready unless it
/// begins with `-`.
pub fn slice(name: &str, version: &str, port: u16, addresses: &[&str]) -> Value {
    let endpoint = |address: &&str| {
        let (is_ready, address) = address.strip_prefix('-').map_or((true, *address), |address| (false, address));
        let pod = json!({"kind": "Pod", "namespace": "shop", "name": address, "uid": format!("{name}/{address}")});
        json!({"addresses": [address], "conditions": {"ready": is_ready, "serving": is_ready}, "targetRef": pod})
    };
    let endpoints: Vec<Value> = addresses.iter().map(endpoint).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "resourceVersion": version, "labels": {"kubernetes.io/service-name": "orders"}},
        "addressType": "IPv4",
        "ports": [{"name": "grpc", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

/// What the resolver says now: addresses, or why there are none.
pub async fn resolved(resolver: &Kubernetes) -> Result<Vec<String>, String> {
    let answer = timeout(LONG, resolver.resolve()).await.expect("an answer");
    let resolution = answer.map_err(|error| error.to_string())?;
    Ok(resolution.endpoints.iter().map(ToString::to_string).collect())
}

/// Waits until the resolver says so. It is asked again only when it tells of a change.
pub async fn until(resolver: &Kubernetes, expected: &[&str]) {
    loop {
        let now = resolved(resolver).await;
        if now.as_ref().is_ok_and(|addresses| addresses == expected) {
            return;
        }
        if timeout(LONG, resolver.changed()).await.is_err() {
            panic!("it told of no change from {now:?}, and {expected:?} was expected");
        }
    }
}
