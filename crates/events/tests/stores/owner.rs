//! The owner of aggregates, as consumers ask it for what they miss.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use meshwork_events::{Envelope, StreamReader};

use crate::feed::envelope;

/// Holds what it is given, and answers unless it is out of reach.
#[derive(Default)]
pub(crate) struct Owner {
    streams: Mutex<HashMap<String, i64>>,
    out_of_reach: AtomicBool,
    asked: AtomicU32,
}

impl Owner {
    /// It holds the events of a subject from the first to this version.
    pub(crate) fn hold(&self, subject: &str, last: i64) {
        self.streams.lock().unwrap().insert(subject.to_owned(), last);
    }

    pub(crate) fn out_of_reach(&self, is: bool) {
        self.out_of_reach.store(is, Ordering::Relaxed);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl StreamReader for Owner {
    async fn read_stream(&self, subject: &str, after: i64, limit: usize) -> Result<Vec<Envelope>, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.out_of_reach.load(Ordering::Relaxed) {
            return Err("it is out of reach".to_owned());
        }
        let last = self.streams.lock().unwrap().get(subject).copied().unwrap_or(0);
        Ok((after + 1..=last).take(limit).map(|version| envelope(subject, version, version)).collect())
    }
}
