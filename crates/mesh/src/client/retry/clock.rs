//! The time of one attempt: its own timeout, and the deadline of the call.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::attempt::{AttemptContext, AttemptError};

/// How long it takes at least until a clock looks again whether the server is waited for, however short the timeout is.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);

/// What ended an attempt that was not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Its own timeout, which was so long: another attempt may follow.
    Timeout(Duration),
    /// The deadline of the call.
    Deadline,
}

impl From<Expiry> for AttemptError {
    fn from(expiry: Expiry) -> Self {
        match expiry {
            Expiry::Timeout(timeout) => {
                Self::unavailable(&format!("no answer within the attempt's timeout of {timeout:?}"))
            }
            Expiry::Deadline => {
                Self::last(Status::deadline_exceeded("the deadline of the call passed before its answer"))
            }
        }
    }
}

pin_project! {
    /// Says when an attempt is over. It takes a timer when it is first asked.
    pub(crate) struct AttemptClock {
        timeout: Option<Duration>,
        deadline: Option<Instant>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl AttemptClock {
    pub(crate) fn new(context: &AttemptContext) -> Self {
        Self { timeout: context.timeout, deadline: context.deadline, sleep: None }
    }

    /// Waits until the attempt is over. Its own timeout counts `since` the server is waited for; `None` while it isn't, and
    /// then only the deadline ends the attempt.
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, since: Option<Instant>) -> Poll<Expiry> {
        let mut this = self.project();
        loop {
            // While the server isn't waited for, the timeout is when to look again.
            let own = this.timeout.and_then(|timeout| {
                let end = match since {
                    Some(since) => since.checked_add(timeout),
                    None => Instant::now().checked_add(timeout.max(SHORTEST_LOOK)),
                };
                Some((end?, Expiry::Timeout(timeout)))
            });
            let (end, expiry) = match (own, *this.deadline) {
                (Some((own, expiry)), deadline) if deadline.is_none_or(|deadline| own < deadline) => (own, expiry),
                (_, Some(deadline)) => (deadline, Expiry::Deadline),
                (_, None) => return Poll::Pending,
            };
            match this.sleep.as_mut().as_pin_mut() {
                None => this.sleep.set(Some(sleep_until(end))),
                // To put a timer off costs next to nothing, to put it forward costs a lock: one that goes off too early
                // stays until it has.
                Some(sleep) if sleep.deadline() != end && (since.is_some() || sleep.is_elapsed()) => sleep.reset(end),
                Some(_) => {}
            }
            let Some(mut sleep) = this.sleep.as_mut().as_pin_mut() else { return Poll::Pending };
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= end && (since.is_some() || expiry == Expiry::Deadline) {
                return Poll::Ready(expiry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn clock(timeout: Option<Duration>, deadline: Option<Duration>) -> AttemptClock {
        let deadline = deadline.map(|deadline| Instant::now() + deadline);
        AttemptClock { timeout, deadline, sleep: None }
    }

    /// What ends the attempt, and after how long; `since` is asked at each poll, as an exchange is.
    async fn ended(clock: AttemptClock, since: impl Fn() -> Option<Instant>) -> (Expiry, Duration) {
        let start = Instant::now();
        let mut clock = pin!(clock);
        let expiry = poll_fn(|cx| clock.as_mut().poll(cx, since())).await;
        (expiry, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_timeout_and_deadline_ends_an_attempt() {
        let now = Some(Instant::now());
        let timeout = ended(clock(Some(ms(100)), Some(ms(200))), || now).await;
        assert_eq!(timeout, (Expiry::Timeout(ms(100)), ms(100)));
        let now = Some(Instant::now());
        let deadline = ended(clock(Some(ms(300)), Some(ms(200))), || now).await;
        assert_eq!(deadline, (Expiry::Deadline, ms(200)));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_server_is_not_waited_for_only_the_deadline_counts() {
        assert_eq!(ended(clock(Some(ms(30)), Some(ms(200))), || None).await, (Expiry::Deadline, ms(200)));
        // The server is waited for from 100 ms on, which is seen when the clock looks again.
        let sent = Instant::now() + ms(100);
        let since = || Some(sent).filter(|sent| *sent <= Instant::now());
        assert_eq!(ended(clock(Some(ms(80)), None), since).await, (Expiry::Timeout(ms(80)), ms(180)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_of_zero_does_not_spin() {
        assert_eq!(ended(clock(Some(ms(0)), Some(ms(20))), || None).await, (Expiry::Deadline, ms(20)));
        let now = Some(Instant::now());
        assert_eq!(ended(clock(Some(ms(0)), None), || now).await.0, Expiry::Timeout(ms(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_both_it_takes_no_timer() {
        let mut clock = pin!(clock(None, None));
        let asked = poll_fn(|cx| Poll::Ready(clock.as_mut().poll(cx, Some(Instant::now())))).await;
        assert!(asked.is_pending() && clock.sleep.is_none());
    }
}
