//! Buckets in the process: sharded, bounded in number, decided without waiting.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::Rate;
use super::bucket::{Bucket, Verdict, duration};
use super::debt::Debt;
use super::decision::{Decision, OnFailure, Quota};
use super::key::BucketName;

const SHARDS: usize = 64;
/// How often a shard that is used looks for buckets that are full by now, in microseconds.
const SWEEP_EVERY: u64 = 1_000_000;

/// What a call wants of one bucket.
#[derive(Clone, Debug)]
pub(in crate::server) struct Want {
    /// The place of its rule, for the decision.
    pub(super) rule: usize,
    pub(super) name: BucketName,
    pub(super) rate: Rate,
    /// How many instances share the bucket.
    pub(super) instances: u32,
    pub(super) on_failure: OnFailure,
}

/// What one call wants of all buckets that it counts in: seldom more than two.
pub(in crate::server) type Wants = SmallVec<[Want; 2]>;

/// Which rate the buckets go by.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    Rate,
    /// That of this instance while buckets that are shared are out of reach.
    Share,
}

impl By {
    fn of(self, want: &Want) -> Rate {
        match self {
            Self::Rate => want.rate,
            Self::Share => want.rate.share(want.instances),
        }
    }
}

/// The buckets of a process. Full ones are forgotten; above the limit of their number those go that would be full soonest.
#[derive(Debug)]
pub(super) struct Local {
    by: By,
    /// The zero of the clock.
    start: Instant,
    hasher: RandomState,
    shards: Box<[Shard]>,
    max_per_shard: usize,
}

/// On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Box<[u8]>, Entry, RandomState>,
    /// In microseconds, as all times here.
    swept: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// None: full.
    bucket: Option<Bucket>,
    full_at: u64,
    /// Somebody else's denial that holds until then.
    denied_until: u64,
    lease: Lease,
    /// Until then somebody is about to take the next ones.
    claimed_until: u64,
    /// What was admitted here in place of the shared bucket.
    debt: Debt,
}

/// Tokens that were taken from a shared bucket in advance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lease {
    tokens: u64,
    /// The level of the shared bucket without them, in token·units.
    level: u64,
    /// When they were asked for, by [`Local::now`].
    asked: u64,
    /// Until when they may be spent.
    until: u64,
}

impl Lease {
    /// `tokens` that were asked for at `asked` and left the bucket at `level`, to be spent within `lifetime`.
    pub fn new(tokens: u64, level: u64, asked: u64, lifetime: Duration) -> Self {
        Self { tokens, level, asked, until: after(asked, lifetime) }
    }

    /// How many may still be spent at `now`. What comes back to the bucket takes the place of what is lent: the bucket and all
    /// that is lent of it never hold more than a burst, else `burst + rate × t` would not hold of calls, which come later
    /// than their tokens are taken. Nobody has to know of the leases of others for that: what they take lowers the level
    /// that is reckoned with here.
    fn left(&self, rate: &Rate, now: u64) -> u64 {
        if now >= self.until {
            return 0;
        }
        // A unit more: both clocks are rounded.
        let elapsed = now.saturating_sub(self.asked).div_ceil(rate.unit()) + 1;
        let level = self.level.saturating_add(elapsed.saturating_mul(rate.count()));
        self.tokens.min(rate.tokens(rate.capacity().saturating_sub(level)))
    }
}

impl Entry {
    fn holding(self, rate: &Rate, bucket: Bucket) -> Self {
        let full_at = (bucket.at + bucket.until(rate, rate.capacity(), bucket.at)).saturating_mul(rate.unit());
        Self { bucket: Some(bucket), full_at, ..self }
    }

    /// When it is as good as none.
    fn idle_at(&self) -> u64 {
        self.full_at.max(self.denied_until).max(self.lease.until).max(self.claimed_until).max(self.debt.until)
    }
}

impl Local {
    /// No buckets, later at most about `max_keys`.
    pub fn new(by: By, max_keys: usize) -> Self {
        Self {
            by,
            start: Instant::now(),
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            max_per_shard: max_keys.div_ceil(SHARDS).max(1),
        }
    }

