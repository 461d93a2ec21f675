//! The access log.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork_api::meshwork::orders::v1::GetOrderRequest;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_chassis::Role;
use meshwork_chassis::config::ListenerText;
use meshwork_gateway::AccessLogConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Code, Request};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, registry};

use crate::http::client::{ask, ask_as_anna, ask_from, prefixed, send};
use crate::users::{Becomes, claims};
use crate::world::{BALANCER, BOUND, World, eventually, sign_in, told};

const TARGET: &str = "meshwork_gateway::access";
const GET: &str = "/meshwork.orders.v1.OrderService/GetOrder";

type Fields = HashMap<&'static str, String>;

/// The events of this test's thread, which all of its gateway is on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Fields>>>);

struct Visitor<'a>(&'a mut Fields);

impl tracing::field::Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == TARGET {
            let mut fields = Fields::new();
            event.record(&mut Visitor(&mut fields));
            self.0.lock().unwrap().push(fields);
        }
    }
}

impl Log {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(registry().with(log.clone()));
        (log, guard)
    }

    /// The next events, as soon as there are so many, and nothing more.
    async fn take(&self, count: usize) -> Vec<Fields> {
        eventually(async || (self.0.lock().unwrap().len() >= count).then_some(())).await;
        // One more would come at once.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        assert_eq!(events.len(), count, "{events:#?}");
        events
    }

    async fn one(&self) -> Fields {
        self.take(1).await.remove(0)
    }

    /// Forgets what there was.
    async fn clear(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.0.lock().unwrap().clear();
    }
}

#[track_caller]
fn assert_has(event: &Fields, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(event.get(name).map(String::as_str), Some(*value), "{name} of {event:#?}");
    }
}

fn number(event: &Fields, name: &str) -> u64 {
    event[name].parse().unwrap()
}

