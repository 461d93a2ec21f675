//! Writers: they load, decide and append, and repeat what they don't know the outcome of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork_eventstore::testing::command;
use meshwork_eventstore::{Append, AppendError, Commit, CommitLog, CommitLogOptions, EventStore, Expected, StoreError};
use tokio::time::sleep;

use crate::server::{Ablated, Cluster, Node};

/// How many partitions the log has.
pub(crate) const PARTITIONS: u16 = 2;
/// How many streams the writers share.
const STREAMS: u64 = 6;
/// How many commands a caller sends.
const COMMANDS: u64 = 3;
/// How often a command is decided anew, and how often it is repeated while its outcome is unknown.
const DECIDED: u32 = 4;
const REPEATED: u32 = 60;
/// How often a stream is read while that fails.
const LOADED: u32 = 200;

/// What a writer was told of a command in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// This commit.
    Made(Box<Commit>),
    /// Nothing was made: somebody else was first, or the version was none. And never was it told otherwise.
    Refused,
    /// It never learnt.
    Nothing,
}

/// A writer's command, whose id may have been changed by a writer that doesn't know better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) stream: String,
    pub(crate) ids: Vec<String>,
    pub(crate) told: Told,
}

pub(crate) fn log(cluster: &Arc<Cluster>, ablated: Ablated, boundary_check: bool) -> Arc<CommitLog<Node>> {
    let node = Node { cluster: cluster.clone(), ablated };
    let options = CommitLogOptions {
        partitions: PARTITIONS,
        append_timeout: Duration::from_millis(10 + cluster.below(300)),
        poll: Duration::from_millis(200),
        hole_check: Duration::from_millis(500),
        seed: Some(cluster.below(u64::MAX)),
        boundary_check,
    };
    Arc::new(CommitLog::new(node, options))
}

/// A process that writes.
pub(crate) struct Writer {
    pub(crate) name: u64,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) ablated: Ablated,
    pub(crate) boundary_check: bool,
    /// How many callers it has at most.
    pub(crate) callers: u64,
    /// Whether a command that timed out is sent with a new id.
    pub(crate) new_ids: bool,
}

impl Writer {
    pub(crate) async fn run(self: Arc<Self>) -> Vec<Sent> {
        let log = Arc::new(Mutex::new(self.start()));
        let callers: Vec<_> = (0..1 + self.cluster.below(self.callers))
            .map(|caller| tokio::spawn(self.clone().call(log.clone(), caller)))
            .collect();
        let mut sent = Vec::new();
        for caller in callers {
            sent.extend(caller.await.unwrap());
        }
        sent
    }

    fn start(&self) -> Arc<CommitLog<Node>> {
        log(&self.cluster, self.ablated, self.boundary_check)
    }

    async fn call(self: Arc<Self>, log: Arc<Mutex<Arc<CommitLog<Node>>>>, caller: u64) -> Vec<Sent> {
        let (mut sent, mut ends) = (Vec::new(), HashMap::new());
        for at in 0..COMMANDS {
            sleep(Duration::from_millis(self.cluster.below(20))).await;
            if self.cluster.below(10) == 0 {
                // Killed, and started again: it has forgotten everything.
                *log.lock().unwrap() = self.start();
            }
            let stream = format!("s{}", self.cluster.below(STREAMS));
            let log = log.lock().unwrap().clone();
            sent.push(self.send(log.as_ref(), stream, format!("{}-{caller}-{at}", self.name), &mut ends).await);
        }
        sent
    }

    /// Sends a command. `ends` are the ends of commits that are known, by stream.
    async fn send(&self, log: &CommitLog<Node>, stream: String, id: String, ends: &mut HashMap<String, i64>) -> Sent {
        let mut sent = Sent { stream, ids: vec![id], told: Told::Nothing };
        let events = 1 + usize::try_from(self.cluster.below(3)).unwrap();
        let mut doubted = false;
        for _ in 0..DECIDED {
            let version = self.load(log, &sent.stream, ends).await;
            // Most know the version; some say what they saw in a list of events, or long ago, or made up.
            let version = if self.cluster.below(5) == 0 {
                i64::try_from(self.cluster.below(u64::try_from(version + 3).unwrap())).unwrap()
            } else {
                version
            };
            let expected = if version == 0 { Expected::NoStream } else { Expected::Exact(version) };
            for _ in 0..REPEATED {
                let id = sent.ids.last().unwrap().clone();
                let append: Append = command(&sent.stream, expected, &id, events);
                match log.append(append).await {
                    Ok(appended) => {
                        sent.told = Told::Made(Box::new(appended.commit));
                        return sent;
                    }
                    Err(AppendError::VersionConflict { .. }) => {
                        sent.told = if doubted { Told::Nothing } else { Told::Refused };
                        break;
                    }
                    Err(AppendError::Store(error)) => {
                        doubted |= matches!(error, StoreError::OutcomeUnknown(_));
                        sent.told = if doubted { Told::Nothing } else { Told::Refused };
                        if self.cluster.below(8) == 0 {
                            // It leaves it at that, and must not have been told that nothing was made if something was.
                            return sent;
                        }
                        if self.new_ids {
                            sent.ids.push(format!("{id}'"));
                        }
                        sleep(Duration::from_millis(1 + self.cluster.below(20))).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        sent
    }

    /// The stream's version: of all of it, or of what is behind the end that is known.
    async fn load(&self, log: &CommitLog<Node>, stream: &str, ends: &mut HashMap<String, i64>) -> i64 {
        let known = ends.get(stream).copied().filter(|_| self.cluster.below(2) == 0);
        for _ in 0..LOADED {
            let read = match known {
                Some(end) => log.read_behind(stream, end).await,
                None => log.read(stream, 0).await,
            };
            match read {
                Ok(commits) => {
                    let version = commits.last().map_or(known.unwrap_or_default(), Commit::version);
                    if version > 0 {
                        ends.insert(stream.to_owned(), version);
                    }
                    return version;
                }
                Err(_) => sleep(Duration::from_millis(1 + self.cluster.below(10))).await,
            }
        }
        // A stream that can't be read, as some that were made without what keeps the log sound.
        0
    }
}
