//! CA-2 in the process: the registrations of fills, under many schedules of threads; and the usual mistakes, which these
//! find.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Runner, thread};

use crate::registrations::{Joined, Registrations, Ticket};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

#[path = "../src/local/registrations.rs"]
#[allow(dead_code, reason = "the whole file, of which these tests need a part")]
mod registrations;

/// What the registrations are built on here: each use is a point where another thread may go on.
mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use shuttle::sync::{Arc, Mutex};
}

const SCHEDULES: usize = 10_000;
/// How many times a schedule of the other kind prefers another thread.
const DEPTH: usize = 4;
const KEY: &str = "lamp";

/// How a writer invalidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// By the version that it has committed.
    Versioned,
    /// Without it.
    Unversioned,
    /// By the version, and stores it unless the remote tier refuses it.
    WriteThrough,
}

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// An invalidation removes the entry and raises no floors.
    RemovesOnly,
    /// A fill registers when it has read already.
    ReadsFirst,
    /// A fill asks whether it may insert, and does so later.
    InsertsOutside,
    /// An invalidation is not repeated when the remote tier has been told.
    InvalidatesOnce,
    /// Readers go on to join a flight that was invalidated.
    JoinsAll,
}

struct World {
    registrations: Arc<Registrations<u64>>,
    committed: AtomicU64,
    /// The highest version whose invalidation has returned.
    settled: AtomicU64,
    /// The version that the remote tier has, or has a tombstone of: it refuses what is lower.
    remote: AtomicU64,
    entry: Mutex<Option<u64>>,
    /// A read of what had been replaced: the version, and the one that was settled.
    violation: Mutex<Option<(u64, u64)>>,
    /// The flight that was registered last, for [`Mistake::JoinsAll`].
    last_flight: Mutex<Option<u64>>,
    mistake: Mistake,
}

impl World {
    fn insert(&self, version: u64) {
        let mut entry = self.entry.lock().unwrap();
        if entry.is_none_or(|there| there <= version) {
            *entry = Some(version);
        }
    }

    fn finish(&self, ticket: Ticket<u64>, version: u64) {
        if self.mistake == Mistake::InsertsOutside {
            if ticket.floor() <= version {
                drop(ticket);
                self.insert(version);
            }
            return;
        }
        ticket.finish(version, || self.insert(version));
    }

    /// One fill that nobody waits for, such as a refresh.
    fn fill(&self) {
        if self.mistake == Mistake::ReadsFirst {
            let version = self.committed.load(Ordering::SeqCst);
            let ticket = self.registrations.begin(KEY);
            return self.finish(ticket, version);
        }
        let ticket = self.registrations.begin(KEY);
        let version = self.committed.load(Ordering::SeqCst);
        self.finish(ticket, version);
    }

    /// A read: of the entry, or by a flight, which carries what was settled when it began.
    fn read(&self) {
        let settled = self.settled.load(Ordering::SeqCst);
        let entry = *self.entry.lock().unwrap();
        if let Some(version) = entry {
            return self.judge(version, settled);
        }
        let joins_all = self.mistake == Mistake::JoinsAll;
        if joins_all && let Some(began) = *self.last_flight.lock().unwrap() {
            return self.judge(began, settled);
        }
        match self.registrations.join(KEY, |_| true, || self.committed.load(Ordering::SeqCst)) {
            // What was committed when the flight began is the least that it answers.
            Joined::Follows(began) => self.judge(began, settled),
            Joined::Leads(ticket, began) => {
                if joins_all {
                    *self.last_flight.lock().unwrap() = Some(began);
                }
                let version = self.committed.load(Ordering::SeqCst);
                self.finish(ticket, version);
                self.judge(version, settled);
            }
        }
    }

    fn judge(&self, version: u64, settled: u64) {
        if version < settled {
            *self.violation.lock().unwrap() = Some((version, settled));
        }
    }

    fn invalidate(&self, version: Option<u64>) {
        let remove = || {
            let mut entry = self.entry.lock().unwrap();
            if version.is_none_or(|version| entry.is_some_and(|there| there < version)) {
                *entry = None;
            }
        };
        if self.mistake == Mistake::RemovesOnly {
            remove();
        } else {
            self.registrations.invalidate(KEY, version, remove);
        }
    }

