//! Every field of every request distorted in turn: answers are right and bounded, and a second caller isn't disturbed.
//!
//! Usually as many distortions are sent as fit into some seconds, in an order by a fixed seed;
//! all of them with `cargo xtask test --full`.

mod answer;
mod base;
mod contracts;
mod distortions;
mod judge;
mod shop;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meshwork_api::meshwork::products::v1::ListProductsRequest;
use meshwork_api::meshwork::users::v1::GetUserRequest;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

use self::answer::{Call, Reply, ask};
use self::contracts::{Contracts, Method};
use self::distortions::Distortion;
use self::shop::{Caller, Shop};
use crate::hostile::wire::{Wire, frame, head_of};

/// How many methods there are at least.
const METHODS: usize = 45;
/// The services that may be meant where several have a method.
const SERVICES: [&str; 4] = ["users", "products", "orders", "notifications"];
/// How many calls are in flight.
const CALLERS: u8 = 8;
/// How long distortions are sent usually, and when all are.
const USUALLY: Duration = Duration::from_secs(14);
const FULL: Duration = Duration::from_secs(900);
/// How many faults are told; nothing is sent after so many.
const FAULTS: usize = 40;
/// Which distortions come first.
const SEED: u64 = 21;
/// The time between two calls of the second caller, and how long each may take.
const PACE: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(5);

/// A method as somebody calls it.
struct Target {
    method: Method,
    caller: Caller,
    service: Option<&'static str>,
    base: DynamicMessage,
}

impl Target {
    /// Sends a request, distorted or not. Gives what was sent, too.
    async fn send(&self, wire: &Wire, distortion: Option<&Distortion>) -> (DynamicMessage, Result<Reply, String>) {
        let mut request = base::freshened(self.base.clone());
        if let Some(distortion) = distortion {
            distortion.apply(&mut request);
        }
        let Method { path, streams, .. } = &self.method;
        let call = Call { path, token: &self.caller.token, service: self.service, streams: *streams };
        let reply = ask(wire, &call, frame(0, &request.encode_to_vec())).await;
        (request, reply)
    }

    /// What it is, for people.
    fn described(&self) -> String {
        let who = if self.caller.is_staff { "staff" } else { "a customer" };
        format!("{}{} by {who}", self.method.path, self.service.map(|name| format!(" of {name}")).unwrap_or_default())
    }

    /// What is wrong with the answer to a request.
    fn faults(&self, sent: &DynamicMessage, reply: &Result<Reply, String>) -> Vec<String> {
        match reply {
            Ok(reply) => judge::faults(&self.method.input, sent, reply),
            Err(problem) => vec![problem.clone()],
        }
    }
}

/// What has come of it all.
#[derive(Default)]
struct Findings {
    /// How many answers had a code.
    codes: BTreeMap<String, usize>,
    faults: BTreeSet<String>,
}

impl Findings {
    fn note(&mut self, target: &Target, what: &str, reply: &Result<Reply, String>, faults: Vec<String>) {
        let code = reply.as_ref().map_or_else(|_| "none".to_owned(), |reply| format!("{:?}", reply.code));
        *self.codes.entry(code).or_default() += 1;
        let message = reply.as_ref().map(|reply| reply.message.chars().take(200).collect::<String>());
        let told = |fault| format!("{}, {what}: {fault} ({:?})", target.described(), message.as_deref().unwrap_or(""));
        self.faults.extend(faults.into_iter().map(told));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn distorted_requests_are_answered_right_and_disturb_nobody() {
    let _alone = crate::ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let shop = Arc::new(Shop::open(folder.path()).await);
    let contracts = Contracts::read();
    let methods = contracts.methods();
    assert!(methods.len() >= METHODS, "only {} methods", methods.len());

    let is_over = Arc::new(AtomicBool::new(false));
    let second = tokio::spawn(call_steadily(Arc::clone(&shop), Arc::clone(&is_over)));
    let findings = Arc::new(Mutex::new(Findings::default()));
    let mut targets = Vec::new();
    for method in methods {
        targets.extend(reached(&shop, &contracts, method, &findings).await);
    }
    let targets: Vec<_> = targets.into_iter().map(Arc::new).collect();
    let jobs = jobs(&contracts, &targets);
    let (all, started) = (jobs.len(), Instant::now());
    let bound = if std::env::var_os("MESHWORK_TEST_FULL").is_some() { FULL } else { USUALLY };
    let sent = send_all(&shop, jobs, started + bound, &findings).await;
    is_over.store(true, Ordering::Relaxed);
    let (calls, failures) = second.await.unwrap();

    let findings = findings.lock().unwrap();
    println!(
        "{sent} of {all} distortions of {} targets in {:.1} s: {:?}; {calls} calls beside them",
        targets.len(),
        started.elapsed().as_secs_f64(),
        findings.codes
    );
    let faults: Vec<_> = findings.faults.iter().take(FAULTS).map(String::as_str).collect();
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), shop.last_lines());
    assert!(failures.is_empty(), "the second caller was disturbed: {failures:?}\n{}", shop.last_lines());
    assert!(calls >= 10, "the second caller made {calls} calls");
    assert!(sent >= targets.len().min(all), "{sent} of {all} distortions for {} targets", targets.len());
    assert!(findings.codes.contains_key("Ok") && findings.codes.contains_key("InvalidArgument"));
}

