//! When the link's task tries again: paces that grow while nothing helps.

use std::time::Duration;

use tokio::time::Instant;

/// A link that was up for so long was well: what comes then is another loss, not the same one.
const STEADY: Duration = Duration::from_secs(10);

/// The first pause before another attempt to make up for a loss: a beat.
const SHORTEST: Duration = Duration::from_millis(250);
/// The longest one after an attempt that failed.
const LONGEST_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// The longest one after a link that was lost soon after it came up. Recovery is more patient than requests are: with a Redis
/// that is slow, the link would go up and down for ever, and drop the local tier each time.
const LONGEST_AFTER_FLAP: Duration = Duration::from_secs(4);

/// When a connection without any answer is replaced, and what that grows to while no other gets one.
const UNANSWERED: Duration = Duration::from_secs(2);
const LONGEST_UNANSWERED: Duration = Duration::from_secs(16);
/// When another client is tried after one that has given up.
pub(super) const AFTER_END: Duration = Duration::from_secs(10);

/// When the next attempt to make up for a loss may begin.
#[derive(Debug)]
pub(super) struct Recoveries {
    born: Instant,
    not_before: Instant,
    after_failure: Duration,
    after_flap: Duration,
    up_since: Option<Instant>,
}

impl Recoveries {
    pub fn new() -> Self {
        let born = Instant::now();
        Self { born, not_before: born, after_failure: SHORTEST, after_flap: SHORTEST, up_since: None }
    }

    pub fn is_due(&self) -> bool {
        Instant::now() >= self.not_before
    }

    /// An attempt has failed.
    pub fn failed(&mut self) {
        self.not_before = Instant::now() + self.after_failure;
        self.after_failure = (self.after_failure * 2).min(LONGEST_AFTER_FAILURE);
    }

    /// The link has come up.
    pub fn up(&mut self) {
        self.after_failure = SHORTEST;
        self.up_since = Some(Instant::now());
    }

    /// The link is down, as it may have been before; whether since the cache asked for another recovery.
    pub fn down(&mut self, is_asked: bool) {
        let Some(since) = self.up_since.take() else { return };
        if since.elapsed() >= STEADY {
            self.after_flap = SHORTEST;
        } else if is_asked && self.born.elapsed() < STEADY {
            // At the start of a process, one after the other asks for its part in recoveries: the link is well.
            tracing::debug!("cache: what was missed is made up for once more, for who has come since");
        } else {
            self.not_before = Instant::now() + self.after_flap;
            self.after_flap = (self.after_flap * 2).min(LONGEST_AFTER_FLAP);
        }
    }
}

/// For how long a connection has been without an answer. A connection whose other end is gone fails no write for minutes.
#[derive(Debug)]
pub(super) struct Silence {
    since: Instant,
    bound: Duration,
}

impl Silence {
    pub fn new() -> Self {
        Self { since: Instant::now(), bound: UNANSWERED }
    }

    /// The server has answered, whatever it was.
    pub fn answered(&mut self) {
        *self = Self::new();
    }

    /// There is a new connection, by itself.
    pub fn connected(&mut self) {
        self.since = Instant::now();
    }

    /// Another one is looked for instead.
    pub fn replaced(&mut self) {
        self.since = Instant::now();
        self.bound = (self.bound * 2).min(LONGEST_UNANSWERED);
    }

    /// Nobody looks for one any more.
    pub fn ended(&mut self) {
        *self = Self { since: Instant::now(), bound: AFTER_END };
    }

    /// Whether it has lasted too long.
    pub fn is_over(&self) -> bool {
        self.since.elapsed() >= self.bound
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// How long it takes until it is so, in steps of 50 ms.
    async fn until(is_so: impl Fn() -> bool) -> Duration {
        let begin = Instant::now();
        while !is_so() {
            advance(Duration::from_millis(50)).await;
        }
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_flaps_pauses_for_longer_each_time_and_is_forgiven_after_ten_seconds() {
        let mut recoveries = Recoveries::new();
        assert!(recoveries.is_due());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            recoveries.up();
            advance(Duration::from_millis(300)).await;
            recoveries.down(false);
            recoveries.down(false);
            pauses.push(until(|| recoveries.is_due()).await.as_millis());
        }
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 4_000, 4_000, 4_000]);
        recoveries.up();
        advance(STEADY).await;
        recoveries.down(false);
        assert!(recoveries.is_due(), "a link that was well is made up for at once");
        recoveries.up();
        recoveries.down(false);
        assert_eq!(until(|| recoveries.is_due()).await, SHORTEST);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_a_recovery_at_the_start_costs_no_pause() {
        let mut recoveries = Recoveries::new();
        for _ in 0..5 {
            recoveries.up();
            advance(Duration::from_millis(100)).await;
            recoveries.down(true);
            assert!(recoveries.is_due());
        }
        recoveries.up();
        recoveries.down(false);
        assert_eq!(until(|| recoveries.is_due()).await, SHORTEST, "nobody has asked for that");
        advance(STEADY).await;
        recoveries.up();
        recoveries.down(true);
        assert_eq!(until(|| recoveries.is_due()).await, SHORTEST * 2, "that is no start any more");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_fail_are_at_most_two_seconds_apart() {
        let mut recoveries = Recoveries::new();
        let mut pauses = Vec::new();
        for _ in 0..5 {
            recoveries.failed();
            pauses.push(until(|| recoveries.is_due()).await.as_millis());
        }
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 2_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_answers_is_replaced_after_two_seconds_and_others_get_more_time() {
        let mut silence = Silence::new();
        advance(Duration::from_millis(1_900)).await;
        silence.answered();
        assert_eq!(until(|| silence.is_over()).await, UNANSWERED);
        let mut bounds = Vec::new();
        for _ in 0..4 {
            silence.replaced();
            bounds.push(until(|| silence.is_over()).await.as_secs());
        }
        assert_eq!(bounds, [4, 8, 16, 16]);
        // It has just been made: it gets its time.
        silence.connected();
        assert!(!silence.is_over());
        silence.answered();
        assert_eq!(until(|| silence.is_over()).await, UNANSWERED);
        silence.ended();
        assert_eq!(until(|| silence.is_over()).await, AFTER_END);
    }
}
