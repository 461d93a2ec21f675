//! The source of truth of one article: its history, and loads that wait at gates.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use meshwork_cache::{LoadError, Loaded, Position, Value, Wanted};

use crate::gates::Gates;

/// The history of all positions here.
const LOG: u128 = 1;

/// What is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Article {
    pub(crate) version: u64,
    /// Too big for any tier.
    pub(crate) is_big: bool,
}

impl Value for Article {
    const KIND: &'static str = "articles";
    const SCHEMA: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.version.to_be_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { version: u64::from_be_bytes(bytes.try_into().ok()?), is_big: false })
    }

    fn weight(&self) -> usize {
        if self.is_big { 1 << 20 } else { 8 }
    }
}

/// A load failed: nothing stale may stand in for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure;

impl LoadError for Failure {
    fn is_unavailable(&self) -> bool {
        false
    }

    fn overloaded() -> Self {
        Self
    }
}

pub(crate) type Load = Pin<Box<dyn Future<Output = Result<Loaded<Article>, Failure>> + Send>>;

pub(crate) struct Truth {
    gates: Arc<Gates>,
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    /// The end of the log, in which others write too.
    at: u64,
    version: u64,
    is_big: bool,
    /// What was true after each commit: the version of the article, or that there is none.
    history: Vec<Option<u64>>,
    /// The last commit whose writer has gone on.
    settled: usize,
}

impl Truth {
    pub(crate) fn new(gates: Arc<Gates>) -> Arc<Self> {
        Arc::new(Self { gates, rows: Mutex::default() })
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    /// Begins anew, with the first version.
    pub(crate) fn reset(&self) {
        let mut rows = self.rows();
        *rows = Rows { at: rows.at, version: 1, is_big: false, history: vec![Some(1)], settled: 0 };
    }

    /// Commits the next version, or the deletion; its place in the history, and the version.
    pub(crate) fn commit(&self, is_there: bool, is_big: bool) -> (usize, u64) {
        let mut rows = self.rows();
        rows.at += 1;
        rows.version += 1;
        rows.is_big = is_big;
        let version = rows.version;
        rows.history.push(is_there.then_some(version));
        (rows.history.len() - 1, version)
    }

    /// The last commit: its place in the history, and the version, if it was no deletion.
    pub(crate) fn committed(&self) -> (usize, Option<u64>) {
        let rows = self.rows();
        let last = rows.history.len() - 1;
        (last, rows.history[last])
    }

    /// The writer of a commit has gone on: from now on nobody is told what was before.
    pub(crate) fn settle(&self, place: usize) {
        let mut rows = self.rows();
        rows.settled = rows.settled.max(place);
    }

    /// The earliest place in the history of which an answer may be, without and with a token of now.
    pub(crate) fn wants(&self, with_token: bool) -> (usize, Wanted) {
        let rows = self.rows();
        if with_token {
            (rows.history.len() - 1, Wanted::AtLeast(Position { history: LOG, at: rows.at }))
        } else {
            (rows.settled, Wanted::Recent)
        }
    }

    /// Whether that was true at a place in the history or later.
    pub(crate) fn was_true_since(&self, place: usize, answer: Option<u64>) -> bool {
        self.rows().history[place..].contains(&answer)
    }

    fn snapshot(&self) -> Loaded<Article> {
        let mut rows = self.rows();
        rows.at += 1;
        let position = Some(Position { history: LOG, at: rows.at });
        let is_big = rows.is_big;
        let value = rows.history.last().copied().flatten().map(|version| Article { version, is_big });
        Loaded { value, version: value.map_or(0, |article| article.version), position, keep: true }
    }

    /// What loads the article: if it `waits`, at one gate before, and at another one while the answer is on its way.
    pub(crate) fn loader(self: &Arc<Self>, waits: bool) -> impl Fn() -> Load + Send + Sync + 'static + use<> {
        let truth = Arc::clone(self);
        move || -> Load {
            let truth = Arc::clone(&truth);
            Box::pin(async move {
                if waits {
                    truth.gates.pass("its load begins").await;
                }
                let loaded = truth.snapshot();
                if waits {
                    truth.gates.pass("its load has answered").await;
                }
                Ok(loaded)
            })
        }
    }

    /// What fails at once: for who looks what the tiers have.
    pub(crate) fn none() -> impl Fn() -> Load + Send + Sync + 'static {
        || -> Load { Box::pin(async { Err(Failure) }) }
    }
}
