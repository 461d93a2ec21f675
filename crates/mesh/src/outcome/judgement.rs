//! The one place that judges: what an end says about the server.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};

/// How an attempt or a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server, or the mesh in its place, answered with this code; `Ok` among them.
    Status(Code),
    /// The attempt took longer than its `attemptTimeout`.
    TimedOut,
    /// The caller let go before the end: says nothing about the server.
    Cancelled,
    /// It ended with this code by what its caller did: a deadline that was too short, a body that failed or never came, a
    /// limit of the caller's own. It says nothing about the server.
    Caller(Code),
}

/// How long a server must have been waited for until a deadline speaks against it, where no `attemptTimeout` says so; a tenth
/// less is enough, since a deadline of one second leaves its attempt a little less than that.
const PATIENCE: Duration = Duration::from_secs(1);

/// Marks, among the sources of a status, that it was made on this side by what the caller did: see [`Outcome::of_error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call ended by what its caller did")]
pub struct CallerFault;

impl Outcome {
    /// Whether it speaks against the server: UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL, UNKNOWN, DATA_LOSS, or an
    /// attempt that timed out.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Status(code) => matches!(
                code,
                Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Unknown | Code::DataLoss
            ),
            Self::TimedOut => true,
            Self::Cancelled | Self::Caller(_) => false,
        }
    }

    /// Whether it says anything about the server: not what its caller did, and not CANCELLED, by whichever side.
    pub fn is_judged(self) -> bool {
        !matches!(self, Self::Cancelled | Self::Caller(_) | Self::Status(Code::Cancelled))
    }

    /// The outcome `code` of an attempt for which the server was waited for `waited`; `None`: its request was never sent
    /// whole. A deadline speaks against the server only after `patience`, the `attemptTimeout` or a second.
    pub fn of(code: Code, waited: Option<Duration>, patience: Option<Duration>) -> Self {
        let late = || waited.is_some_and(|waited| waited >= patience.unwrap_or(PATIENCE).mul_f64(0.9));
        if code == Code::DeadlineExceeded && !late() { Self::Caller(code) } else { Self::Status(code) }
    }

    /// What an error of a call or of a body says: the first status among it and its sources, or UNKNOWN where there is
    /// none; as the caller's doing where [`CallerFault`] is among them.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use meshwork::outcome::{CallerFault, Outcome};
    /// use tonic::{Code, Status};
    ///
    /// let mut status = Status::resource_exhausted("the message is too long");
    /// assert_eq!(Outcome::of_error(&status), Outcome::Status(Code::ResourceExhausted));
    /// status.set_source(Arc::new(CallerFault));
    /// assert_eq!(Outcome::of_error(&status), Outcome::Caller(Code::ResourceExhausted));
    /// ```
    pub fn of_error(error: &(dyn Error + 'static)) -> Self {
        let (mut code, mut by_caller) = (None, false);
        for error in std::iter::successors(Some(error), |&error| error.source()) {
            code = code.or_else(|| error.downcast_ref::<Status>().map(Status::code));
            by_caller |= error.is::<CallerFault>();
        }
        let code = code.unwrap_or(Code::Unknown);
        if by_caller { Self::Caller(code) } else { Self::Status(code) }
    }

    /// The code that a caller gets for it.
    pub fn code(self) -> Code {
        match self {
            Self::Status(code) | Self::Caller(code) => code,
            Self::TimedOut => Code::Unavailable,
            Self::Cancelled => Code::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("around")]
    struct Around(#[source] Box<dyn Error + Send + Sync>);

    fn by_caller(mut status: Status) -> Status {
        status.set_source(Arc::new(CallerFault));
        status
    }

    #[test]
    fn an_error_is_judged_by_the_first_status_among_its_sources() {
        let around = |error: Box<dyn Error + Send + Sync>| Outcome::of_error(&Around(error));
        assert_eq!(around(Status::data_loss("lost").into()), Outcome::Status(Code::DataLoss));
        assert_eq!(around("no status".into()), Outcome::Status(Code::Unknown));
        let inner = Status::internal("inside");
        let mut outer = Status::not_found("outside");
        outer.set_source(Arc::new(inner));
        assert_eq!(Outcome::of_error(&outer), Outcome::Status(Code::NotFound));
    }

    #[test]
    fn what_the_caller_did_is_found_however_deep_it_lies() {
        let failed = || by_caller(Status::internal("the caller's body failed"));
        assert_eq!(Outcome::of_error(&failed()), Outcome::Caller(Code::Internal));
        assert_eq!(Outcome::of_error(&Around(failed().into())), Outcome::Caller(Code::Internal));
        let mut around = Status::unavailable("with a report");
        around.set_source(Arc::new(Around(Box::new(CallerFault))));
        assert_eq!(Outcome::of_error(&around), Outcome::Caller(Code::Unavailable));
        assert!(!Outcome::of_error(&around).is_judged());
    }

    #[test]
    fn a_deadline_speaks_against_a_server_that_was_waited_for_long_enough() {
        let of = |waited, patience| Outcome::of(Code::DeadlineExceeded, waited, patience);
        let (short, long) = (Duration::from_millis(300), Duration::from_millis(950));
        assert_eq!(of(None, None), Outcome::Caller(Code::DeadlineExceeded));
        assert_eq!(of(Some(short), None), Outcome::Caller(Code::DeadlineExceeded));
        assert_eq!(of(Some(long), None), Outcome::Status(Code::DeadlineExceeded));
        assert_eq!(of(Some(short), Some(short)), Outcome::Status(Code::DeadlineExceeded));
        assert_eq!(Outcome::of(Code::Internal, None, None), Outcome::Status(Code::Internal));
    }
}