    /// The time since the start, in microseconds.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn place(&self, want: &Want) -> usize {
        (self.hasher.hash_one(want.name.as_bytes()) as usize) % SHARDS
    }

    fn lock(&self, place: usize, now: u64) -> MutexGuard<'_, Table> {
        // Nothing in a table is left half done by a panic.
        let mut table = self.shards[place].0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(table.swept) >= SWEEP_EVERY {
            table.sweep(now);
        }
        table
    }

    /// Takes a token for each, if every bucket has one.
    pub fn take(&self, wants: &[Want]) -> Decision {
        let now = self.now();
        if let [want] = wants {
            return self.take_one(want, now);
        }
        // Locked in one order, so that two calls never wait for each other.
        let mut places: SmallVec<[usize; 4]> = wants.iter().map(|want| self.place(want)).collect();
        let of_want = places.clone();
        places.sort_unstable();
        places.dedup();
        let mut guards: SmallVec<[MutexGuard<'_, Table>; 4]> =
            places.iter().map(|place| self.lock(*place, now)).collect();
        let mut tables: SmallVec<[&mut Table; 4]> = guards.iter_mut().map(|guard| &mut **guard).collect();
        let table_of: SmallVec<[usize; 4]> =
            of_want.iter().map(|place| places.binary_search(place).unwrap_or_default()).collect();
        self.take_locked(wants, &mut tables, &table_of, now)
    }

    fn take_one(&self, want: &Want, now: u64) -> Decision {
        let rate = &self.by.of(want);
        let at = now / rate.unit();
        let mut table = self.lock(self.place(want), now);
        let known = table.entries.get_mut(want.name.as_bytes());
        let entry = known.as_deref().copied().unwrap_or_default();
        let (verdict, bucket) = Bucket::filled(rate, entry.bucket, at).ask(rate, 1, at);
        if !verdict.allowed {
            return Decision::Denied { rule: want.rule, retry_after: duration(rate, verdict.retry_after) };
        }
        let entry = entry.holding(rate, bucket);
        match known {
            Some(known) => *known = entry,
            None => table.put(want.name.as_bytes(), entry, now, self.max_per_shard),
        }
        Decision::Admitted { quota: Some(quota(want, rate, verdict)) }
    }

    fn take_locked(&self, wants: &[Want], tables: &mut [&mut Table], table_of: &[usize], now: u64) -> Decision {
        let mut left: SmallVec<[Entry; 2]> = SmallVec::new();
        let mut denied: Option<(usize, Duration)> = None;
        let mut fewest: Option<Quota> = None;
        for (want, table) in wants.iter().zip(table_of) {
            let rate = &self.by.of(want);
            let at = now / rate.unit();
            let entry = tables[*table].get(want);
            let (verdict, bucket) = Bucket::filled(rate, entry.bucket, at).ask(rate, 1, at);
            left.push(entry.holding(rate, bucket));
            fewest = Some(quota(want, rate, verdict).fewer(fewest));
            let wait = duration(rate, verdict.retry_after);
            if !verdict.allowed && denied.is_none_or(|(_, longest)| wait > longest) {
                denied = Some((want.rule, wait));
            }
        }
        if let Some((rule, retry_after)) = denied {
            return Decision::Denied { rule, retry_after };
        }
        for ((want, table), entry) in wants.iter().zip(table_of).zip(left) {
            tables[*table].put(want.name.as_bytes(), entry, now, self.max_per_shard);
        }
        Decision::Admitted { quota: fewest }
    }

    /// The denial that [`Local::take`] would end with now. Takes nothing, and leaves no trace of who is asked about.
    pub fn peek<'w>(&self, wants: impl IntoIterator<Item = &'w Want>) -> Option<Decision> {
        let now = self.now();
        let mut denied: Option<(usize, Duration)> = None;
        for want in wants {
            let rate = &self.by.of(want);
            let at = now / rate.unit();
            let bucket = self.lock(self.place(want), now).get(want).bucket;
            let (verdict, _) = Bucket::filled(rate, bucket, at).ask(rate, 1, at);
            let wait = duration(rate, verdict.retry_after);
            if !verdict.allowed && denied.is_none_or(|(_, longest)| wait > longest) {
                denied = Some((want.rule, wait));
            }
        }
        denied.map(|(rule, retry_after)| Decision::Denied { rule, retry_after })
    }

    /// Takes what there is, up to so many tokens each: somebody else has admitted them.
    pub fn charge(&self, wants: &[Want], tokens: u64) {
        for want in wants {
            self.change(want, |entry, now| {
                let rate = &self.by.of(want);
                let bucket = Bucket::filled(rate, entry.bucket, now / rate.unit()).charge(rate, tokens);
                *entry = entry.holding(rate, bucket);
            });
        }
    }

    /// Gives a token back to a bucket.
    pub fn give_back(&self, want: &Want) {
        self.change(want, |entry, now| {
            let rate = &self.by.of(want);
            let bucket = Bucket::filled(rate, entry.bucket, now / rate.unit()).give_back(rate);
            *entry = entry.holding(rate, bucket);
        });
    }

    /// Keeps in mind that a token of each was taken here in place of the shared buckets, which have to be charged with it.
    pub fn owe(&self, wants: &[Want]) {
        for want in wants {
            self.change(want, |entry, now| entry.debt = entry.debt.more(&want.rate, want.instances, now));
        }
    }

    /// Owes the shared bucket a token less: whether one was owed.
    pub fn forgive(&self, want: &Want) -> bool {
        self.change(want, |entry, now| match entry.debt.less(&want.rate, want.instances, now) {
            Some(debt) => {
                entry.debt = debt;
                true
            }
            None => false,
        })
    }

    /// What the shared bucket has to be charged with, if anything: it is not owed any more, unless it is [given
    /// back](Local::owe_again).
    pub fn take_debt(&self, want: &Want) -> Debt {
        let now = self.now();
        let mut table = self.lock(self.place(want), now);
        table.entries.get_mut(want.name.as_bytes()).map(|entry| std::mem::take(&mut entry.debt)).unwrap_or_default()
    }

    /// Owes what could not be charged.
    pub fn owe_again(&self, want: &Want, debt: Debt) {
        self.change(want, |entry, now| entry.debt = entry.debt.and(debt, &want.rate, want.instances, now));
    }

    fn change<T>(&self, want: &Want, change: impl FnOnce(&mut Entry, u64) -> T) -> T {
        let now = self.now();
        let mut table = self.lock(self.place(want), now);
        let mut entry = table.get(want);
        let result = change(&mut entry, now);
        table.put(want.name.as_bytes(), entry, now, self.max_per_shard);
        result
    }

    /// Keeps in mind that somebody else denies it for a while.
    pub fn deny(&self, want: &Want, wait: Duration) {
        self.change(want, |entry, now| entry.denied_until = entry.denied_until.max(after(now, wait)));
    }

    /// Spends a token that was taken in advance: how many are left of them, if there was one.
    pub fn spend(&self, want: &Want) -> Option<u64> {
        let now = self.now();
        let mut table = self.lock(self.place(want), now);
        let entry = table.entries.get_mut(want.name.as_bytes())?;
        let left = entry.lease.left(&want.rate, now).checked_sub(1)?;
        entry.lease.tokens = left;
        Some(left)
    }

    /// Whether the caller is the one to take tokens in advance: one at a time, else many would take more than are used.
    pub fn claim(&self, want: &Want, patience: Duration) -> bool {
        self.change(want, |entry, now| {
            let free = entry.claimed_until <= now;
            if free {
                entry.claimed_until = after(now, patience);
            }
            free
        })
    }

    /// Keeps tokens to be spent, in place of those that are left of earlier ones, and ends the claim.
    pub fn keep(&self, want: &Want, lease: Lease) {
        self.change(want, |entry, _| (entry.lease, entry.claimed_until) = (lease, 0));
    }

    /// The denial that holds for longest, as [`Local::deny`] was told.
    pub fn denied(&self, wants: &[Want]) -> Option<Decision> {
        let now = self.now();
        let still = |want: &Want| {
            let table = self.lock(self.place(want), now);
            (table.get(want).denied_until.saturating_sub(now), want.rule)
        };
        let (left, rule) = wants.iter().map(still).max()?;
        (left > 0).then(|| Decision::Denied { rule, retry_after: Duration::from_micros(left) })
    }

    /// How many buckets there are; those that are full by now aren't.
    pub fn keys(&self) -> usize {
        let now = self.now();
        (0..SHARDS)
            .map(|place| {
                let mut table = self.lock(place, now);
                table.sweep(now);
                table.entries.len()
            })
            .sum()
    }
}

