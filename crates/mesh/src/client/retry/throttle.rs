//! `retryThrottling` of gRFC A6.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::policy::RetryThrottling;

/// A token, in thousandths.
const TOKEN: u32 = 1000;

/// The tokens of one server name, shared by all of its methods: a failure that is worth a retry takes one, a success gives
/// a part of one back, and retries and hedges go only while more than half are left. It never makes anyone wait.
#[derive(Debug)]
pub struct Throttle {
    max: u32,
    ratio: u32,
    tokens: AtomicU32,
}

impl Throttle {
    /// All tokens are there.
    pub fn new(policy: RetryThrottling) -> Self {
        let max = policy.max_milli_tokens;
        Self { max, ratio: policy.milli_token_ratio, tokens: AtomicU32::new(max) }
    }

    /// Whether a retry or hedge may go.
    pub(crate) fn allows(&self) -> bool {
        self.enough(self.tokens.load(Ordering::Relaxed))
    }

    /// Takes a token for an attempt that failed with a code worth a retry, or that came with the word not to retry. Whether
    /// a retry may go after that.
    pub(crate) fn failure(&self) -> bool {
        let take = |tokens: u32| Some(tokens.saturating_sub(TOKEN));
        match self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(before) | Err(before) => self.enough(before.saturating_sub(TOKEN)),
        }
    }

    /// Gives back what a call that ended with OK is worth. The driver of retries sees a call only until its headers, so who
    /// sees its end calls this: [`OnSuccess`](super::OnSuccess).
    pub(crate) fn success(&self) {
        // Full is the usual case, and needs no write to a line that all calls share.
        if self.tokens.load(Ordering::Relaxed) < self.max {
            let give = |tokens: u32| Some(tokens.saturating_add(self.ratio).min(self.max));
            let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
        }
    }

    /// The tokens that are left, in thousandths.
    pub fn milli_tokens(&self) -> u32 {
        self.tokens.load(Ordering::Relaxed)
    }

    fn enough(&self, tokens: u32) -> bool {
        u64::from(tokens) * 2 > u64::from(self.max)
    }
}
