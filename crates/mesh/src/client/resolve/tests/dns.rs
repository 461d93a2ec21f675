//! Names, against a DNS server on loopback.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::Hosts;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{resolve, unhurried};
use crate::client::resolve::dns::{Found, candidates};
use crate::client::resolve::fixed::Static;
use crate::client::resolve::{Dns, Target};

/// What the server says of a name.
#[derive(Clone, Default)]
struct Zone {
    records: Vec<(&'static str, u32, IpAddr)>,
    /// What it says of names without records.
    otherwise: ResponseCode,
    /// The types that it says nothing of.
    silent: Vec<RecordType>,
    /// The types that it answers with SERVFAIL.
    broken: Vec<RecordType>,
    /// The types that it answers late.
    slow: Vec<(RecordType, Duration)>,
}

/// Both families.
const BOTH: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// A DNS server; it ends with the test's runtime.
struct Server {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<Vec<RecordType>>>,
}

impl Server {
    async fn start(zone: Zone) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"));
        let address = socket.local_addr().expect("bound");
        let (zone, asked) = (Arc::new(Mutex::new(zone)), Arc::<Mutex<Vec<_>>>::default());
        let (answers, log) = (Arc::clone(&zone), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.expect("a query");
                let query = Message::from_vec(&buffer[..length]).expect("a DNS message");
                let kind = query.queries[0].query_type();
                log.lock().expect("unpoisoned").push(kind);
                let (reply, slow) = {
                    let zone = answers.lock().expect("unpoisoned");
                    (answer(&zone, query), zone.slow.iter().find(|(slow, _)| *slow == kind).map(|(_, by)| *by))
                };
                let Some(reply) = reply.map(|reply| reply.to_vec().expect("encoded")) else { continue };
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    if let Some(slow) = slow {
                        tokio::time::sleep(slow).await;
                    }
                    socket.send_to(&reply, client).await.expect("sent");
                });
            }
        });
        Self { address, zone, asked }
    }

    async fn with(records: &[(&'static str, u32, &str)]) -> Self {
        let records = records.iter().map(|(name, ttl, ip)| (*name, *ttl, ip.parse().expect("an address"))).collect();
        Self::start(Zone { records, ..Zone::default() }).await
    }

    /// Changes what it says.
    fn set(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.zone.lock().expect("unpoisoned"));
    }

    /// How often it was asked for records of a type.
    fn queries(&self, of: RecordType) -> usize {
        self.asked.lock().expect("unpoisoned").iter().filter(|kind| **kind == of).count()
    }

    fn dns(&self, host: &str) -> Dns {
        Dns::new(host, 50051, Some(self.address))
    }
}

fn answer(zone: &Zone, query: Message) -> Option<Message> {
    let question = query.queries[0].clone();
    if zone.silent.contains(&question.query_type()) {
        return None;
    }
    let name = question.name().to_utf8();
    let mut reply = query.into_response();
    if zone.broken.contains(&question.query_type()) {
        reply.metadata.response_code = ResponseCode::ServFail;
        return Some(reply);
    }
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
    let server = Server::start(Zone { silent: BOTH.to_vec(), ..Zone::default() }).await;
    let start = Instant::now();
    let error = resolve(&server.dns("users.test")).await.expect_err("no answer");
    assert!(error.starts_with("DNS has no answer for users.test: "), "{error}");
    assert!(start.elapsed() >= Duration::from_secs(2) && start.elapsed() < Duration::from_secs(20), "{start:?}");
}

/// Both families have an address.
async fn both() -> Server {
    Server::with(&[("users.test", 60, "10.0.0.1"), ("users.test", 60, "fd00::1")]).await
}

const V4: &str = "10.0.0.1:50051";
const V6: &str = "[fd00::1]:50051";