/// What is left of a bucket.
fn quota(want: &Want, rate: &Rate, verdict: Verdict) -> Quota {
    Quota { rule: want.rule, remaining: verdict.remaining, reset_after: duration(rate, verdict.reset) }
}

fn after(now: u64, wait: Duration) -> u64 {
    now.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX))
}

impl Table {
    /// What is known of a bucket; of a full one nothing.
    fn get(&self, want: &Want) -> Entry {
        self.entries.get(want.name.as_bytes()).copied().unwrap_or_default()
    }

    fn put(&mut self, name: &[u8], entry: Entry, now: u64, max: usize) {
        if let Some(old) = self.entries.get_mut(name) {
            *old = entry;
            return;
        }
        if self.entries.len() >= max {
            self.make_room(now, max);
        }
        self.entries.insert(name.into(), entry);
    }

    fn sweep(&mut self, now: u64) {
        self.swept = now;
        self.entries.retain(|_, entry| entry.idle_at() > now);
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// Forgets a quarter of the buckets, those that would be full soonest: so it costs little for each new one.
    fn make_room(&mut self, now: u64, max: usize) {
        self.sweep(now);
        if self.entries.len() < max {
            return;
        }
        let mut ends: Vec<u64> = self.entries.values().map(Entry::idle_at).collect();
        let middle = ends.len() / 4;
        let (_, limit, _) = ends.select_nth_unstable(middle);
        let limit = *limit;
        let mut spare = middle + 1;
        self.entries.retain(|_, entry| {
            let goes = spare > 0 && entry.idle_at() <= limit;
            spare -= usize::from(goes);
            !goes
        });
    }
}
