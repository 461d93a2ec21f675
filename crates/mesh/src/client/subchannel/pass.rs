//! Happy eyeballs: the pass over the addresses, and the tries after it (gRFC A61).

use std::time::Duration;

use tokio::time::Instant;

use super::dial::dial;
use super::slots::{At, Pass};
use super::task::{Mode, Task};

impl Task {
    /// Begins a pass over all addresses.
    pub(super) fn begin(&mut self) {
        self.mode = Mode::Trying;
        self.failed = 0;
        for slot in &mut self.slots {
            slot.failed = false;
        }
        self.pass = Some(Pass::default());
        self.advance();
    }

    /// Goes on to the next address that can be tried: one in backoff is skipped, one that is being tried is adopted.
    fn advance(&mut self) {
        let now = Instant::now();
        let delay = self.options.happy_eyeballs_delay.clamp(Duration::from_millis(100), Duration::from_secs(2));
        while let Some(pass) = &mut self.pass {
            let index = pass.next;
            pass.timer = None;
            if index >= self.slots.len() {
                break;
            }
            pass.next += 1;
            // The last address has none to make way for.
            let timer = (pass.next < self.slots.len()).then(|| now + delay);
            let slot = &mut self.slots[index];
            if slot.is_due(now) {
                pass.timer = timer;
                self.dial(index);
                return;
            }
            if let At::Dialing(_) = slot.at {
                pass.timer = timer;
                return;
            }
            slot.failed = true;
        }
        self.end_pass();
    }

    /// When every address failed once: TRANSIENT_FAILURE until READY, and each address for itself from now on.
    fn end_pass(&mut self) {
        let Some(pass) = &self.pass else { return };
        if pass.next >= self.slots.len() && self.slots.iter().all(|slot| slot.failed) {
            self.pass = None;
            self.sticky = true;
            self.failed = 0;
            // Also in a pass that began in TRANSIENT_FAILURE.
            self.again = true;
            self.retry(Instant::now());
        }
    }

    /// Tries the addresses whose backoff ended, after the pass.
    pub(super) fn retry(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            if self.slots[index].is_due(now) {
                self.dial(index);
            }
        }
    }

    pub(super) fn tick_pass(&mut self, now: Instant) {
        match &self.pass {
            Some(pass) if pass.timer.is_some_and(|at| at <= now) => self.advance(),
            None if self.mode == Mode::Trying => self.retry(now),
            _ => {}
        }
    }

    fn dial(&mut self, index: usize) {
        let address = self.slots[index].address.clone();
        let (guard, dialing) = dial(address, false, &self.options, self.http2());
        self.slots[index].at = At::Dialing(guard);
        self.dials.push(dialing);
    }

    /// The try of an address failed. Its backoff counts from the beginning of the try.
    pub(super) fn failed(&mut self, index: usize, reason: String) {
        let slot = &mut self.slots[index];
        let delay = slot.failures.next(&self.options.backoff, &self.options.random);
        let At::Dialing(guard) = &slot.at else { return };
        slot.at = At::Waiting(guard.started + delay);
        slot.failed = true;
        slot.reason = Some(reason);
        match &self.pass {
            // The newest failed: the next one at once. The failure of an older one doesn't hurry it.
            Some(pass) if pass.next == index + 1 => self.advance(),
            Some(_) => self.end_pass(),
            None => {
                self.failed += 1;
                if self.failed >= self.slots.len() {
                    self.failed = 0;
                    self.again = true;
                }
            }
        }
    }
}
