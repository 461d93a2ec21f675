//! The two kinds of load: so many calls in flight, and so many calls a second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::paths::Path;

/// How many calls are in flight when neither that nor the rate is given.
pub const IN_FLIGHT: usize = 64;
/// How much longer than its deadline a call is waited for before it counts as failed.
const GRACE: Duration = Duration::from_millis(200);
/// How many calls may be under way in an open loop; all those of a deadline at the highest rate are below it.
const MOST: usize = 100_000;

/// The longest time that is told apart, in microseconds.
pub const LONGEST_US: u64 = 60_000_000;

/// What a closed loop has done in its window.
pub struct Closed {
    pub calls: u64,
    pub failed: u64,
    pub seconds: f64,
    /// User and system time of this process, in microseconds.
    pub cpu_us: f64,
}

/// Keeps so many calls going, and counts those that end in `window`, which begins after `warm`.
pub async fn closed<P: Path>(
    path: &P,
    in_flight: usize,
    warm: Duration,
    window: Duration,
    opened: impl FnOnce(),
) -> Closed {
    let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (mut path, done, failed, stop) =
                (path.clone(), Arc::clone(&done), Arc::clone(&failed), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if path.call(None).await.is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        // A path that fails at once must not starve the rest of the machine.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(warm).await;
    opened();
    let (start, calls, bad, cpu) =
        (Instant::now(), done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed), cpu_us());
    tokio::time::sleep(window).await;
    let closed = Closed {
        calls: done.load(Ordering::Relaxed) - calls,
        failed: failed.load(Ordering::Relaxed) - bad,
        seconds: start.elapsed().as_secs_f64(),
        cpu_us: cpu_us() - cpu,
    };
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
    }
    closed
}

/// Makes `calls` calls, [`IN_FLIGHT`] at a time; returns how many failed.
pub async fn count<P: Path>(path: &P, calls: usize) -> u64 {
    let (left, failed) = (Arc::new(AtomicU64::new(calls as u64)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (mut path, left, failed) = (path.clone(), Arc::clone(&left), Arc::clone(&failed));
            tokio::spawn(async move {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    failed.fetch_add(u64::from(path.call(None).await.is_err()), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    failed.load(Ordering::Relaxed)
}

/// A steady rate, and which of its calls count.
#[derive(Clone, Copy)]
pub struct Steady {
    pub per_second: f64,
    pub total: Duration,
    /// Calls that should start from here …
    pub from: Duration,
    /// … until here count.
    pub until: Duration,
    pub deadline: Duration,
}

/// What an open loop has seen in its window.
pub struct Open {
    pub calls: u64,
    pub failed: u64,
    /// The time from when a call should have started, in microseconds, failed calls included.
    pub times: Histogram<u64>,
}

/// Starts calls at a steady rate, whatever becomes of those before.
pub async fn open<P: Path>(path: &P, steady: Steady, opened: impl FnOnce()) -> Open {
    let seen = Arc::new(Mutex::new(Open {
        calls: 0,
        failed: 0,
        times: Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap(),
    }));
    let places = Arc::new(Semaphore::new(MOST));
    opened();
    let pacer = {
        let (path, seen, places, runtime) = (path.clone(), Arc::clone(&seen), Arc::clone(&places), Handle::current());
        // Tokio's timer ticks in milliseconds; a thread is as exact as the system.
        std::thread::spawn(move || pace(&path, steady, &seen, &places, &runtime))
    };
    tokio::task::spawn_blocking(move || pacer.join().unwrap()).await.unwrap();
    // All calls have a bound, so this ends.
    let _all = places.acquire_many(u32::try_from(MOST).unwrap()).await.unwrap();
    std::mem::replace(&mut *seen.lock().unwrap(), Open { calls: 0, failed: 0, times: Histogram::new(1).unwrap() })
}

fn pace<P: Path>(path: &P, steady: Steady, seen: &Arc<Mutex<Open>>, places: &Arc<Semaphore>, runtime: &Handle) {
    let start = Instant::now();
    let pause = Duration::from_secs_f64(1.0 / steady.per_second);
    for turn in 0u32.. {
        let offset = pause * turn;
        if offset >= steady.total {
            return;
        }
        let due = start + offset;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let counts = (steady.from..steady.until).contains(&offset);
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            if counts {
                let mut seen = seen.lock().unwrap();
                (seen.calls, seen.failed) = (seen.calls + 1, seen.failed + 1);
            }
            continue;
        };
        let (mut path, seen) = (path.clone(), Arc::clone(seen));
        runtime.spawn(async move {
            let _place = place;
            let call = tokio::time::timeout(steady.deadline + GRACE, path.call(Some(steady.deadline)));
            let good = matches!(call.await, Ok(Ok(())));
            let time = due.elapsed();
            if counts {
                let mut seen = seen.lock().unwrap();
                seen.calls += 1;
                seen.failed += u64::from(!good);
                seen.times.saturating_record(u64::try_from(time.as_micros()).unwrap());
            }
        });
    }
}

/// User and system time that this process has used, in microseconds.
pub fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    Duration::from(time).as_secs_f64() * 1e6
}