    fn write(&self, writer: Writer) {
        let committed = self.committed.fetch_add(1, Ordering::SeqCst) + 1;
        let version = (writer != Writer::Unversioned).then_some(committed);
        // A write-through is registered as a fill is.
        let ticket = (writer == Writer::WriteThrough).then(|| self.registrations.begin(KEY));
        self.invalidate(version);
        let is_stored = version.is_some_and(|version| self.remote.fetch_max(version, Ordering::SeqCst) <= version);
        if self.mistake != Mistake::InvalidatesOnce {
            self.invalidate(version);
        }
        if let Some(ticket) = ticket.filter(|_| is_stored) {
            self.finish(ticket, committed);
        }
        self.settled.fetch_max(committed, Ordering::SeqCst);
    }
}

/// Two fills, readers and writers at the same time; at the end there is nothing old, and nothing old was read.
fn race(writers: &[Writer], mistake: Mistake) {
    let world = Arc::new(World {
        registrations: Registrations::new(),
        committed: AtomicU64::new(1),
        settled: AtomicU64::new(1),
        remote: AtomicU64::new(1),
        entry: Mutex::new(None),
        violation: Mutex::new(None),
        last_flight: Mutex::new(None),
        mistake,
    });
    let mut threads = Vec::new();
    for _ in 0..2 {
        let filler = Arc::clone(&world);
        threads.push(thread::spawn(move || filler.fill()));
        let reader = Arc::clone(&world);
        threads.push(thread::spawn(move || {
            reader.read();
            reader.read();
        }));
    }
    for writer in writers.iter().copied() {
        let world = Arc::clone(&world);
        threads.push(thread::spawn(move || world.write(writer)));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let (entry, committed) = (*world.entry.lock().unwrap(), world.committed.load(Ordering::SeqCst));
    assert!(entry.is_none_or(|version| version == committed), "{entry:?} is left, {committed} was committed");
    let violation = *world.violation.lock().unwrap();
    assert_eq!(violation, None, "a version was read, and a later one was settled");
    assert_eq!(world.registrations.open_keys(), 0, "nothing stays registered");
}

fn run(scheduler: impl Scheduler + 'static, writers: &[Writer], mistake: Mistake) {
    let mut config = shuttle::Config::new();
    config.silence_warnings = true;
    config.stack_size = 0x2_0000;
    let writers = writers.to_vec();
    Runner::new(scheduler, config).run(move || race(&writers, mistake));
}

/// The mixes of writers.
const WRITERS: [&[Writer]; 5] = [
    &[Writer::WriteThrough, Writer::Versioned],
    &[Writer::Versioned, Writer::Unversioned],
    &[Writer::WriteThrough],
    &[Writer::Versioned],
    &[Writer::Unversioned],
];

#[test]
fn ca_2_no_schedule_leaves_or_reads_what_was_replaced() {
    for writers in WRITERS {
        run(RandomScheduler::new(SCHEDULES / WRITERS.len()), writers, Mistake::None);
    }
}

#[test]
fn ca_2_no_schedule_of_few_preferences_leaves_or_reads_what_was_replaced() {
    for writers in WRITERS {
        run(PctScheduler::new(DEPTH, SCHEDULES / WRITERS.len()), writers, Mistake::None);
    }
}

/// Whether the schedules find the mistake.
fn is_caught(mistake: Mistake) -> bool {
    let fails = |check: &dyn Fn()| catch_unwind(AssertUnwindSafe(check)).is_err();
    WRITERS.iter().any(|writers| {
        fails(&|| run(RandomScheduler::new(SCHEDULES), writers, mistake))
            || fails(&|| run(PctScheduler::new(DEPTH, SCHEDULES), writers, mistake))
    })
}

#[test]
fn ca_2_a_mutant_whose_invalidations_raise_no_floors_is_caught() {
    assert!(is_caught(Mistake::RemovesOnly));
}

#[test]
fn ca_2_a_mutant_that_reads_before_it_registers_is_caught() {
    assert!(is_caught(Mistake::ReadsFirst));
}

#[test]
fn ca_2_a_mutant_that_inserts_after_it_asked_is_caught() {
    assert!(is_caught(Mistake::InsertsOutside));
}

#[test]
fn ca_2_a_mutant_that_invalidates_before_the_remote_tier_only_is_caught() {
    assert!(is_caught(Mistake::InvalidatesOnce));
}

#[test]
fn ca_4_a_mutant_whose_readers_join_a_flight_that_was_invalidated_is_caught() {
    assert!(is_caught(Mistake::JoinsAll));
}