/// How a method can be called: by each of the callers, of each service that has it. All are called once, with requests
/// that are right. Those who may not call it at all do so no more.
async fn reached(shop: &Shop, contracts: &Contracts, method: Method, findings: &Mutex<Findings>) -> Vec<Target> {
    let services = if method.administers { SERVICES.map(Some).to_vec() } else { vec![None] };
    let wire = Wire::open(Ipv4Addr::new(127, 3, 0, 1), shop.gateway).await.unwrap();
    let mut reached = Vec::new();
    for (service, caller) in services.iter().flat_map(|service| shop.callers.iter().map(move |it| (*service, it))) {
        let base = base::request(contracts, &method.input, &caller.names(&method.path));
        let target = Target { method: method.clone(), caller: caller.clone(), service, base };
        let (sent, reply) = target.send(&wire, None).await;
        let info = reply.as_ref().ok().and_then(|reply| judge::details(reply).ok()?.info);
        if info.is_some_and(|info| info.reason == "SERVICE_REQUIRED") {
            continue;
        }
        let faults = target.faults(&sent, &reply);
        findings.lock().unwrap().note(&target, "not distorted", &reply, faults);
        if caller.is_staff || method.admits_customers {
            reached.push(target);
        }
    }
    assert!(!reached.is_empty(), "nobody answers {}", method.path);
    reached
}

/// A distortion to send.
type Job = (Arc<Target>, Distortion);

/// All distortions of all targets, in an order by chance, in which each target has a turn before another has its next.
fn jobs(contracts: &Contracts, targets: &[Arc<Target>]) -> Vec<Job> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut jobs = Vec::new();
    for target in targets {
        let names = target.caller.names(&target.method.path);
        let mut distortions = distortions::all(contracts, &target.method.input, &names);
        random.shuffle(&mut distortions);
        jobs.extend(distortions.into_iter().enumerate().map(|(turn, it)| (turn, (Arc::clone(target), it))));
    }
    random.shuffle(&mut jobs);
    jobs.sort_by_key(|(turn, _)| *turn);
    jobs.into_iter().map(|(_, job)| job).collect()
}

/// Sends distortions until all are sent, or it is `until`. Gives how many were answered.
async fn send_all(shop: &Shop, jobs: Vec<Job>, until: Instant, findings: &Arc<Mutex<Findings>>) -> usize {
    let (jobs, turn) = (Arc::new(jobs), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (jobs, turn, findings, gateway) =
            (Arc::clone(&jobs), Arc::clone(&turn), Arc::clone(findings), shop.gateway);
        callers.spawn(async move {
            let (from, mut sent) = (Ipv4Addr::new(127, 3, 1, 1 + caller), 0_usize);
            let mut wire = Wire::open(from, gateway).await.unwrap();
            while Instant::now() < until && findings.lock().unwrap().faults.len() < FAULTS {
                let Some((target, distortion)) = jobs.get(turn.fetch_add(1, Ordering::Relaxed)) else { break };
                if wire.is_over() {
                    wire = Wire::open(from, gateway).await.unwrap();
                }
                let (request, reply) = target.send(&wire, Some(distortion)).await;
                let faults = target.faults(&request, &reply);
                findings.lock().unwrap().note(target, &distortion.what, &reply, faults);
                sent += 1;
            }
            sent
        });
    }
    callers.join_all().await.into_iter().sum()
}

/// Makes ordinary calls, one after the other, until it is over. Gives how many there were, and which failed.
async fn call_steadily(shop: Arc<Shop>, is_over: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (name, token) = &shop.second;
    let list = frame(0, &ListProductsRequest { page_size: 5, ..Default::default() }.encode_to_vec());
    let get = frame(0, &GetUserRequest { name: name.clone() }.encode_to_vec());
    let habits =
        [("/meshwork.products.v1.ProductService/ListProducts", list), ("/meshwork.users.v1.UserService/GetUser", get)];
    let wire = Wire::open(Ipv4Addr::new(127, 9, 9, 9), shop.gateway).await.unwrap();
    let (mut calls, mut failures) = (0, Vec::new());
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !is_over.load(Ordering::Relaxed) {
        ticks.tick().await;
        for (path, body) in &habits {
            calls += 1;
            let outcome = tokio::time::timeout(DEADLINE, call(&wire, path, token, body.clone())).await;
            let outcome = outcome.unwrap_or_else(|_| Err("no answer within 5 s".to_owned()));
            if let Err(problem) = outcome {
                failures.push(format!("{path}: {problem}"));
            }
        }
    }
    (calls, failures)
}

async fn call(wire: &Wire, path: &str, token: &str, body: Bytes) -> Result<(), String> {
    match wire.call_with(head_of(path, Some(token), Some("5S")), body).await {
        Ok(answer) if answer.code == Code::Ok => Ok(()),
        Ok(answer) => Err(format!("{:?}: {}", answer.code, answer.message)),
        Err(error) => Err(error.to_string()),
    }
}
