//! S2: streams have a budget of their own, for each caller before it is shared.

use std::sync::Arc;

use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{Budgets, CallerLimits, Limits, Resource};
use meshwork::{Channel, Server};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::clients::{Named, Tcp};
use crate::support::{Running, STREAM, UNARY, refused, stream, unary, until};

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

#[tokio::test]
async fn who_has_no_account_counts_by_address_and_so_do_many_accounts() {
    let table = AccessTable::new().method(UNARY, Access::Public).method(STREAM, Access::Public);
    let limits = CallerLimits { total: 100, per_principal: 2, per_stranger: 2, per_address: 4, own: 4 };
    let server = Server::builder().authenticator(Arc::new(Named)).access(table).budgets(budgets(limits));
    let server = Tcp::start(server).await;
    let one = server.channel(21);
    let mut open = vec![watch(&one, None).await.unwrap(), watch(&one, None).await.unwrap()];
    assert_eq!(refused(&watch(&one, None).await.unwrap_err()).2, "caller");
    for name in ["anna", "bert"] {
        open.push(watch(&one, Some(name)).await.unwrap());
    }
    let status = watch(&one, Some("carl")).await.unwrap_err();
    assert_eq!(refused(&status), (Code::ResourceExhausted, "TOO_MANY_STREAMS".into(), "address".into()));
    open.push(watch(&server.channel(22), Some("carl")).await.expect("another address"));
}
