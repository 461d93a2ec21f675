//! Two processes with real caches, what goes on in them at the same time, and what is looked at meanwhile.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use meshwork_cache::{Cache, CacheOptions, Tiers, TiersOptions, Value as _, Wanted};
use tokio::task::yield_now;

use crate::explorer::{Explorer, Order};
use crate::gates::Gates;
use crate::remote::{Fault, Link, PROCESSES, Phase, Server};
use crate::truth::{Article, Failure, Truth};

type Articles = Cache<Article, Failure>;

/// The tags of the article.
const TAGS: &[&str] = &["red"];
/// So often everybody has a turn until all who can go on have come to a gate.
const TURNS: usize = 4;
/// When all who are left sleep, time goes on; not for ever.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSES: usize = 1_000;

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Reads, and fills what it has to load.
    Read,
    /// Reads with a token of all that was committed before.
    ReadWithToken,
    /// Commits a version, then writes it through.
    Write,
    /// The same with a value that is too big for any tier.
    WriteBig,
    /// Commits the deletion, then invalidates without a version.
    Delete,
    /// Commits a version, then invalidates by the tag.
    Tag,
    /// Invalidates without a version and without having committed anything, as staff do.
    Invalidate,
    /// Invalidates again by the last commit, as who follows the log does.
    Follow,
    /// The remote tier loses all that it has; then the links notice.
    Flush,
}

/// Who does what at the same time, each in one of the processes.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) actors: Vec<(Act, usize)>,
    /// Whether the remote tier has the article at the beginning.
    pub(crate) is_warm: bool,
    /// Whether news are told late.
    pub(crate) is_late: bool,
    /// How often an actor is left that could go on, in one order.
    pub(crate) switches: usize,
}

/// What all orders of a script have come to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) orders: usize,
    /// How often something was found in a tier.
    pub(crate) found: usize,
    /// What was answered that had been replaced, and in which order.
    pub(crate) violations: Vec<String>,
}

struct World {
    gates: Arc<Gates>,
    server: Arc<Server>,
    truth: Arc<Truth>,
    /// Those of the processes, and that of who looks at the remote tier.
    links: Vec<Arc<Link>>,
    caches: Vec<Articles>,
    /// How many writers are under way in each process.
    writing: Mutex<[usize; PROCESSES]>,
    found: Mutex<usize>,
    violations: Mutex<Vec<String>>,
}

/// Runs a script in all orders.
pub(crate) async fn all_orders(script: &Script, fault: Option<Fault>) -> Outcome {
    // Pauses by chance are the same ones in each order.
    fastrand::seed(17);
    let world = World::new(script, fault);
    let (mut explorer, mut outcome) = (Explorer::default(), Outcome::default());
    loop {
        let key: Arc<str> = format!("lamp-{}", outcome.orders).into();
        let order = world.run(script, &key, &mut explorer).await;
        outcome.orders += 1;
        outcome.found += std::mem::take(&mut *world.found.lock().unwrap());
        let violations = std::mem::take(&mut *world.violations.lock().unwrap());
        outcome.violations.extend(violations.into_iter().map(|what| format!("{what}: {:?}", order.trace)));
        if !outcome.violations.is_empty() || !explorer.next() {
            return outcome;
        }
    }
}

/// Until all who can go on have come to a gate.
async fn settle() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