#[tokio::test(start_paused = true)]
async fn c23_addresses_of_one_family_wait_50_ms_for_a_silent_other() {
    for (silent, address) in [(RecordType::AAAA, V4), (RecordType::A, V6)] {
        let server = both().await;
        server.set(|zone| zone.silent = vec![silent]);
        let start = Instant::now();
        assert_eq!(resolve(&server.dns("users.test")).await, found(&[address], 5), "{silent} is silent");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(50) && waited < Duration::from_millis(500), "{silent}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn c23_a_silent_family_is_looked_for_less_and_less_often() {
    let server = both().await;
    server.set(|zone| zone.silent = vec![RecordType::AAAA]);
    let dns = server.dns("users.test");
    for again in [5, 10, 20, 40, 60, 60] {
        let before = server.queries(RecordType::AAAA);
        assert_eq!(resolve(&dns).await, found(&[V4], again));
        tokio::time::sleep(Duration::from_secs(again)).await;
        let queries = server.queries(RecordType::AAAA) - before;
        assert!((1..=4).contains(&queries), "{queries} queries in {again} s");
    }
    server.set(|zone| zone.silent.clear());
    assert_eq!(resolve(&dns).await, found(&[V4, V6], 60));
    server.set(|zone| zone.silent = vec![RecordType::AAAA]);
    resolve(&dns).await.expect("addresses");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(resolve(&dns).await, found(&[V4, V6], 5), "once it has answered, it begins anew");
}

#[tokio::test(start_paused = true)]
async fn c23_what_a_family_says_too_late_is_used_from_the_next_look_on() {
    let server = both().await;
    server.set(|zone| zone.slow = vec![(RecordType::AAAA, Duration::from_millis(400))]);
    let dns = server.dns("users.test");
    assert_eq!(resolve(&dns).await, found(&[V4], 5), "it is looked again soon");
    unhurried(tokio::time::sleep(Duration::from_secs(1))).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (addresses, ttl) = resolve(&dns).await.expect("addresses");
    assert_eq!(addresses, [V4, V6]);
    assert!(ttl.is_some_and(|ttl| (50..=60).contains(&ttl)), "a late answer is one: {ttl:?}");
}

#[tokio::test(start_paused = true)]
async fn c23_within_50_ms_the_other_family_is_waited_for() {
    let server = both().await;
    server.set(|zone| zone.slow = vec![(RecordType::AAAA, Duration::from_millis(30))]);
    assert_eq!(resolve(&server.dns("users.test")).await, found(&[V4, V6], 60));
}

#[tokio::test(start_paused = true)]
async fn c23_a_family_that_fails_keeps_its_last_good_addresses() {
    let server = both().await;
    let dns = server.dns("users.test");
    assert_eq!(resolve(&dns).await, found(&[V4, V6], 60));
    server.set(|zone| {
        zone.records = vec![("users.test", 60, "10.0.0.9".parse().expect("an address"))];
        zone.broken = vec![RecordType::AAAA];
    });
    assert_eq!(resolve(&dns).await, found(&["10.0.0.9:50051", V6], 5));
    server.set(|zone| zone.records.clear());
    assert_eq!(resolve(&dns).await, found(&[V6], 10), "the other one is gone, by its own word");
    server.set(|zone| zone.broken.clear());
    assert_eq!(resolve(&dns).await.expect_err("nothing is left"), "users.test has no A or AAAA records");
    server.set(|zone| zone.broken = vec![RecordType::AAAA]);
    let error = resolve(&dns).await.expect_err("nothing is left");
    assert!(error.starts_with("DNS has no answer for users.test: A: no records; AAAA: "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn c23_a_family_without_addresses_is_neither_waited_nor_looked_for() {
    let server = Server::with(&[("four.test", 60, "10.0.0.1")]).await;
    let dns = server.dns("four.test");
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(resolve(&dns).await, found(&[V4], 60));
    }
    assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
    assert_eq!([server.queries(RecordType::A), server.queries(RecordType::AAAA)], [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn c23_when_both_families_fail_the_error_says_so_of_each() {
    let server = both().await;
    server.set(|zone| (zone.broken, zone.silent) = (vec![RecordType::A], vec![RecordType::AAAA]));
    let error = resolve(&server.dns("users.test")).await.expect_err("no answer");
    assert!(error.starts_with("DNS has no answer for users.test: A: ") && error.contains("; AAAA: "), "{error}");
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

#[test]
fn a_search_list_is_gone_through_as_resolv_conf_has_it() {
    let name = |name: &str| Name::from_utf8(name).expect("a name");
    let config = ResolverConfig::from_parts(None, vec![name("shop.svc."), name("svc.")], Vec::new());
    let names = |host: &str, ndots| -> Vec<String> {
        let names = candidates(host, &config, ndots).expect("names");
        names.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names("users", 1), ["users.shop.svc.", "users.svc.", "users."]);
    assert_eq!(names("users.test", 1), ["users.test.", "users.test.shop.svc.", "users.test.svc."]);
    assert_eq!(names("users.test.", 5), ["users.test."]);
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
        ..Zone::default()
    };
    // A family that failed is looked for again soon.
    assert_eq!(resolve(&list).await, found(&["127.0.0.1:2", "10.0.0.9:1", "10.0.0.2:3"], 5));
    let nothing = Static::of_hosts(vec![("c.test".to_owned(), 1)], Some(server.address));
    resolve(&nothing).await.expect_err("nothing was ever found");
}
