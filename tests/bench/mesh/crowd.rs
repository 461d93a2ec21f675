//! A crowd: more callers than there are streams, each of which calls again when it is answered, and how long they wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use crate::client;
use crate::load::{LONGEST_US, cpu_us};
use crate::paths::Path;

/// One call in so many says how long it waited for a stream; the others are spared the trace.
const SAMPLE: u32 = 64;
/// How long the calls that are under way at the end may take.
const END: Duration = Duration::from_secs(5);

/// Before the window, in it, and after it.
const WARM: u8 = 0;
const OPEN: u8 = 1;
const OVER: u8 = 2;

/// What a crowd has seen.
struct Crowd {
    /// Good calls that ended in the window.
    calls: u64,
    /// Bad ones, and callers that got no answer at all.
    failed: u64,
    seconds: f64,
    /// User and system time of this process in the window, in microseconds.
    cpu_us: f64,
    /// How long the calls took that ended in the window or were under way at its end, failed ones too, in microseconds:
    /// who waited throughout it counts.
    times: Histogram<u64>,
    /// How long those of them that were sampled waited for a stream; empty when the path can't tell.
    waits: Histogram<u64>,
}

/// What one caller has seen. Nothing is shared while calls are made.
#[derive(Default)]
struct Seen {
    calls: u64,
    failed: u64,
    times: Vec<Duration>,
    waits: Vec<Duration>,
}

/// Serves lines from standard input, `CALLERS WARM_MS WINDOW_MS`: writes `window` when that begins, and a line of JSON when
/// it has ended.
pub async fn run<P: Path>(path: P) {
    let mut lines = client::lines();
    while let Some(line) = lines.recv().await {
        let numbers: Vec<u32> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let [warm, window] = [numbers[1], numbers[2]].map(|time| Duration::from_millis(time.into()));
        let seen = look(&path, numbers[0], warm, window).await;
        let wait = (!seen.waits.is_empty()).then(|| seen.waits.value_at_quantile(0.99));
        let answer = json!({
            "calls": seen.calls, "failed": seen.failed, "seconds": seen.seconds, "cpu_us": seen.cpu_us,
            "p50_us": seen.times.value_at_quantile(0.5), "p99_us": seen.times.value_at_quantile(0.99),
            "wait_p99_us": wait,
        });
        println!("{answer}");
    }
}

/// Lets so many callers call, and looks at them in `window`, which begins after `warm`.
async fn look<P: Path>(path: &P, callers: u32, warm: Duration, window: Duration) -> Crowd {
    let phase = Arc::new(AtomicU8::new(WARM));
    let tasks: Vec<_> =
        (0..callers).map(|number| tokio::spawn(call(path.clone(), number, Arc::clone(&phase)))).collect();
    tokio::time::sleep(warm).await;
    println!("window");
    let (start, cpu) = (Instant::now(), cpu_us());
    phase.store(OPEN, Ordering::Relaxed);
    tokio::time::sleep(window).await;
    phase.store(OVER, Ordering::Relaxed);
    let (seconds, cpu_us) = (start.elapsed().as_secs_f64(), cpu_us() - cpu);
    let times = || Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap();
    let mut crowd = Crowd { calls: 0, failed: 0, seconds, cpu_us, times: times(), waits: times() };
    let end = tokio::time::Instant::now() + END;
    for mut task in tasks {
        let Ok(seen) = tokio::time::timeout_at(end, &mut task).await else {
            task.abort();
            crowd.failed += 1;
            continue;
        };
        crowd.add(&seen.unwrap());
    }
    crowd
}

/// Calls until the window is over, and tells of what was not over when it began.
async fn call<P: Path>(mut path: P, number: u32, phase: Arc<AtomicU8>) -> Seen {
    let mut seen = Seen::default();
    // Callers begin at different places, so that some are sampled at any time.
    for turn in number.. {
        let start = Instant::now();
        let (result, wait) =
            if turn.is_multiple_of(SAMPLE) { path.traced().await } else { (path.call(None).await, None) };
        let phase = phase.load(Ordering::Relaxed);
        if phase != WARM {
            seen.times.push(start.elapsed());
            seen.waits.extend(wait);
            seen.failed += u64::from(result.is_err());
        }
        if phase == OVER {
            break;
        }
        seen.calls += u64::from(phase == OPEN && result.is_ok());
        if result.is_err() {
            // A path that fails at once must not starve the rest of the machine.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    seen
}

impl Crowd {
    fn add(&mut self, seen: &Seen) {
        self.calls += seen.calls;
        self.failed += seen.failed;
        for (histogram, times) in [(&mut self.times, &seen.times), (&mut self.waits, &seen.waits)] {
            for time in times {
                histogram.saturating_record(u64::try_from(time.as_micros()).unwrap());
            }
        }
    }
}
