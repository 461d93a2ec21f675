//! Readers and writers that go on while a Redis fails. Every read must be answered, by nothing that was replaced more
//! than a second before; with a token by nothing that was replaced at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork_cache::Wanted;
use tokio::task::JoinSet;

use crate::server::PATIENCE;
use crate::truth::Truth;
use crate::world::Process;

/// The second of the rule, and what a busy machine adds to it between an answer and the look at it.
const BOUND: Duration = Duration::from_millis(1_250);

pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<u64>,
    truth: Arc<Truth>,
}

impl Traffic {
    /// Every process reads all the `keys`, without and with tokens, and writes them.
    pub(crate) fn start(processes: &[Arc<Process>], keys: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let truth = Arc::clone(&processes[0].truth);
        for key in keys {
            let version = truth.commit(key, Some("first"));
            truth.settle(key, version);
        }
        let mut tasks = JoinSet::new();
        for process in processes {
            for with_token in [false, false, true] {
                tasks.spawn(read_on(Arc::clone(process), keys.to_vec(), with_token, Arc::clone(&stop)));
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

async fn read_on(process: Arc<Process>, keys: Vec<String>, with_token: bool, stop: Arc<AtomicBool>) -> u64 {
    let mut reads = 0;
    while !stop.load(Ordering::SeqCst) {
        for key in &keys {
            let (at_least, wanted) = if with_token {
                let (version, token) = process.truth.committed(key);
                (version, Wanted::AtLeast(token))
            } else {
                (process.truth.settled_for(key, BOUND), Wanted::Recent)
            };
            let version = process.try_read(key, wanted).await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
            assert!(version >= at_least, "{key}: version {version} is answered, not {at_least}, to {wanted:?}");
            reads += 1;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    reads
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
