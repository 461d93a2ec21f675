//! One schedule: writers, relays and a replica set, by a seed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use meshwork_events::{Relay, StoreSource};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::bus::{Embedded, MemoryBus, Published};
use crate::checker::violations;
use crate::client::{PARTITIONS, Sent, Writer, log};
use crate::server::{Ablated, Cluster};

/// Where the relays publish to.
const STREAM: &str = "simulated";
/// One schedule in so many has processes with many callers.
const CROWDED: u64 = 20;
/// How long everything may take to come to rest, in simulated time.
const REST: Duration = Duration::from_secs(200);

/// What is run: the code as it is shipped, or with something taken away that keeps it sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Shipped,
    LoadLocally,
    DecideLocally,
    FollowLocally,
    NewIdAfterTimeout,
    NoBoundaryCheck,
    /// Positions are taken for taken as soon as the primary alone says so. Tombstones make up for it.
    RaiseLocally,
    RaiseLocallyWithoutTombstones,
    RaiseLocallySkippingHoles,
    /// What is inserted together goes on behind a commit that is refused.
    Unordered,
    UnorderedWithoutTombstones,
    /// The bus takes what a relay publishes though another has published meanwhile.
    Unfenced,
}

impl Variant {
    fn writers(self) -> Ablated {
        Ablated {
            load: self == Self::LoadLocally,
            decide: self == Self::DecideLocally,
            position: matches!(
                self,
                Self::RaiseLocally | Self::RaiseLocallyWithoutTombstones | Self::RaiseLocallySkippingHoles
            ),
            ..self.relays()
        }
    }

    /// How many callers a process has at most: many where it is about what is inserted together, and now and then.
    fn callers(self, seed: u64) -> u64 {
        let together = matches!(self, Self::Unordered | Self::UnorderedWithoutTombstones);
        if together || seed.is_multiple_of(CROWDED) { 12 } else { 3 }
    }

    fn relays(self) -> Ablated {
        Ablated {
            follow: self == Self::FollowLocally,
            no_tombstones: matches!(self, Self::RaiseLocallyWithoutTombstones | Self::UnorderedWithoutTombstones),
            skip_holes: self == Self::RaiseLocallySkippingHoles,
            unordered: matches!(self, Self::Unordered | Self::UnorderedWithoutTombstones),
            ..Ablated::default()
        }
    }
}

/// What schedules have met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) schedules: u64,
    pub(crate) commits: u64,
    pub(crate) failovers: u64,
    pub(crate) rolled_back: u64,
    pub(crate) lost_acks: u64,
    pub(crate) late_writes: u64,
    pub(crate) collisions: u64,
    /// Inserts of several commits that were made as far as they came.
    pub(crate) together: u64,
    /// Of which a failover has kept a part.
    pub(crate) cut: u64,
    pub(crate) tombstones: u64,
    /// Answers of the bus that were lost.
    pub(crate) lost_acks_of_bus: u64,
    /// How often the bus has lost its last events, and others.
    pub(crate) lost_ends: u64,
    pub(crate) lost_middles: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.schedules += other.schedules;
        self.commits += other.commits;
        self.failovers += other.failovers;
        self.rolled_back += other.rolled_back;
        self.lost_acks += other.lost_acks;
        self.late_writes += other.late_writes;
        self.collisions += other.collisions;
        self.together += other.together;
        self.cut += other.cut;
        self.tombstones += other.tombstones;
        self.lost_acks_of_bus += other.lost_acks_of_bus;
        self.lost_ends += other.lost_ends;
        self.lost_middles += other.lost_middles;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} schedules, {} commits: {} failovers, {} inserts rolled back, {} lost acknowledgements, {} late writes, \
             {} collisions, {} inserts of several commits and {} more cut by a failover, {} tombstones; of the bus, {} lost acknowledgements, {} lost ends and {} lost middles",
            self.schedules,
            self.commits,
            self.failovers,
            self.rolled_back,
            self.lost_acks,
            self.late_writes,
            self.collisions,
            self.together,
            self.cut,
            self.tombstones,
            self.lost_acks_of_bus,
            self.lost_ends,
            self.lost_middles
        )
    }
}

/// One schedule in so many publishes to the shipped bus; the others to one in memory, by the same rule.
const EMBEDDED: u64 = 50;

/// Runs a schedule and returns what it met and what it broke.
pub(crate) fn run(variant: Variant, seed: u64) -> (Counts, Vec<String>) {
    let embedded = seed % EMBEDDED == EMBEDDED - 1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    // The product's own jitter too.
    fastrand::seed(seed);
    let alarms = Alarms::default();
    let _listening = alarms.listen();
    let (counts, mut violations) = runtime.block_on(schedule(variant, seed, embedded));
    if alarms.count() > 0 {
        violations.push(format!("relays have said {} times that the bus has diverged", alarms.count()));
    }
    (counts, violations)
}

async fn schedule(variant: Variant, seed: u64, embedded: bool) -> (Counts, Vec<String>) {
    let cluster = Cluster::new(seed);
    let folder = embedded.then(|| tempfile::tempdir().unwrap());
    let bus: Arc<dyn Published> = match &folder {
        Some(folder) => Arc::new(Embedded::open(folder.path()).await),
        None => Arc::new(MemoryBus::new(cluster.clone(), variant != Variant::Unfenced)),
    };
    let failing = tokio::spawn(cluster.clone().fail_over());
    let shutdown = CancellationToken::new();
    let relays: Vec<_> = (0..2)
        .map(|_| {
            let source = StoreSource::new(log(&cluster, variant.relays(), true), "simulated", |_| true);
            let relay = Relay::new(Arc::new(source), bus.clone(), STREAM);
            let shutdown = shutdown.clone();
            tokio::spawn(async move { relay.run(shutdown).await })
        })
        .collect();
    let writers: Vec<_> = (0..3)
        .map(|name| {
            let writer = Writer {
                name,
                cluster: cluster.clone(),
                ablated: variant.writers(),
                boundary_check: variant != Variant::NoBoundaryCheck,
                callers: variant.callers(seed),
                new_ids: variant == Variant::NewIdAfterTimeout,
            };
            tokio::spawn(Arc::new(writer).run())
        })
        .collect();
    let mut sent: Vec<Sent> = Vec::new();
    for writer in writers {
        sent.extend(writer.await.unwrap());
    }
    // Everything heals, and what is late arrives.
    cluster.faults.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(1)).await;
    let rest = async {
        while behind(&cluster, bus.as_ref()).await {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(REST, rest).await.ok();
    shutdown.cancel();
    for relay in relays {
        // One that is stuck is found by what it has not published.
        timeout(REST, relay).await.ok();
    }
    failing.abort();
    let mut published = Vec::new();
    for partition in 0..PARTITIONS {
        published.push(bus.published(STREAM, partition).await);
    }
    let committed = cluster.committed();
    let commits = u64::try_from(committed.len()).unwrap();
    let counts = Counts { schedules: 1, commits, ..cluster.counts() };
    (counts, violations(&committed, &sent, &published))
}

/// Whether something that is kept isn't published yet.
async fn behind(cluster: &Cluster, bus: &dyn Published) -> bool {
    let committed = cluster.committed();
    for partition in 0..PARTITIONS {
        let kept = committed.iter().filter(|commit| commit.position.partition == partition);
        let kept: usize = kept.map(|commit| commit.events.len()).sum();
        if bus.published(STREAM, partition).await.len() < kept {
            return true;
        }
    }
    false
}
