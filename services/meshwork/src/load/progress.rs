//! How a run is getting on, on standard error.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::tally::{Counts, Tally};

/// How often it is shown on a terminal, and elsewhere.
const PERIODS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Shows what is counted, until it is aborted.
pub async fn show(tally: Tally) {
    let terminal = std::io::stderr().is_terminal();
    let period = if terminal { PERIODS.0 } else { PERIODS.1 };
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Counts::default();
    loop {
        ticks.tick().await;
        let counts = tally.counts();
        let placed = counts.offered.saturating_sub(before.offered) / period.as_secs().max(1);
        let shown = line(&counts, placed);
        if terminal {
            eprint!("\r\x1b[2K{shown}");
        } else {
            eprintln!("{shown}");
        }
        before = counts;
    }
}

/// Takes the line from a terminal again.
pub fn clear() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K");
    }
}

fn line(counts: &Counts, per_second: u64) -> String {
    let Counts { created, confirmed, rejected, cancelled, failed, in_flight, .. } = counts;
    format!(
        "{created} placed, {confirmed} confirmed, {rejected} rejected, {cancelled} cancelled, {failed} failed, \
         {in_flight} in flight, {per_second}/s"
    )
}
