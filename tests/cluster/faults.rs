//! What breaks: pods, processes, stores.

use std::time::{Duration, Instant};

use meshwork::Channel;
use meshwork_api::meshwork::products::v1::ListProductsRequest;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;
use tonic::{Code, Status};

use crate::cluster::eventually;
use crate::load::Load;
use crate::pods;
use crate::shop::{RELEASE, Shop};

/// For how long orders are placed while a pod dies, in seconds.
const KILL: u32 = 15;
/// For how long a store is away.
const AWAY: Duration = Duration::from_secs(25);
/// Within what time a call is answered that a store is missing for.
const PROMPT: Duration = Duration::from_secs(12);

fn send(process: u32, what: Signal) {
    signal(Pid::from_raw(process.try_into().unwrap()), what).unwrap();
}

/// Scales a deployment and waits for it.
fn scale(shop: &Shop, service: &str, replicas: u32) {
    let deployment = format!("deployment/{RELEASE}-{service}");
    shop.kubectl(&["scale", &deployment, &format!("--replicas={replicas}")]);
    shop.kubectl(&["rollout", "status", &deployment, "--timeout=120s"]);
}

/// A process is killed at once, under load, while another of its kind stands beside it.
pub async fn kill(shop: &Shop) {
    for service in ["orders", "products"] {
        scale(shop, service, 2);
        let mut load = Load::start(shop, KILL).await;
        let victim = pods::of(shop, service).remove(0);
        if shop.cluster.node.is_some() {
            for process in victim.processes() {
                send(process, Signal::SIGKILL);
            }
            let restarted =
                async || pods::of(shop, service).iter().any(|pod| pod.name == victim.name && pod.restarts() > 0);
            eventually(&format!("the restart of {}", victim.name), restarted).await;
        } else {
            shop.kubectl(&["delete", "pod", &victim.name, "--grace-period=0", "--force"]);
        }
        assert!(load.is_running(), "the restart took longer than the load: make that longer");
        load.all_is_well().await;
        scale(shop, service, 1);
    }
}

/// A process that stands still is restarted by its liveness probe.
pub async fn freeze(shop: &Shop) {
    if shop.cluster.node.is_none() {
        println!("left out: the pods don't run on this machine");
        return;
    }
    let victim = pods::one(shop, "users");
    let before = victim.restarts();
    for process in victim.processes() {
        send(process, Signal::SIGSTOP);
    }
    let is_out = async || !pods::one(shop, "users").is_ready();
    println!("not ready after {:.1} s", eventually("that a frozen pod isn't ready", is_out).await.as_secs_f64());
    let is_back = async || {
        let pod = pods::one(shop, "users");
        pod.restarts() > before && pod.is_ready()
    };
    println!("restarted {:.1} s later", eventually("the restart of a frozen process", is_back).await.as_secs_f64());
    shop.test().await;
}

/// Asks for a page of products through the gateway; how long the answer took.
async fn ask(products: &mut ProductServiceClient<Channel>) -> (Result<(), Status>, Duration) {
    let begun = Instant::now();
    let answer = products.list_products(ListProductsRequest::default()).await.map(drop);
    (answer, begun.elapsed())
}

/// A store is away for a while: pods stay ready and say promptly that they can't; afterwards all goes on as it was.
pub async fn stop(shop: &Shop, store: &str) {
    let set = format!("statefulset/{RELEASE}-{store}");
    let restarts =
        |shop: &Shop| -> u64 { crate::SERVICES.iter().map(|service| pods::one(shop, service).restarts()).sum() };
    let before = restarts(shop);
    shop.kubectl(&["scale", &set, "--replicas=0"]);
    eventually(&format!("the end of {store}"), async || pods::of(shop, store).is_empty()).await;
    let mut products = ProductServiceClient::new(Channel::connect_lazy(&shop.url()).unwrap());
    let begun = Instant::now();
    let (mut good, mut refused) = (0, 0);
    while begun.elapsed() < AWAY {
        let (answer, took) = ask(&mut products).await;
        assert!(took < PROMPT, "an answer took {took:?} without {store}: {answer:?}");
        match answer {
            Ok(()) => good += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                refused += 1;
            }
        }
        for service in crate::SERVICES {
            assert!(pods::one(shop, service).is_ready(), "{service} isn't ready without {store}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("{good} lists of products answered, {refused} refused");
    // Only what they are in is missed.
    assert!(
        if store == "postgresql" { refused > 0 } else { refused == 0 },
        "without {store}: {good} good, {refused} refused"
    );
    shop.kubectl(&["scale", &set, "--replicas=1"]);
    shop.kubectl(&["rollout", "status", &set, "--timeout=120s"]);
    let is_back = async || ask(&mut products.clone()).await.0.is_ok();
    println!("answers come again after {:.1} s", eventually("an answer", is_back).await.as_secs_f64());
    shop.test().await;
    assert_eq!(restarts(shop), before, "a store that was away restarted a service");
}
