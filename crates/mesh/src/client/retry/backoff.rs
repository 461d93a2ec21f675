//! How long to wait before the next attempt.

use std::time::Duration;

use crate::policy::RetryPolicy;
use crate::random::Random;

/// Rounds of transparent retries that follow each other at once; those after them wait.
const AT_ONCE: u32 = 8;
/// The longest wait between transparent retries.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The wait before a retry, `retries` after the first or after the last pushback: `min(initial · multiplier^retries, max)`
/// with jitter of ±20 % on top, so that it can be longer than the cap.
pub(super) fn delay(policy: &RetryPolicy, retries: u32, random: &Random) -> Duration {
    let power = policy.backoff_multiplier.powi(i32::try_from(retries).unwrap_or(i32::MAX));
    let grown = policy.initial_backoff.as_secs_f64() * power;
    // `min` takes the number if the other is none, as 0 × ∞.
    let capped = grown.min(policy.max_backoff.as_secs_f64());
    Duration::try_from_secs_f64(capped * random.between(0.8, 1.2)).unwrap_or(Duration::MAX)
}

/// The wait before a transparent retry after `made` of them. An attempt waits itself until it can be sent, so that one
/// which never left the process is repeated at once; what fails so again and again must not spin.
pub(super) fn pause(made: u32) -> Duration {
    match made.checked_sub(AT_ONCE) {
        None => Duration::ZERO,
        Some(over) => Duration::from_millis(1 << over.min(7)).min(LONGEST_PAUSE),
    }
}