#[tokio::test]
async fn a_call_is_one_event_that_says_who_asked_what_and_what_came_of_it() {
    let (log, _guard) = Log::start();
    let world = World::start().await;
    log.clear().await;
    let mut request =
        world.request("anna", GetOrderRequest { name: "orders/secret-name".to_owned(), ..Default::default() });
    request.metadata_mut().insert("x-private", "private-value".parse().unwrap());
    let token = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    world.get_with(request).await.unwrap();
    let event = log.one().await;
    let expected = [
        ("message", "request"),
        ("request_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("caller", "users/anna"),
        ("client", "127.0.0.1"),
        ("protocol", "grpc"),
        ("http_method", "POST"),
        ("route", GET),
        ("code", "OK"),
        ("status", "200"),
        ("upstream", "orders"),
    ];
    assert_has(&event, &expected);
    assert!(event["user_agent"].starts_with("tonic/"), "{event:#?}");
    // A prefix, a field of 18 bytes and its two bytes; the answer is the same order.
    assert_eq!((number(&event, "received"), number(&event, "sent")), (25, 25));
    assert!(number(&event, "micros") > 0);
    assert_eq!(event.len(), expected.len() + 4, "{event:#?}");
    let all = format!("{event:?}");
    for secret in ["secret-name", "private-value", token.strip_prefix("Bearer ").unwrap()] {
        assert!(!all.contains(secret), "{all}");
    }
}

#[tokio::test]
async fn what_comes_by_http_is_one_event_by_its_protocol() {
    let (log, _guard) = Log::start();
    let world = World::start().await;
    log.clear().await;
    let json = ("content-type", "application/json");
    let web = ("content-type", "application/grpc-web+proto");
    let message = prost::Message::encode_to_vec(&GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() });
    let connect = format!("POST {GET}");
    for (start, headers, body, protocol) in [
        ("GET /v1/orders/a?readMask=private", vec![], Vec::new(), "json"),
        (connect.as_str(), vec![json], br#"{"name":"orders/a"}"#.to_vec(), "connect"),
        (connect.as_str(), vec![web], prefixed(0, &message), "grpc-web"),
    ] {
        let answer = ask_as_anna(&world, start, &headers, &body).await;
        let event = log.one().await;
        let status = answer.status.to_string();
        assert_has(&event, &[("protocol", protocol), ("client", "127.0.0.1"), ("status", &status)]);
        if answer.status == 200 {
            assert_has(&event, &[("caller", "users/anna"), ("route", GET), ("upstream", "orders"), ("code", "OK")]);
            assert_eq!(number(&event, "sent"), answer.body.len() as u64);
        }
        assert_eq!(number(&event, "received"), body.len() as u64);
        assert!(!format!("{event:?}").contains("private"), "{event:#?}");
        assert_eq!(event["request_id"].len(), 32);
    }
}

#[tokio::test]
async fn what_becomes_no_call_is_logged_too_and_names_nothing_that_callers_invent() {
    let (log, _guard) = Log::start();
    let world = World::changed(|config| config.http.cors_origins = vec!["*".to_owned()]).await;
    log.clear().await;
    let preflight = [("origin", "https://shop.example"), ("access-control-request-method", "POST")];
    for (start, headers, route, status) in [
        ("GET /openapi.json", &[][..], "/openapi.json", "200"),
        ("GET /invented/path?private", &[], "unknown", "404"),
        ("INVENTED /v1/orders/a", &[], "unknown", "405"),
        ("OPTIONS /v1/orders", &preflight, "unknown", "204"),
    ] {
        ask(&world, start, headers, b"").await;
        let event = log.one().await;
        let expected = [("protocol", "http"), ("route", route), ("status", status), ("code", "-"), ("caller", "-")];
        assert_has(&event, &expected);
        assert!(!format!("{event:?}").to_lowercase().contains("invented"), "{event:#?}");
        assert!(!format!("{event:?}").contains("private"), "{event:#?}");
    }
    let mut client = tonic::client::Grpc::new(world.channel.clone());
    for path in [
        "/invented.Service/Method",
        "/grpc.health.v1.Health/Invented",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo/invented",
    ] {
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<GetOrderRequest, GetOrderRequest>::default();
        let request = Request::new(GetOrderRequest::default());
        client.unary(request, path.parse().unwrap(), codec).await.unwrap_err();
        let event = log.one().await;
        assert_has(&event, &[("protocol", "grpc"), ("route", "unknown"), ("upstream", "-")]);
        assert!(!format!("{event:?}").to_lowercase().contains("invented"), "{event:#?}");
    }
    world.health("").await.unwrap();
    assert_has(&log.one().await, &[("route", "/grpc.health.v1.Health/Check"), ("code", "OK")]);
}

#[tokio::test]
async fn the_client_is_whom_a_trusted_balancer_names() {
    let (log, _guard) = Log::start();
    let world = World::start().await;
    let behind = crate::world::channel(&world.target, BALANCER).await;
    log.clear().await;
    let forwarded = ("x-forwarded-for", "198.51.100.9, 203.0.113.7");
    for (from, client) in [(BALANCER, "203.0.113.7"), ("127.0.0.1", "127.0.0.1")] {
        let answer = ask_from(&world, from, "GET /v1/orders/a", &[forwarded], b"").await;
        assert_eq!(answer.status, 401);
        assert_has(&log.one().await, &[("protocol", "json"), ("client", client)]);
    }
    let mut request = world.request("anna", GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() });
    request.metadata_mut().insert(forwarded.0, forwarded.1.parse().unwrap());
    OrderServiceClient::new(behind).get_order(request).await.unwrap();
    assert_has(&log.one().await, &[("protocol", "grpc"), ("client", "203.0.113.7"), ("caller", "users/anna")]);
}

