//! Runs a script in all orders: each order with a key of its own, its steps one after another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use meshwork_cache::{Item, Lease, Remote, Stored};
use meshwork_testkit::Redis;
use meshwork_testkit::redis::Connection;
use tokio::task::JoinSet;

use crate::server::{PATIENCE, lease_key, tag_key, value_key};

const KIND: &str = "articles";
/// How often a command is repeated at most.
const TRIES: usize = 500;
/// How far behind a replica is.
const LAG: Duration = Duration::from_secs(2);
/// How many orders run at the same time.
const WORKERS: usize = 8;

/// Repeats a command while the link is down: a busy machine may be late with its beats.
macro_rules! certainly {
    ($call:expr) => {{
        let mut tries = 0;
        loop {
            match $call.await {
                Ok(answer) => break answer,
                Err(error) => {
                    tries += 1;
                    assert!(tries < TRIES, "{error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }};
}

/// What an actor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A filler asks for the value and the lease.
    Acquire,
    /// It reads the counters of the tags.
    Tags,
    /// It loads from the source.
    Load,
    /// It stores what it has loaded.
    Fill,
    /// A writer commits the next version.
    Commit,
    /// It writes it through.
    Put,
    /// It invalidates by it.
    Tombstone,
    /// It invalidates without knowing it.
    Invalidate,
    /// It invalidates by the tag.
    Bump,
    /// Redis loses all that it has of the key.
    Flush,
}

/// The steps of each actor.
pub(crate) type Script = Vec<Vec<Step>>;

pub(crate) struct World {
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) redis: Arc<Redis>,
    pub(crate) prefix: String,
    /// Whether loads see only what was committed [`LAG`] ago.
    pub(crate) is_behind: bool,
}

#[derive(Default)]
pub(crate) struct Outcome {
    /// What was read though it should not have been, and after which order of actors.
    pub(crate) violations: Vec<String>,
    /// How often a valid value was found in Redis.
    pub(crate) reads: u64,
}

/// All orders of the actors in which each keeps its own. Of actors that do the same, the first begins first.
pub(crate) fn orders(script: &[Vec<Step>]) -> Vec<Vec<usize>> {
    fn extend(script: &[Vec<Step>], done: &mut [usize], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        let mut is_end = true;
        for actor in 0..script.len() {
            if done[actor] == script[actor].len() {
                continue;
            }
            is_end = false;
            let waits_for_twin = (0..actor).any(|twin| script[twin] == script[actor] && done[twin] == 0);
            if done[actor] == 0 && waits_for_twin {
                continue;
            }
            done[actor] += 1;
            order.push(actor);
            extend(script, done, order, all);
            order.pop();
            done[actor] -= 1;
        }
        if is_end {
            all.push(order.clone());
        }
    }
    let mut all = Vec::new();
    extend(script, &mut vec![0; script.len()], &mut Vec::new(), &mut all);
    all
}

/// Runs a script in all orders.
pub(crate) async fn all_orders(world: Arc<World>, name: &str, script: Script) -> Outcome {
    let script = Arc::new(script);
    let orders = Arc::new(orders(&script));
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (world, script, orders) = (Arc::clone(&world), Arc::clone(&script), Arc::clone(&orders));
        let name = name.replace([' ', ','], "-");
        workers.spawn(async move {
            let mut raw = world.redis.connection();
            let mut outcome = Outcome::default();
            for (n, order) in orders.iter().enumerate().skip(worker).step_by(WORKERS) {
                let mut case = Case::new(&world, &mut raw, format!("{name}-{n}"));
                case.run(&script, order).await;
                outcome.reads += case.reads;
                outcome.violations.extend(case.violations.into_iter().map(|what| format!("{what} in {order:?}")));
            }
            outcome
        });
    }
    let outcomes = tokio::time::timeout(PATIENCE * 3, workers.join_all()).await.expect("every step ends");
    outcomes.into_iter().fold(Outcome::default(), |mut all, one| {
        all.violations.extend(one.violations);
        all.reads += one.reads;
        all
    })
}

/// What is stored: its version, the position of its load, the counters of its tags.
#[derive(Debug)]
struct Entry {
    version: u64,
    at: u64,
    tags: Vec<u64>,
}

impl Entry {
    fn encode(&self) -> Item {
        let tags: Vec<String> = self.tags.iter().map(u64::to_string).collect();
        let envelope = Bytes::from(format!("V{} {} {}", self.version, self.at, tags.join(",")));
        Item { version: self.version, envelope, ttl: Duration::from_secs(60) }
    }

    /// `None` for a tombstone.
    fn decode(stored: &Stored) -> Option<Self> {
        let text = std::str::from_utf8(stored).unwrap();
        let mut fields = text.split_at(20).1.strip_prefix('V')?.split(' ').map(str::to_owned);
        let (version, at, tags) = (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap());
        let tags = tags.split(',').filter(|tag| !tag.is_empty()).map(|tag| tag.parse().unwrap()).collect();
        Some(Self { version: version.parse().unwrap(), at: at.parse().unwrap(), tags })
    }
}

/// What an actor knows.
#[derive(Default)]
struct Actor {
    /// What was settled, and what was committed, when it began.
    began: Option<(u64, u64)>,
    lease: Option<Lease>,
    tags: Vec<u64>,
    loaded: Option<(u64, u64)>,
    version: u64,
}

/// One order.
struct Case<'a> {
    world: &'a World,
    raw: &'a mut Connection,
    key: String,
    tag: [String; 1],
    /// The end of the source's log, and where in it the last commit is.
    at: u64,
    token: u64,
    commits: Vec<(Instant, u64)>,
    committed: u64,
    /// The highest version whose commit and invalidation are done.
    settled: u64,
    reads: u64,
    violations: Vec<String>,
}

impl<'a> Case<'a> {
    fn new(world: &'a World, raw: &'a mut Connection, key: String) -> Self {
        let tag = [format!("tag-{key}")];
        Self {
            world,
            raw,
            key,
            tag,
            at: 1,
            token: 1,
            commits: Vec::new(),
            committed: 1,
            settled: 1,
            reads: 0,
            violations: Vec::new(),
        }
    }

    async fn run(&mut self, script: &[Vec<Step>], order: &[usize]) {
        let mut actors: Vec<Actor> = script.iter().map(|_| Actor::default()).collect();
        let mut next = vec![0; script.len()];
        for &actor in order {
            let step = script[actor][next[actor]];
            next[actor] += 1;
            self.step(&mut actors[actor], step).await;
        }
        // Who comes after all this sees all this.
        let mut last = Actor::default();
        for step in &script[0] {
            self.step(&mut last, *step).await;
        }
    }

    async fn step(&mut self, actor: &mut Actor, step: Step) {
        let (remote, key) = (Arc::clone(&self.world.remote), self.key.clone());
        let began = *actor.began.get_or_insert((self.settled, self.committed));
        match step {
            Step::Acquire => {
                let acquired = certainly!(remote.acquire(KIND, &key));
                actor.lease = acquired.lease;
                if let Some(stored) = acquired.stored {
                    self.look_at(&stored).await;
                }
            }
            Step::Tags => actor.tags = certainly!(remote.tags(&self.tag)),
            Step::Load => {
                let version = self.load();
                actor.loaded = Some((version, self.at));
                // That a replica answers what is old proves nothing: what becomes of it is seen by who looks later.
                if !self.world.is_behind {
                    let (settled, committed) = began;
                    self.judge(version >= settled, &format!("version {version} is loaded, {settled} was settled"));
                    self.judge(version >= committed, &format!("version {version} to a token, of {committed}"));
                }
            }
            Step::Fill => {
                let (version, at) = actor.loaded.take().unwrap();
                if let Some(lease) = actor.lease.take() {
                    let item = Entry { version, at, tags: actor.tags.clone() }.encode();
                    certainly!(remote.fill(KIND, &key, &lease, item.clone()));
                }
                self.look().await;
            }
            Step::Commit => {
                self.at += 1;
                self.token = self.at;
                self.committed += 1;
                actor.version = self.committed;
                self.commits.push((Instant::now(), self.committed));
            }
            Step::Put => {
                let item = Entry { version: actor.version, at: 0, tags: Vec::new() }.encode();
                certainly!(remote.put(KIND, &key, item.clone()));
                self.settle(actor).await;
            }
            Step::Tombstone => {
                certainly!(remote.tombstone(KIND, &key, Some(actor.version)));
                self.settle(actor).await;
            }
            Step::Invalidate => {
                certainly!(remote.tombstone(KIND, &key, None));
                self.settle(actor).await;
            }
            Step::Bump => {
                certainly!(remote.bump(&self.tag[0], None));
                self.settle(actor).await;
            }
            Step::Flush => {
                let prefix = &self.world.prefix;
                let keys = [value_key(prefix, &key), lease_key(prefix, &key), tag_key(prefix, &self.tag[0])];
                for key in &keys {
                    self.raw.command(&["DEL", key]);
                }
                self.look().await;
            }
        }
    }

    /// What the source answers. Others write there too, so a position that is taken later is above a token's.
    fn load(&mut self) -> u64 {
        self.at += 1;
        if !self.world.is_behind {
            return self.committed;
        }
        self.commits.iter().rev().find(|(at, _)| at.elapsed() >= LAG).map_or(1, |(_, version)| *version)
    }

    async fn settle(&mut self, actor: &Actor) {
        self.settled = self.settled.max(actor.version);
        self.look().await;
    }

    /// Reads as another process would.
    async fn look(&mut self) {
        let stored = certainly!(self.world.remote.get(KIND, &self.key));
        if let Some(stored) = stored {
            self.look_at(&stored).await;
        }
    }

    async fn look_at(&mut self, stored: &Stored) {
        let Some(entry) = Entry::decode(stored) else { return };
        if !entry.tags.is_empty() {
            let current = certainly!(self.world.remote.tags(&self.tag));
            if current != entry.tags {
                return;
            }
        }
        self.reads += 1;
        let (settled, committed) = (self.settled, self.committed);
        self.judge(entry.version >= settled, &format!("{entry:?} is read, {settled} was settled"));
        let is_covered = entry.at > self.token;
        self.judge(
            !is_covered || entry.version >= committed,
            &format!("{entry:?} to a token, {committed} was committed"),
        );
    }

    fn judge(&mut self, is_right: bool, otherwise: &str) {
        if !is_right {
            self.violations.push(otherwise.to_owned());
        }
    }
}
