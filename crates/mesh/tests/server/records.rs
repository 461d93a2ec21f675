//! The records of calls, for who observes a server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{CallHead, CallObserver, CallRecord, CallRecorder};
use tonic::{Code, Request};

use crate::clients::{Named, by};
use crate::support::{Running, SLEEP, STREAM, UNARY, send, stream, unary, until};

/// What a record said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    path: String,
    caller: Option<String>,
    code: Code,
    http_status: Option<StatusCode>,
    bytes: (u64, u64),
    took: Duration,
}

/// Keeps the records of calls, but of those with the header `x-skip`.
#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<Said>>>);

impl CallObserver for Records {
    fn record(&self, head: &mut CallHead<'_>) -> Option<Box<dyn CallRecorder>> {
        assert_eq!(head.method, Method::POST);
        if head.headers.contains_key("x-panic") {
            panic!("as planned");
        }
        (!head.headers.contains_key("x-skip")).then(|| Box::new(self.clone()) as Box<dyn CallRecorder>)
    }
}

impl CallRecorder for Records {
    fn ended(self: Box<Self>, record: &CallRecord<'_>) {
        self.0.lock().unwrap().push(Said {
            path: record.path.to_owned(),
            caller: record.principal.map(|principal| principal.subject().to_owned()),
            code: record.code,
            http_status: record.http_status,
            bytes: (record.received, record.sent),
            took: record.took,
        });
    }
}

impl Records {
    async fn next(&self) -> Said {
        until("a call has ended", || !self.0.lock().unwrap().is_empty()).await;
        self.0.lock().unwrap().remove(0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_says_who_called_what_came_of_it_and_how_much_it_was() {
    let records = Records::default();
    let server = Running::start(Server::builder().observer(Arc::new(records.clone())));
    let channel = server.channel();
    unary(&channel, UNARY, "hello").await.unwrap();
    let said = records.next().await;
    assert_eq!((said.path.as_str(), said.caller, said.code), (UNARY, None, Code::Ok));
    // A prefix, the field's head and the text.
    assert_eq!((said.http_status, said.bytes), (Some(StatusCode::OK), (12, 12)));

    unary(&channel, "/test.Echo/Nothing", "x").await.unwrap_err();
    let said = records.next().await;
    assert_eq!((said.path.as_str(), said.code), ("/test.Echo/Nothing", Code::Unimplemented));
    assert_eq!(said.bytes.1, 0, "its status is in its head");
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_by_name_is_recorded_by_name() {
    let records = Records::default();
    let table = AccessTable::new().method(UNARY, Access::roles(["staff"]));
    let builder = Server::builder().authenticator(Arc::new(Named)).access(table).observer(Arc::new(records.clone()));
    let server = Running::start(builder);
    let channel = server.channel();
    let refused = send(&channel, UNARY, by("anna", "x")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let said = records.next().await;
    assert_eq!((said.caller.as_deref(), said.code), (Some("anna"), Code::PermissionDenied));
    unary(&channel, UNARY, "x").await.unwrap_err();
    let said = records.next().await;
    assert_eq!((said.caller, said.code), (None, Code::Unauthenticated));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_its_client_lets_go_of_is_recorded_at_its_end() {
    let records = Records::default();
    let server = Running::start(Server::builder().observer(Arc::new(records.clone())));
    let channel = server.channel();
    let waited = tokio::time::timeout(Duration::from_secs(1), unary(&channel, SLEEP, "100000")).await;
    assert!(waited.is_err());
    let said = records.next().await;
    assert_eq!((said.code, said.http_status), (Code::Cancelled, None));
    assert!(said.took >= Duration::from_secs(1), "{said:?}");

    let mut open = stream(&channel, STREAM, Request::new("3".to_owned())).await.unwrap();
    open.message().await.unwrap().unwrap();
    drop(open);
    let said = records.next().await;
    assert_eq!(said.http_status, Some(StatusCode::OK));
    assert!(said.bytes.1 > 0, "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_pays_for_an_observer_that_wants_no_record_or_panics() {
    let records = Records::default();
    let server = Running::start(Server::builder().observer(Arc::new(records.clone())));
    let channel = server.channel();
    for name in ["x-skip", "x-panic"] {
        let mut request = Request::new("x".to_owned());
        request.metadata_mut().insert(name, "1".parse().unwrap());
        assert_eq!(send(&channel, UNARY, request).await.unwrap(), "x");
    }
    unary(&channel, UNARY, "last").await.unwrap();
    assert_eq!(records.next().await.bytes, (11, 11));
    assert!(records.0.lock().unwrap().is_empty());
}

/// Panics whenever it is told something.
struct Panics;

impl CallObserver for Panics {
    fn began(&self, _: &meshwork::server::IncomingCall<'_>) {
        panic!("as planned");
    }

    fn record(&self, _: &mut CallHead<'_>) -> Option<Box<dyn CallRecorder>> {
        panic!("as planned");
    }

    fn ended(&self, _: &meshwork::server::IncomingCall<'_>, _: &meshwork::server::CallEnd) {
        panic!("as planned");
    }
}

#[tokio::test(start_paused = true)]
async fn several_observers_are_told_of_each_call_whatever_becomes_of_one_of_them() {
    let (one, other) = (Records::default(), Records::default());
    let builder = Server::builder().observer(Arc::new(one.clone())).observer(Arc::new(Panics));
    let server = Running::start(builder.observer(Arc::new(other.clone())));
    unary(&server.channel(), UNARY, "hello").await.unwrap();
    let said = one.next().await;
    assert_eq!((said.code, said.bytes), (Code::Ok, (12, 12)));
    assert_eq!(other.next().await, said);
}
