//! Readers and writers that go on while a Redis fails. Every read must be answered, by nothing that was replaced more
//! than a second before, counted from the commit; with a token by nothing that was replaced at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork_cache::Wanted;
use tokio::task::JoinSet;

use crate::server::PATIENCE;
use crate::truth::Truth;
use crate::world::{Healing, Process};

/// The second of the rule, and what a busy machine adds to it between an answer and the look at it.
const BOUND: Duration = Duration::from_millis(1_250);

pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<u64>,
    truth: Arc<Truth>,
}

impl Traffic {
    /// Every process reads all the `keys`, without and with tokens, and writes them. What it may answer depends on the
    /// `healing`.
    pub(crate) fn start(processes: &[Arc<Process>], keys: &[String], healing: Healing) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let truth = Arc::clone(&processes[0].truth);
        for key in keys {
            let first = truth.append(key, Some("first"));
            truth.reached(first.n, None);
        }
        let mut tasks = JoinSet::new();
        for process in processes {
            for with_token in [false, false, true] {
                let reader = Reader { process: Arc::clone(process), keys: keys.to_vec(), with_token, healing };
                tasks.spawn(reader.read_on(Arc::clone(&stop)));
            }
            tasks.spawn(write_on(Arc::clone(process), keys.to_vec(), Arc::clone(&stop)));
        }
        Self { stop, tasks, truth }
    }

    /// The sum of reads and writes; never more than `max_loads` of them were at the source at the same time.
    pub(crate) async fn end(self, max_loads: u64) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let counts = tokio::time::timeout(PATIENCE, self.tasks.join_all()).await.expect("every call ends");
        let most = self.truth.most_running();
        assert!(most <= max_loads, "{most} loads at the same time, of at most {max_loads}");
        counts.into_iter().sum()
    }
}

struct Reader {
    process: Arc<Process>,
    keys: Vec<String>,
    with_token: bool,
    healing: Healing,
}

impl Reader {
    async fn read_on(self, stop: Arc<AtomicBool>) -> u64 {
        let mut reads = 0;
        while !stop.load(Ordering::SeqCst) {
            for key in &self.keys {
                let (at_least, wanted) = self.wants(key);
                let answer = self.process.try_read(key, wanted).await;
                let version = answer.unwrap_or_else(|error| panic!("{key}: {error:?}"));
                let (is_right, healing) = (version >= at_least, self.healing);
                assert!(is_right, "{key}: version {version} is answered, not {at_least}, to {wanted:?} ({healing:?})");
                reads += 1;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        reads
    }

    /// The lowest version that may be answered now, and what is asked for.
    fn wants(&self, key: &str) -> (u64, Wanted) {
        let truth = &self.process.truth;
        if self.with_token {
            let (version, token) = truth.committed(key);
            return (version, Wanted::AtLeast(token));
        }
        let version = match self.healing {
            Healing::Following => truth.committed_for(key, BOUND),
            Healing::Marks => truth.reached_for(key, BOUND),
        };
        (version, Wanted::Recent)
    }
}

async fn write_on(process: Arc<Process>, keys: Vec<String>, stop: Arc<AtomicBool>) -> u64 {
    let mut writes = 0;
    while !stop.load(Ordering::SeqCst) {
        let key = &keys[fastrand::usize(..keys.len())];
        if fastrand::bool() {
            process.write(key, "another").await;
        } else {
            process.change(key, Some("changed")).await;
        }
        writes += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writes
}
