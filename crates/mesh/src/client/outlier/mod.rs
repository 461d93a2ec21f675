//! Outlier detection (gRFC A50): endpoints that fail much more than the others, or than a threshold, get no calls for a
//! while.

mod change;
mod counter;
mod identity;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use self::change::{Change, Method, Unenforced};
pub use self::counter::Counter;
pub use self::identity::{Key, key};
use crate::client::endpoint::Address;
use crate::policy::OutlierDetection;
use crate::random::Random;

/// What a shorter interval counts as: zero is valid by A50, but looking without a pause would keep a core busy.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// Decides which endpoints are ejected. Owned by one task, which ticks it; calls only touch the [`Counter`]s.
#[derive(Debug)]
pub struct OutlierDetector {
    /// `None` when there is nothing to do: neither algorithm is set.
    config: Option<OutlierDetection>,
    /// When the timer was started.
    started: Option<Instant>,
    /// In the order in which the resolver gave them.
    entries: Vec<Entry>,
    index: HashMap<Key, usize>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    name: Arc<str>,
    counter: Arc<Counter>,
    /// Successes and failures of the interval that just ended.
    ended: (u64, u64),
    ejected_at: Option<Instant>,
    multiplier: u32,
}

impl Entry {
    fn new(key: Key, enabled: bool) -> Self {
        let mut name = String::new();
        for (index, address) in key.iter().enumerate() {
            // Writing to a string can't fail.
            let _ = write!(name, "{}{address}", if index > 0 { "|" } else { "" });
        }
        let counter = Arc::new(Counter::new(enabled));
        Self { key, name: name.into(), counter, ended: (0, 0), ejected_at: None, multiplier: 0 }
    }

    fn volume(&self) -> u64 {
        self.ended.0 + self.ended.1
    }

    fn unejected(&mut self) -> Option<Change> {
        self.ejected_at.take().map(|_| Change::Unejected { key: self.key.clone(), endpoint: Arc::clone(&self.name) })
    }
}

impl OutlierDetector {
    /// Without endpoints. The first interval begins now, if the policy asks for anything.
    pub fn new(config: Option<OutlierDetection>, now: Instant) -> Self {
        let config = config.filter(enabled);
        let started = config.as_ref().map(|_| now);
        Self { config, started, entries: Vec::new(), index: HashMap::new() }
    }

