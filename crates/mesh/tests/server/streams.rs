//! S2: streams have a budget of their own, for each caller before it is shared.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use meshwork::connect::Connector;
use meshwork::endpoint::Address;
use meshwork::server::auth::{Access, AccessTable, Authenticated, Authenticator, Principal};
use meshwork::server::{Budgets, CallerLimits, Limits, Listener, Peer, Resource};
use meshwork::transport::Io;
use meshwork::{Channel, Server};
use tokio::net::TcpSocket;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::support::{Echo, Running, STREAM, UNARY, descriptors, stream, unary, until};

/// Knows callers by what they say.
struct Named;

impl Authenticator for Named {
    fn authenticate(&self, headers: &http::HeaderMap, _: Option<&Peer>) -> Authenticated {
        let name = headers.get("x-name").and_then(|name| name.to_str().ok());
        Authenticated::Now(Ok(name.map(|name| Principal::new(name, ["customer"]))))
    }
}

/// Budgets with these limits of streams, and of two calls in flight.
fn budgets(streams: CallerLimits) -> Budgets {
    let calls = CallerLimits { total: 2, ..CallerLimits::default() };
    Budgets::new(Limits::default().with(Resource::Calls, calls).with(Resource::Streams, streams))
}

fn start(limits: CallerLimits) -> (Running, Channel) {
    let table = AccessTable::new().method(UNARY, Access::Public).method(STREAM, Access::Public);
    let builder = Server::builder().authenticator(Arc::new(Named)).access(table);
    let server = Running::start(builder.budgets(budgets(limits)));
    let channel = server.channel();
    (server, channel)
}

async fn watch(channel: &Channel, name: Option<&str>) -> Result<Streaming<String>, Status> {
    let mut request = Request::new(String::new());
    if let Some(name) = name {
        request.metadata_mut().insert("x-name", name.parse().unwrap());
    }
    stream(channel, STREAM, request).await
}

fn refused(status: &Status) -> (Code, String, String) {
    let info = status.get_details_error_info().unwrap();
    (status.code(), info.reason, info.metadata["scope"].clone())
}

#[tokio::test(start_paused = true)]
async fn each_principal_has_so_many_and_all_together_so_many() {
    let limits = CallerLimits { total: 3, per_principal: 6, ..Limits::default().get(Resource::Streams) };
    let (server, channel) = start(limits);
    let mut open = Vec::new();
    // Each has four of its own and what all share; who comes last has its own still.
    for (name, count, scope) in [("anna", 6, "caller"), ("bert", 5, "server"), ("carl", 4, "server")] {
        for _ in 0..count {
            open.push(watch(&channel, Some(name)).await.unwrap());
        }
        let status = watch(&channel, Some(name)).await.unwrap_err();
        assert_eq!(refused(&status), (Code::ResourceExhausted, "TOO_MANY_STREAMS".into(), scope.into()), "{name}");
    }
    // Neither calls nor health checks are refused for them, although there are more than calls may be in flight.
    assert_eq!(unary(&channel, UNARY, "a call").await.unwrap(), "a call");
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    // What has ended makes way.
    drop(open);
    until("all have ended", || server.echo.running() == 0).await;
    let mut open = Vec::new();
    for _ in 0..6 {
        open.push(watch(&channel, Some("carl")).await.unwrap());
    }
}

/// Connects from an address of its own.
struct From(IpAddr);

#[async_trait]
impl Connector for From {
    async fn connect(&self, address: &Address) -> std::io::Result<Box<dyn Io>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.0, 0).into())?;
        Ok(Box::new(socket.connect(address.to_string().parse().unwrap()).await?))
    }
}

#[tokio::test]
async fn who_has_no_account_counts_by_address_and_so_do_many_accounts() {
    let table = AccessTable::new().method(UNARY, Access::Public).method(STREAM, Access::Public);
    let limits = CallerLimits { total: 100, per_principal: 2, per_stranger: 2, per_address: 4, own: 4 };
    let server = Server::builder().authenticator(Arc::new(Named)).access(table).budgets(budgets(limits));
    let server = server.descriptors(descriptors()).reflection(false).add_service(Echo::default());
    let listener = Listener::tcp("127.0.0.1:0").await.unwrap();
    let target = format!("static:///{}", listener.local_addr().unwrap());
    let server = tokio::spawn(server.serve_with_shutdown(listener, std::future::pending()));
    let channel = |last| {
        let from = From([127, 0, 0, last].into());
        Channel::builder().connector(from).connect_lazy(&target).unwrap()
    };
    let one = channel(21);
    let mut open = vec![watch(&one, None).await.unwrap(), watch(&one, None).await.unwrap()];
    assert_eq!(refused(&watch(&one, None).await.unwrap_err()).2, "caller");
    for name in ["anna", "bert"] {
        open.push(watch(&one, Some(name)).await.unwrap());
    }
    let status = watch(&one, Some("carl")).await.unwrap_err();
    assert_eq!(refused(&status), (Code::ResourceExhausted, "TOO_MANY_STREAMS".into(), "address".into()));
    open.push(watch(&channel(22), Some("carl")).await.expect("another address"));
    server.abort();
}
