//! Early refresh by XFetch: the dearer a load and the nearer the end, the likelier a reader has it done ahead of time.

use std::time::Duration;

use tokio::time::Instant;

/// How eager: 1 is the optimum of the paper (Vattani, Chierichetti, Lowenstein, 2015).
const BETA: f64 = 1.0;
/// Not more than this ahead, however the dice fall.
const MAX_AHEAD: f64 = 3_600.0;

/// Whether what ends at `expiry` should be loaded at `now`: `now − Δ·β·ln(rand) ≥ expiry`, where Δ is how long a load takes and
/// `rand` lies in 0..1.
pub(crate) fn is_due(now: Instant, expiry: Instant, load: Duration, rand: f64) -> bool {
    let ahead = -load.as_secs_f64() * BETA * rand.max(f64::MIN_POSITIVE).ln();
    now + Duration::from_secs_f64(ahead.clamp(0.0, MAX_AHEAD)) >= expiry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_due_by_the_length_of_a_load_and_by_chance() {
        let now = Instant::now();
        let load = Duration::from_millis(100);
        let in_ms = |ms| now + Duration::from_millis(ms);
        // −ln(0.5) is 0.69.
        assert!(is_due(now, in_ms(69), load, 0.5));
        assert!(!is_due(now, in_ms(70), load, 0.5));
        assert!(is_due(now, in_ms(400), load, 0.01));
        assert!(!is_due(now, in_ms(1), Duration::ZERO, 0.01));
        assert!(is_due(now, now, Duration::ZERO, 0.999));
    }

    #[tokio::test(start_paused = true)]
    async fn no_chance_makes_it_panic() {
        let now = Instant::now();
        assert!(is_due(now, now + Duration::from_secs(1), Duration::MAX, 0.0));
        assert!(!is_due(now, now + Duration::from_secs(7_200), Duration::MAX, 0.0));
    }
}
