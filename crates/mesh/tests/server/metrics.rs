//! What the ops port shows of the budgets of servers.

use meshwork::Server;
use meshwork::server::ops::Ops;
use meshwork::server::{Budgets, CallerLimits, Resource};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Request};

use crate::support::{FLOOD, Running, budgets, refused, stream, until};

/// What `/metrics` of an ops port is answered with.
async fn scrape(ops: Ops) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let served = tokio::spawn(ops.serve(listener, std::future::pending()));
    client.write_all(b"GET /metrics HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    served.abort();
    text
}

#[tokio::test]
async fn metrics_show_what_callers_have_and_how_often_they_were_refused() {
    let limits = budgets(Resource::Streams, CallerLimits { total: 1, ..CallerLimits::default() });
    let server = Running::start(Server::builder().budgets(limits.clone()));
    let channel = server.channel();
    let ops = Ops::new().budgets("users", limits.clone()).budgets("or\"ders", Budgets::default());
    let held = stream(&channel, FLOOD, Request::new(String::new())).await.unwrap();
    let status = stream(&channel, FLOOD, Request::new(String::new())).await.unwrap_err();
    assert_eq!(refused(&status), (Code::ResourceExhausted, "TOO_MANY_STREAMS".into(), "server".into()));

    let text = scrape(ops.clone()).await;
    let has = |text: &str, line: &str| text.lines().any(|found| found == line);
    for line in [
        "meshwork_budget_in_use{server=\"users\",resource=\"streams\"} 1",
        "meshwork_budget_in_use{server=\"users\",resource=\"calls\"} 0",
        "meshwork_budget_in_use{server=\"or\\\"ders\",resource=\"streams\"} 0",
        "meshwork_budget_refused_total{server=\"users\",resource=\"streams\"} 1",
        "meshwork_budget_refused_total{server=\"users\",resource=\"watches\"} 0",
        "meshwork_budget_refused_total{server=\"or\\\"ders\",resource=\"streams\"} 0",
    ] {
        assert!(has(&text, line), "{line}\n{text}");
    }
    for (family, kind) in [("in_use", "gauge"), ("refused_total", "counter")] {
        let family = format!("meshwork_budget_{family}");
        assert_eq!(text.matches(&format!("# TYPE {family} {kind}\n")).count(), 1, "{text}");
        assert_eq!(text.matches(&format!("# HELP {family} ")).count(), 1, "{text}");
        // Each resource of each server has a line.
        assert_eq!(text.matches(&format!("\n{family}{{")).count(), 2 * Resource::ALL.len(), "{text}");
    }

    drop(held);
    until("the stream is over", || limits.in_use(Resource::Streams) == 0).await;
    let text = scrape(ops).await;
    assert!(has(&text, "meshwork_budget_in_use{server=\"users\",resource=\"streams\"} 0"), "{text}");
    assert!(has(&text, "meshwork_budget_refused_total{server=\"users\",resource=\"streams\"} 1"), "{text}");
}