    /// Takes the endpoints that there are now. The counts of those that stay go on, the others are forgotten.
    pub fn set_endpoints<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>) {
        let mut before: HashMap<Key, Entry> = self.entries.drain(..).map(|entry| (entry.key.clone(), entry)).collect();
        self.index.clear();
        for given in keys {
            let key = key(given);
            if self.index.contains_key(&key) {
                continue;
            }
            let entry = before.remove(&key).unwrap_or_else(|| Entry::new(key.clone(), self.config.is_some()));
            self.index.insert(key, self.entries.len());
            self.entries.push(entry);
        }
    }

    /// What the calls of an endpoint are counted by; `None` when there is no such endpoint.
    pub fn counter(&self, key: &[Address]) -> Option<Arc<Counter>> {
        self.entry(key).map(|entry| Arc::clone(&entry.counter))
    }

    /// Whether the endpoint gets no calls at the moment.
    pub fn is_ejected(&self, key: &[Address]) -> bool {
        self.entry(key).is_some_and(|entry| entry.ejected_at.is_some())
    }

    fn entry(&self, addresses: &[Address]) -> Option<&Entry> {
        let index = match self.index.get(addresses) {
            Some(index) => *index,
            None => *self.index.get(&key(addresses))?,
        };
        self.entries.get(index)
    }

    /// When [`tick`](Self::tick) is due; `None` when the policy asks for nothing.
    pub fn next_tick(&self) -> Option<Instant> {
        self.started?.checked_add(self.config.as_ref()?.interval.max(SHORTEST_INTERVAL))
    }

    /// Takes a new policy. The interval that runs goes on and ends by the new length; nothing to do takes every endpoint
    /// back.
    pub fn update(&mut self, config: Option<OutlierDetection>, now: Instant) -> Vec<Change> {
        self.config = config.filter(enabled);
        for entry in &self.entries {
            entry.counter.enable(self.config.is_some());
        }
        if self.config.is_some() {
            if self.started.is_none() {
                self.started = Some(now);
                for entry in &self.entries {
                    entry.counter.take();
                }
            }
            return Vec::new();
        }
        self.started = None;
        let unejected = |entry: &mut Entry| {
            entry.multiplier = 0;
            entry.unejected()
        };
        self.entries.iter_mut().filter_map(unejected).collect()
    }

    /// Ends an interval: looks at its counts, ejects and takes back.
    pub fn tick(&mut self, now: Instant, random: &Random) -> Vec<Change> {
        let Some(config) = self.config.clone() else { return Vec::new() };
        let mut changes = Vec::new();
        self.started = Some(now);
        for entry in &mut self.entries {
            entry.ended = entry.counter.take();
        }
        self.success_rate(&config, now, random, &mut changes);
        self.failure_percentage(&config, now, random, &mut changes);
        for entry in &mut self.entries {
            match entry.ejected_at {
                None => entry.multiplier = entry.multiplier.saturating_sub(1),
                Some(at) => {
                    let time = ejection_time(&config, entry.multiplier);
                    if at.checked_add(time).is_some_and(|until| now > until) {
                        changes.extend(entry.unejected());
                    }
                }
            }
        }
        changes
    }

    fn success_rate(&mut self, config: &OutlierDetection, now: Instant, random: &Random, changes: &mut Vec<Change>) {
        let Some(rule) = config.success_rate else { return };
        let volume = u64::from(rule.request_volume);
        let rate = |entry: &Entry| {
            // No calls qualify when none are asked for: 0 of 0 is no rate.
            (entry.volume() >= volume.max(1)).then(|| entry.ended.0 as f64 / entry.volume() as f64)
        };
        let rates: Vec<Option<f64>> = self.entries.iter().map(rate).collect();
        let qualified: Vec<f64> = rates.iter().flatten().copied().collect();
        if qualified.is_empty() || (qualified.len() as u64) < u64::from(rule.minimum_hosts) {
            return;
        }
        let count = qualified.len() as f64;
        let mean = qualified.iter().sum::<f64>() / count;
        let variance = qualified.iter().map(|rate| (rate - mean) * (rate - mean)).sum::<f64>() / count;
        let least = mean - variance.sqrt() * (f64::from(rule.stdev_factor) / 1000.0);
        for (index, rate) in rates.into_iter().enumerate() {
            if rate.is_some_and(|rate| rate < least) {
                let enforced = rule.enforcement_percentage;
                changes.push(self.eject(index, config, Method::SuccessRate, enforced, now, random));
            }
        }
    }

    fn failure_percentage(
        &mut self,
        config: &OutlierDetection,
        now: Instant,
        random: &Random,
        changes: &mut Vec<Change>,
    ) {
        let Some(rule) = config.failure_percentage else { return };
        let volume = u64::from(rule.request_volume).max(1);
        let hosts = self.entries.iter().filter(|entry| entry.volume() >= volume).count();
        if (hosts as u64) < u64::from(rule.minimum_hosts) {
            return;
        }
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            if entry.volume() < volume {
                continue;
            }
            // Multiplied first, a whole percentage is exact: 7 of 25 is 28 %, not a little more.
            let failed = entry.ended.1 as f64 * 100.0 / entry.volume() as f64;
            if failed > f64::from(rule.threshold) {
                let enforced = rule.enforcement_percentage;
                changes.push(self.eject(index, config, Method::FailurePercentage, enforced, now, random));
            }
        }
    }

    /// Ejects an endpoint, unless the share of those that already are, or chance, is against it. At the cap the loops go
    /// on, so that each ejection that is not carried out is reported.
    fn eject(
        &mut self,
        index: usize,
        config: &OutlierDetection,
        method: Method,
        enforced: u32,
        now: Instant,
        random: &Random,
    ) -> Change {
        let ejected = self.entries.iter().filter(|entry| entry.ejected_at.is_some()).count();
        let share = ejected as f64 * 100.0 / self.entries.len() as f64;
        let entry = &mut self.entries[index];
        let (key, endpoint) = (entry.key.clone(), Arc::clone(&entry.name));
        if share >= f64::from(config.max_ejection_percent) {
            return Change::Unenforced { key, endpoint, method, reason: Unenforced::MaxEjectionOverflow };
        }
        if random.below(100) as u64 >= u64::from(enforced) {
            return Change::Unenforced { key, endpoint, method, reason: Unenforced::EnforcementPercentage };
        }
        entry.ejected_at = Some(now);
        entry.multiplier = entry.multiplier.saturating_add(1);
        Change::Ejected { key, endpoint, method }
    }
}

fn enabled(config: &OutlierDetection) -> bool {
    config.success_rate.is_some() || config.failure_percentage.is_some()
}

fn ejection_time(config: &OutlierDetection, multiplier: u32) -> Duration {
    let base = config.base_ejection_time;
    base.saturating_mul(multiplier).min(base.max(config.max_ejection_time))
}