/// What a Unix socket answers to a request behind `start`, to its end.
async fn ask_socket(socket: &Path, start: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = [start, b"GET /v1/orders/a HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n"].concat();
    // It may be refused before it is read.
    let _ = stream.write_all(&request).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut answer)).await.expect("it ends in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_client_is_whom_the_proxy_protocol_names_at_a_listener_that_demands_it() {
    let (log, _guard) = Log::start();
    let folder = tempfile::tempdir().unwrap();
    let (plain, behind) = (folder.path().join("plain"), folder.path().join("behind"));
    let texts = [format!("unix:{}?mode=600", plain.display()), format!("unix:{}?proxy=v2", behind.display())];
    let world = World::changed(|config| {
        config.listeners = texts.map(|text| ListenerText::try_from(text).unwrap()).into();
        config.server.trusted_proxies.push("127.0.0.1".to_owned());
    })
    .await;
    log.clear().await;
    // Version 2, PROXY, TCP over IPv4, 12 bytes: from 203.0.113.7:5000 to 127.0.0.1:80.
    let named =
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[203, 0, 113, 7, 127, 0, 0, 1], &[0x13, 0x88, 0, 80]]
            .concat();
    assert!(ask_socket(&behind, &named).await.starts_with("HTTP/1.1 401 "));
    assert_has(&log.one().await, &[("protocol", "json"), ("client", "203.0.113.7"), ("status", "401")]);
    assert!(ask_socket(&plain, b"").await.starts_with("HTTP/1.1 401 "));
    assert_has(&log.one().await, &[("protocol", "json"), ("client", "-"), ("status", "401")]);
    // It is demanded at the one, and refused at the other.
    assert_eq!(ask_socket(&behind, b"").await, "");
    assert!(!ask_socket(&plain, &named).await.starts_with("HTTP/1.1 401 "));
    log.take(0).await;
    world.get("anna", "orders/a").await.unwrap();
}

