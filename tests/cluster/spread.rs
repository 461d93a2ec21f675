//! Servers that come and go are found within seconds, by EndpointSlices and by DNS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meshwork::Channel;
use meshwork::connect::TlsOptions;
use meshwork::observe::Event;
use meshwork::policy::Policy;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::pods;
use crate::shop::{NAMESPACE, RELEASE, Shop};

/// A policy that spreads calls and repeats those that a server that leaves could not take.
const POLICY: &str = r#"{"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": [{}], "timeout": "10s", "waitForReady": true,
    "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}"#;
/// Within what time calls go to all that are ready.
const SOON: Duration = Duration::from_secs(10);
/// How many calls tell to whom they go.
const CALLS: usize = 40;

/// Who has answered, and how often.
type Answered = Arc<Mutex<BTreeMap<String, usize>>>;

/// A client of the orders service, as the gateway is one.
struct Client {
    health: HealthClient<Channel>,
    answered: Answered,
}

impl Client {
    fn new(shop: &Shop, target: &str) -> Self {
        let file = |key| shop.secret("tls-gateway", key);
        let tls = TlsOptions::new().ca_certificate(file("ca.crt")).identity(file("tls.crt"), file("tls.key"));
        let tls = tls.domain_name(format!("{RELEASE}-orders-headless.{NAMESPACE}"));
        let answered = Answered::default();
        let seen = answered.clone();
        let observer = move |event: &Event<'_>| {
            if let Event::AttemptEnded { endpoint: Some(endpoint), .. } = event {
                *seen.lock().unwrap().entry((*endpoint).to_owned()).or_default() += 1;
            }
        };
        let builder = Channel::builder().policy(Policy::parse(POLICY).unwrap()).tls(tls).observer(observer);
        let channel = builder.connect_lazy(target).unwrap();
        Self { health: HealthClient::new(channel), answered }
    }

    /// How many servers answer now; no call may fail.
    async fn servers(&mut self, target: &str) -> usize {
        self.answered.lock().unwrap().clear();
        for _ in 0..CALLS {
            let request = HealthCheckRequest { service: "liveness".to_owned() };
            let answer = self.health.check(request).await;
            answer.unwrap_or_else(|status| panic!("a call through {target} failed: {status}"));
        }
        self.answered.lock().unwrap().len()
    }
}

/// Scales orders from 1 to 4 and to 2; two clients, one of each way to find servers, follow.
pub async fn scale(shop: &Shop) {
    let host = format!("{RELEASE}-orders-headless.{NAMESPACE}");
    let mut targets = vec![format!("k8s:///{host}:grpc")];
    if shop.cluster.node.is_some() {
        let dns = shop.kubectl(&["get", "nodes", "--output=jsonpath={.items[0].status.addresses[0].address}"]);
        targets.push(format!("dns://{dns}:53/{host}.svc.cluster.local:8080"));
    }
    let mut clients: Vec<_> = targets.iter().map(|target| Client::new(shop, target)).collect();
    let deployment = format!("deployment/{RELEASE}-orders");
    for replicas in [1, 4, 2] {
        shop.kubectl(&["scale", &deployment, &format!("--replicas={replicas}")]);
        shop.kubectl(&["rollout", "status", &deployment, "--timeout=120s"]);
        let ready = Instant::now();
        assert_eq!(pods::of(shop, "orders").len(), replicas);
        for (client, target) in clients.iter_mut().zip(&targets) {
            loop {
                let servers = client.servers(target).await;
                if servers == replicas {
                    break;
                }
                assert!(ready.elapsed() < SOON, "{servers} of {replicas} answer through {target} after {SOON:?}");
            }
            println!("{replicas} answer through {target} {:.1} s after they are ready", ready.elapsed().as_secs_f64());
        }
    }
    shop.kubectl(&["scale", &deployment, "--replicas=1"]);
    shop.kubectl(&["rollout", "status", &deployment, "--timeout=120s"]);
}