impl World {
    fn new(script: &Script, fault: Option<Fault>) -> Arc<Self> {
        let gates = Arc::new(Gates::default());
        let server = Server::new(Arc::clone(&gates), script.is_late, fault);
        let truth = Truth::new(Arc::clone(&gates));
        let links: Vec<Arc<Link>> = (0..=PROCESSES).map(|process| Link::new(&server, process)).collect();
        let options = CacheOptions { negatives_per_second: u32::MAX, ..CacheOptions::default() };
        let tiers = links.iter().map(|link| Tiers::with_remote(TiersOptions::default(), Arc::<Link>::clone(link)));
        let caches: Vec<Articles> = tiers.map(|tiers| tiers.cache(options.clone())).collect();
        let (writing, found, violations) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { gates, server, truth, links, caches, writing, found, violations })
    }

    /// As before any of the actors: the local tiers are empty.
    async fn reset(&self, key: &str, is_warm: bool) {
        self.server.wipe();
        self.truth.reset();
        self.notice().await;
        if is_warm {
            self.caches[1].read(key, TAGS, Wanted::Recent, self.truth.loader(false)).await.unwrap();
            self.notice().await;
        }
    }

    /// All links notice that the remote tier was lost.
    async fn notice(&self) {
        for link in &self.links {
            link.notice().await;
        }
    }

    /// Runs one order.
    async fn run(self: &Arc<Self>, script: &Script, key: &Arc<str>, explorer: &mut Explorer) -> Order {
        self.reset(key, script.is_warm).await;
        self.server.enter(Phase::Orders);
        let actors = script.actors.iter().enumerate();
        let actors: Vec<_> = actors
            .map(|(actor, (act, process))| tokio::spawn(Arc::clone(self).act(actor, *act, *process, Arc::clone(key))))
            .collect();
        let (mut order, mut pauses) = (Order::new(script.switches), 0);
        loop {
            settle().await;
            self.look(key).await;
            let waiting = self.gates.waiting();
            if !waiting.is_empty() {
                self.gates.release(order.turn(explorer, &waiting));
            } else if actors.iter().all(tokio::task::JoinHandle::is_finished) {
                break;
            } else {
                pauses += 1;
                assert!(pauses < PAUSES, "somebody waits for nobody: {:?}", order.trace);
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.server.enter(Phase::Open);
        for actor in actors {
            actor.await.unwrap();
        }
        order
    }

    async fn act(self: Arc<Self>, actor: usize, act: Act, process: usize, key: Arc<str>) {
        self.gates.pass_as(actor, "begins").await;
        let (cache, truth) = (&self.caches[process], &self.truth);
        match act {
            Act::Read | Act::ReadWithToken => {
                let (mut since, wanted) = truth.wants(act == Act::ReadWithToken);
                if act == Act::Read && self.may_lag(process) {
                    since = 0;
                }
                match cache.read(&key, TAGS, wanted, truth.loader(true)).await {
                    Ok(answer) => self.judge("a reader is answered", since, answer.as_deref()),
                    Err(Failure) => self.violations.lock().unwrap().push("a read has failed".to_owned()),
                }
            }
            Act::Write | Act::WriteBig | Act::Delete | Act::Tag => {
                let is_big = act == Act::WriteBig;
                let (place, version) = truth.commit(act != Act::Delete, is_big);
                self.writing.lock().unwrap()[process] += 1;
                self.gates.pass("has committed").await;
                match act {
                    Act::Delete => cache.invalidate(&key, None).await,
                    Act::Tag => {
                        let cause = format!("{key}@{version}");
                        cache.tiers().invalidate_tag(TAGS[0], Some(&cause)).await;
                    }
                    _ => cache.put(&key, TAGS, Article { version, is_big }, version).await,
                }
                self.writing.lock().unwrap()[process] -= 1;
                truth.settle(place);
            }
            Act::Invalidate => cache.invalidate(&key, None).await,
            Act::Follow => {
                let (place, version) = truth.committed();
                cache.tiers().invalidate(Article::KIND, &key, version).await;
                truth.settle(place);
            }
            Act::Flush => {
                self.server.wipe();
                self.gates.pass("is flushed").await;
                self.notice().await;
            }
        }
    }

    /// Whether a process may hold what was replaced, for a moment still: it will be told, or it has committed itself, and
    /// its writer has not gone on.
    fn may_lag(&self, process: usize) -> bool {
        self.server.has_news_for(process) || self.writing.lock().unwrap()[process] > 0
    }

    /// Looks what the tiers would answer now, and changes nothing by it.
    async fn look(&self, key: &str) {
        if self.truth.committed().0 == 0 {
            return;
        }
        let wants = [self.truth.wants(false), self.truth.wants(true)];
        self.server.enter(Phase::Local);
        for process in 0..PROCESSES {
            for (since, wanted) in wants {
                // No token is answered by what lags.
                if wanted == Wanted::Recent && self.may_lag(process) {
                    continue;
                }
                let read = self.caches[process].read(key, TAGS, wanted, Truth::none());
                // What is held is answered at once.
                if let Some(Ok(answer)) = read.now_or_never() {
                    self.judge("a process holds", since, answer.as_deref());
                }
            }
        }
        // What was begun by that ends.
        settle().await;
        self.server.enter(Phase::Remote);
        for (since, wanted) in wants {
            self.links[PROCESSES].lose();
            if let Ok(answer) = self.caches[PROCESSES].read(key, TAGS, wanted, Truth::none()).await {
                self.judge("the remote tier has", since, answer.as_deref());
            }
        }
        self.server.enter(Phase::Orders);
    }

    /// Whether an answer was true at a place in the history, or later.
    fn judge(&self, what: &str, since: usize, answer: Option<&Article>) {
        let version = answer.map(|article| article.version);
        *self.found.lock().unwrap() += 1;
        if !self.truth.was_true_since(since, version) {
            self.violations.lock().unwrap().push(format!("{what} {version:?}, replaced by commit {since}"));
        }
    }
}