#[tokio::test]
async fn refused_calls_have_who_was_refused_and_strangers_have_no_name() {
    let (log, _guard) = Log::start();
    let (world, users) = World::exchanging().await;
    users.exchange("mwk_good", Becomes::Token(claims("kim", Duration::from_secs(3600))));
    log.clear().await;
    let refused = world.get_with(Request::new(GetOrderRequest::default())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_has(&log.one().await, &[("caller", "-"), ("code", "UNAUTHENTICATED"), ("upstream", "-"), ("route", GET)]);
    for (key, caller, status) in [("mwk_good", "users/kim", "200"), ("mwk_evil", "-", "401")] {
        let answer = ask(&world, "GET /v1/orders/a", &[("x-api-key", key), ("user-agent", "it's \"mine\"")], b"").await;
        assert_eq!(answer.status.to_string(), status);
        let event = log.one().await;
        assert_has(
            &event,
            &[("caller", caller), ("protocol", "json"), ("status", status), ("user_agent", "it's \"mine\"")],
        );
        assert!(!format!("{event:?}").contains("mwk_"), "{event:#?}");
    }
    // Staff alone may; the caller is known all the same.
    let list = meshwork_api::meshwork::users::v1::ListUsersRequest::default();
    let mut client =
        meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient::new(world.channel.clone());
    let refused = client.list_users(world.request_of("anna", Role::Customer.as_str(), list)).await.unwrap_err();
    assert_eq!(told(&refused).0, Code::PermissionDenied);
    assert_has(&log.one().await, &[("caller", "users/anna"), ("code", "PERMISSION_DENIED")]);
}

#[tokio::test]
async fn a_stream_is_logged_at_its_end() {
    let (log, _guard) = Log::start();
    let world = World::start().await;
    log.clear().await;
    let mut stream = world.client().watch_order(world.watch("orders/endless")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    log.take(0).await;
    drop(stream);
    let event = log.one().await;
    assert_has(&event, &[("code", "CANCELLED"), ("status", "200"), ("upstream", "orders"), ("caller", "users/anna")]);
    assert!(number(&event, "sent") > 0);
    // One that goes before it is answered has the number of those who went.
    drop(send(&world, "GET /v1/orders/held", &[("authorization", &bearer(&world))], b"").await);
    let event = log.one().await;
    assert_has(&event, &[("protocol", "json"), ("status", "499"), ("code", "CANCELLED"), ("route", GET)]);
}

#[tokio::test]
async fn what_was_refused_or_cut_after_its_call_is_not_ok() {
    let (log, _guard) = Log::start();
    let world = World::start().await;
    log.clear().await;
    assert_eq!(ask_as_anna(&world, "GET /v1/orders/many", &[], b"").await.status, 400);
    assert_has(&log.one().await, &[("protocol", "json"), ("code", "OUT_OF_RANGE"), ("status", "400")]);
    let connect = format!("POST {GET}");
    let json = [("content-type", "application/json")];
    assert_eq!(ask_as_anna(&world, &connect, &json, br#"{"name":"orders/many"}"#).await.status, 400);
    assert_has(&log.one().await, &[("protocol", "connect"), ("code", "OUT_OF_RANGE"), ("status", "400")]);
    assert_eq!(ask_as_anna(&world, "GET /v1/orders/large", &[], b"").await.status, 200);
    assert_has(&log.one().await, &[("code", "OK"), ("status", "200")]);
    let mut stream = send(&world, "GET /v1/orders/large", &[("authorization", &bearer(&world))], b"").await;
    stream.read_exact(&mut [0; 64]).await.unwrap();
    drop(stream);
    let event = log.one().await;
    assert_has(&event, &[("protocol", "json"), ("code", "CANCELLED"), ("status", "200")]);
    assert!(number(&event, "sent") < 12_000_000, "{event:#?}");
}

fn bearer(world: &World) -> String {
    format!("Bearer {}", world.issuer.token("anna", "customer"))
}

#[tokio::test]
async fn of_a_sample_of_nothing_the_failures_of_servers_are_left() {
    let (log, _guard) = Log::start();
    let world = World::changed(|config| {
        config.access_log.sample = 0.0;
        config.upstreams.users = "http://127.0.0.1:1".to_owned();
    })
    .await;
    log.clear().await;
    world.get("anna", "orders/a").await.unwrap();
    world.get_with(Request::new(GetOrderRequest::default())).await.unwrap_err();
    ask(&world, "GET /nowhere", &[], b"").await;
    log.take(0).await;
    assert_eq!(sign_in(&world.channel).await.unwrap_err().code(), Code::Unavailable);
    assert_has(&log.one().await, &[("code", "UNAVAILABLE"), ("upstream", "users"), ("caller", "-")]);
}

#[tokio::test]
async fn no_request_is_logged_unless_that_is_set() {
    let (log, _guard) = Log::start();
    let off = AccessLogConfig { enabled: false, ..AccessLogConfig::default() };
    let world = World::changed(|config| config.access_log = off).await;
    world.get("anna", "orders/a").await.unwrap();
    ask(&world, "GET /openapi.json", &[], b"").await;
    log.take(0).await;
}

/// The names of metadata: what an upstream gets is not for the log to add to.
fn names(metadata: &MetadataMap) -> Vec<String> {
    let name = |entry: KeyAndValueRef<'_>| match entry {
        KeyAndValueRef::Ascii(name, _) => name.to_string(),
        KeyAndValueRef::Binary(name, _) => name.to_string(),
    };
    let mut names: Vec<_> = metadata.iter().map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_upstream_gets_the_same_whether_requests_are_logged_or_not() {
    let mut seen = Vec::new();
    for enabled in [true, false] {
        let world = World::changed(|config| config.access_log.enabled = enabled).await;
        world.get("anna", "orders/a").await.unwrap();
        seen.push(names(&world.orders.orders.seen.lock().unwrap().pop().unwrap()));
    }
    assert_eq!(seen[0], seen[1]);
}
