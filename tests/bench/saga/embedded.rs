//! All on embedded stores: the goal's rate, the highest rate that holds the goal, and how far lists are behind.

use std::time::Duration;

use meshwork_testkit::Up;
use meshwork_testkit::up::UNLIMITED;

use crate::Values;
use crate::lag::Lag;
use crate::load::Load;

/// What the goal is for: orders a second, and for how many seconds.
const RATE: u32 = 300;
const SECONDS: u32 = 20;
/// What 99 of a hundred orders may take from created to confirmed, in milliseconds.
const GOAL: f64 = 500.0;
/// Between which rates the highest one is looked for, in how many steps, of how many seconds each.
const LEAST: u32 = 25;
const MOST: u32 = 1200;
const STEPS: usize = 5;
const STEP: u32 = 10;
/// How long a step is apart from the one before, which may have been too much.
const PAUSE: Duration = Duration::from_secs(2);

pub(crate) async fn measure(values: &mut Values) {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    let load = Load::offer(&up, RATE, SECONDS).await;
    load.add_to(values, "embedded");

    let lag = Lag::open(&up).await;
    let (_, lag) = tokio::join!(Load::offer(&up, RATE - Lag::PER_SECOND, STEP), lag.sample(STEP));
    values.add("embedded_projection_lag_ms_p50", lag.millis(0.5));
    values.add("embedded_projection_lag_ms_p99", lag.millis(0.99));
    values.add("embedded_projection_lag_samples", lag.samples());
    values.add("embedded_highest_rate", highest(&up, load.holds(GOAL)).await);
}

/// The highest rate that holds the goal, by halving; 0 when even the least doesn't.
async fn highest(up: &Up, at_rate: bool) -> u32 {
    let (mut holds, mut too_much) = if at_rate { (RATE, MOST) } else { (0, RATE) };
    for _ in 0..STEPS {
        tokio::time::sleep(PAUSE).await;
        // In the middle by their ratio, not by their difference.
        let rate = (holds.max(LEAST) * too_much).isqrt();
        let load = Load::offer(up, rate, STEP).await;
        let good = load.holds(GOAL);
        eprintln!("  {rate}/s {}", if good { "holds the goal" } else { "is too much" });
        if good {
            holds = rate;
        } else {
            too_much = rate;
        }
    }
    holds
}
