//! Names, against a DNS server on loopback.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::Hosts;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::resolve;
use crate::client::resolve::dns::Found;
use crate::client::resolve::fixed::Static;
use crate::client::resolve::{Dns, Target};

/// What the server says of a name.
#[derive(Clone, Default)]
struct Zone {
    records: Vec<(&'static str, u32, IpAddr)>,
    /// What it says of names without records.
    otherwise: ResponseCode,
    /// Whether it says nothing at all.
    silent: bool,
}

/// A DNS server; it ends with the test's runtime.
struct Server {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<Vec<RecordType>>>,
}

impl Server {
    async fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = socket.local_addr().expect("bound");
        let (zone, asked) = (Arc::new(Mutex::new(zone)), Arc::<Mutex<Vec<_>>>::default());
        let (answers, log) = (Arc::clone(&zone), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.expect("a query");
                let query = Message::from_vec(&buffer[..length]).expect("a DNS message");
                log.lock().expect("unpoisoned").push(query.queries[0].query_type());
                let reply = answer(&answers.lock().expect("unpoisoned"), query);
                if let Some(reply) = reply {
                    socket.send_to(&reply.to_vec().expect("encoded"), client).await.expect("sent");
                }
            }
        });
        Self { address, zone, asked }
    }

    async fn with(records: &[(&'static str, u32, &str)]) -> Self {
        let records = records.iter().map(|(name, ttl, ip)| (*name, *ttl, ip.parse().expect("an address"))).collect();
        Self::start(Zone { records, ..Zone::default() }).await
    }

    fn dns(&self, host: &str) -> Dns {
        Dns::new(host, 50051, Some(self.address))
    }
}

fn answer(zone: &Zone, query: Message) -> Option<Message> {
    if zone.silent {
        return None;
    }
    let question = query.queries[0].clone();
    let name = question.name().to_utf8();
    let mut reply = query.into_response();
    for (of, ttl, ip) in zone.records.iter().filter(|(of, ..)| *of == name.trim_end_matches('.')) {
        assert!(!of.is_empty());
        let data = RData::from(*ip);
        if data.record_type() == question.query_type() {
            reply.add_answer(Record::from_rdata(question.name().clone(), *ttl, data));
        }
    }
    if reply.answers.is_empty() {
        reply.metadata.response_code = zone.otherwise;
    }
    Some(reply)
}

fn found(addresses: &[&str], ttl: u64) -> Result<(Vec<String>, Option<u64>), String> {
    Ok((addresses.iter().map(|address| (*address).to_owned()).collect(), Some(ttl)))
}

#[tokio::test]
async fn a_and_aaaa_are_asked_and_each_address_is_an_endpoint() {
    let records = [("users.test", 60, "10.0.0.2"), ("users.test", 60, "10.0.0.1"), ("users.test", 60, "fd00::1")];
    let server = Server::with(&records).await;
    let answer = resolve(&server.dns("users.test")).await;
    assert_eq!(answer, found(&["10.0.0.1:50051", "10.0.0.2:50051", "[fd00::1]:50051"], 60));
    let mut asked = server.asked.lock().expect("unpoisoned").clone();
    asked.sort();
    assert_eq!(asked, [RecordType::A, RecordType::AAAA]);
}

#[tokio::test]
async fn one_family_is_enough() {
    let server = Server::with(&[("four.test", 60, "10.0.0.1"), ("six.test", 60, "fd00::1")]).await;
    assert_eq!(resolve(&server.dns("four.test")).await, found(&["10.0.0.1:50051"], 60));
    assert_eq!(resolve(&server.dns("six.test")).await, found(&["[fd00::1]:50051"], 60));
}

#[tokio::test]
async fn the_ttl_is_the_shortest_of_the_records_but_5_s_at_least() {
    let records = [
        ("mixed.test", 300, "10.0.0.1"),
        ("mixed.test", 30, "fd00::1"),
        ("zero.test", 0, "10.0.0.1"),
        ("five.test", 6, "10.0.0.1"),
    ];
    let server = Server::with(&records).await;
    assert_eq!(resolve(&server.dns("mixed.test")).await, found(&["10.0.0.1:50051", "[fd00::1]:50051"], 30));
    assert_eq!(resolve(&server.dns("zero.test")).await, found(&["10.0.0.1:50051"], 5));
    assert_eq!(resolve(&server.dns("five.test")).await, found(&["10.0.0.1:50051"], 6));
}

#[tokio::test]
async fn an_answer_is_not_kept_so_that_a_change_is_seen_at_once() {
    let server = Server::with(&[("users.test", 3600, "10.0.0.1")]).await;
    let dns = server.dns("users.test");
    assert_eq!(resolve(&dns).await, found(&["10.0.0.1:50051"], 3600));
    server.zone.lock().expect("unpoisoned").records =
        vec![("users.test", 3600, "10.0.0.9".parse().expect("an address"))];
    assert_eq!(resolve(&dns).await, found(&["10.0.0.9:50051"], 3600));
}

#[tokio::test]
async fn nxdomain_and_no_records_say_so() {
    let server = Server::start(Zone { otherwise: ResponseCode::NXDomain, ..Zone::default() }).await;
    let error = resolve(&server.dns("nobody.test")).await.expect_err("no such host");
    assert_eq!(error, "there is no host nobody.test (NXDOMAIN)");
    let server = Server::start(Zone::default()).await;
    let error = resolve(&server.dns("empty.test")).await.expect_err("no records");
    assert_eq!(error, "empty.test has no A or AAAA records");
    let server = Server::start(Zone { otherwise: ResponseCode::ServFail, ..Zone::default() }).await;
    let error = resolve(&server.dns("broken.test")).await.expect_err("a failure");
    assert!(error.starts_with("DNS has no answer for broken.test: "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_is_given_up_within_the_limit_of_a_resolution() {
    let server = Server::start(Zone { silent: true, ..Zone::default() }).await;
    let start = Instant::now();
    let error = resolve(&server.dns("users.test")).await.expect_err("no answer");
    assert!(error.starts_with("DNS has no answer for users.test: "), "{error}");
    assert!(start.elapsed() >= Duration::from_secs(2) && start.elapsed() < Duration::from_secs(20), "{start:?}");
}

#[tokio::test]
async fn a_dns_server_in_the_target_is_the_one_that_is_asked() {
    let server = Server::with(&[("users.test", 60, "10.0.0.1")]).await;
    let target = Target::parse(&format!("dns://{}/users.test:50051", server.address)).expect("a target");
    assert_eq!(resolve(&*target.into_resolver().expect("a resolver")).await, found(&["10.0.0.1:50051"], 60));
}

#[test]
fn a_hosts_file_is_honoured_with_both_families() {
    let mut hosts = Hosts::default();
    let file = "127.0.0.1 localhost\n10.0.0.2 users users.test\n10.0.0.1 users # old\nfd00::1 USERS\n";
    hosts.read_hosts_conf(file.as_bytes()).expect("a hosts file");
    let among = |host: &str| Dns::new(host, 1, None).among(&hosts);
    let Found { addresses, ttl } = among("Users").expect("a line");
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1:1", "10.0.0.2:1", "[fd00::1]:1"]);
    assert_eq!(ttl, Some(Duration::from_secs(30)));
    assert!(among("orders").is_none());
}

#[tokio::test]
async fn localhost_is_found_without_a_server() {
    let (addresses, _) = resolve(&Dns::new("localhost", 1, None)).await.expect("localhost");
    assert!(
        addresses.contains(&"127.0.0.1:1".to_owned()) || addresses.contains(&"[::1]:1".to_owned()),
        "{addresses:?}"
    );
}

#[tokio::test]
async fn names_in_a_static_list_are_resolved_and_their_last_addresses_hold() {
    let server = Server::with(&[("a.test", 60, "10.0.0.1"), ("b.test", 20, "10.0.0.2")]).await;
    let hosts = vec![("a.test".to_owned(), 1), ("127.0.0.1".to_owned(), 2), ("b.test".to_owned(), 3)];
    let list = Static::of_hosts(hosts, Some(server.address));
    let all = ["127.0.0.1:2", "10.0.0.1:1", "10.0.0.2:3"];
    assert_eq!(resolve(&list).await, found(&all, 20));
    *server.zone.lock().expect("unpoisoned") = Zone {
        records: vec![("a.test", 60, "10.0.0.9".parse().expect("an address"))],
        otherwise: ResponseCode::ServFail,
        silent: false,
    };
    assert_eq!(resolve(&list).await, found(&["127.0.0.1:2", "10.0.0.9:1", "10.0.0.2:3"], 30));
    let nothing = Static::of_hosts(vec![("c.test".to_owned(), 1)], Some(server.address));
    resolve(&nothing).await.expect_err("nothing was ever found");
}
