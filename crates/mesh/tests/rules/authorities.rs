//! Each endpoint its own authority (C12): what the servers of one target see.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Response};
use meshwork::Builder;
use meshwork::connect::Memory;
use meshwork::policy::Policy;

use crate::a6_retry::ready;
use crate::support::call;

const TWO: &str = "static:///10.0.0.1:1,10.0.0.2:2";
const ROUND_ROBIN: &str = r#"{"loadBalancingConfig": [{"round_robin": {}}]}"#;

/// Servers that log the path and the `:authority` of what they are asked, and answer OK.
#[derive(Clone, Default)]
struct Servers {
    memory: Memory,
    log: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl Servers {
    fn new() -> Self {
        let servers = Self::default();
        for name in ["10.0.0.1:1", "10.0.0.2:2"] {
            tokio::spawn(servers.clone().listen(name));
        }
        servers
    }

    async fn listen(self, name: &'static str) {
        let mut listener = self.memory.listen(name).unwrap();
        while let Some(stream) = listener.accept().await {
            let servers = self.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let uri = request.uri();
                    let authority = uri.authority().unwrap().to_string();
                    let call = (name.to_owned(), uri.path().to_owned(), authority);
                    servers.log.lock().unwrap().push(call);
                    answer(uri.path(), respond);
                }
            });
        }
    }

    fn builder(&self, policy: &str) -> Builder {
        meshwork::Channel::builder().connector(self.memory.clone()).policy(Policy::parse(policy).unwrap())
    }

    /// The authorities that servers have seen with a path like this, each once.
    fn authorities(&self, path: &str) -> Vec<(String, String)> {
        let log = self.log.lock().unwrap();
        let of_path = log.iter().filter(|(_, called, _)| called.contains(path));
        let mut all: Vec<_> = of_path.map(|(server, _, authority)| (server.clone(), authority.clone())).collect();
        all.sort();
        all.dedup();
        all
    }
}

fn answer(path: &str, mut respond: h2::server::SendResponse<Bytes>) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut send = respond.send_response(head, false).unwrap();
    if path.contains("Health") {
        send.send_data(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]), false).unwrap();
        // The watch goes on.
        tokio::spawn(async move { std::future::poll_fn(|cx| send.poll_reset(cx)).await });
        return;
    }
    send.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    send.send_trailers(trailers).unwrap();
}

fn both(one: &str, two: &str) -> Vec<(String, String)> {
    vec![("10.0.0.1:1".to_owned(), one.to_owned()), ("10.0.0.2:2".to_owned(), two.to_owned())]
}

#[tokio::test(start_paused = true)]
async fn c12_each_server_of_a_static_target_sees_its_own_authority() {
    let servers = Servers::new();
    let channel = servers.builder(ROUND_ROBIN).connect_lazy(TWO).unwrap();
    ready(&channel, 2).await;
    for _ in 0..4 {
        call(&channel).await.unwrap();
    }
    assert_eq!(servers.authorities("Users"), both("10.0.0.1:1", "10.0.0.2:2"));
}

#[tokio::test(start_paused = true)]
async fn c12_health_checks_have_the_authority_of_their_server_too() {
    let servers = Servers::new();
    let policy = r#"{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}"#;
    let channel = servers.builder(policy).connect_lazy(TWO).unwrap();
    ready(&channel, 2).await;
    assert_eq!(servers.authorities("Health"), both("10.0.0.1:1", "10.0.0.2:2"));
}

#[tokio::test(start_paused = true)]
async fn c12_pick_first_has_the_authority_of_the_server_that_it_found() {
    for (down, up) in [("10.0.0.1:1", "10.0.0.2:2"), ("10.0.0.2:2", "10.0.0.1:1")] {
        let servers = Servers::new();
        servers.memory.refuse(down);
        let policy = r#"{"loadBalancingConfig": [{"pick_first": {}}]}"#;
        let channel = servers.builder(policy).connect_lazy(TWO).unwrap();
        call(&channel).await.unwrap();
        assert_eq!(servers.authorities("Users"), [(up.to_owned(), up.to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn c12_the_origin_of_the_builder_is_that_of_all() {
    let servers = Servers::new();
    let channel = servers.builder(ROUND_ROBIN).origin("users.example").connect_lazy(TWO).unwrap();
    ready(&channel, 2).await;
    for _ in 0..4 {
        call(&channel).await.unwrap();
    }
    assert_eq!(servers.authorities("Users"), both("users.example", "users.example"));
}
