//! A number that several threads change, and that a limit holds.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How much of something is taken.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicUsize);

impl Count {
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `more` unless that is above `limit`; 0: no limit. It is never above it, not for a moment either: others
    /// would be refused for what nobody gets.
    #[inline]
    pub fn grow(&self, more: usize, limit: usize) -> bool {
        self.grow_if(more, limit, |_, _| true).is_ok()
    }

    /// As [`Count::grow`], if `agreed` to the step from a number to another one, which may be asked for several.
    ///
    /// # Errors
    /// Whether it was the limit, or wasn't agreed.
    #[inline]
    pub fn grow_if(
        &self,
        more: usize,
        limit: usize,
        mut agreed: impl FnMut(usize, usize) -> bool,
    ) -> Result<(), NotGrown> {
        let mut before = self.now();
        loop {
            let after = before.checked_add(more).filter(|after| limit == 0 || *after <= limit);
            let Some(after) = after else { return Err(NotGrown::Limit) };
            if !agreed(before, after) {
                return Err(NotGrown::Disagreed);
            }
            // Who gives back sees what was done before, such as to other counts.
            match self.0.compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => before = now,
            }
        }
    }

    /// Takes away `less`, which must have been added, and gives what there was.
    #[inline]
    pub fn shrink(&self, less: usize) -> usize {
        self.0.fetch_sub(less, Ordering::AcqRel)
    }
}

/// Why a count stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotGrown {
    Limit,
    Disagreed,
}
