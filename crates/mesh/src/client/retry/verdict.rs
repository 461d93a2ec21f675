//! What an attempt's end means for the call.

use http::HeaderMap;
use tonic::Code;

use super::attempt::Attempted;
use crate::transport::Fate;

/// What a server says about the next attempt, in milliseconds; negative: there must be none.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The end of an attempt as retries and hedging see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was answered, by headers or with OK: the call is committed to it.
    Answered,
    /// It failed, and no retry may follow.
    Last,
    /// It never left this process.
    NotSent,
    /// The server's application never saw it.
    Refused(Failure),
    /// It failed.
    Failed(Failure),
}

/// A failure that a policy may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) pushback: Option<Pushback>,
}

/// What the server says about the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushback {
    /// It comes after exactly so many milliseconds.
    After(u32),
    /// There is none.
    Never,
}

/// Judges an attempt.
pub(super) fn judge<B>(attempted: &Attempted<B>) -> Verdict {
    match &attempted.result {
        Ok(response) => match attempted.ended {
            None | Some(Code::Ok) => Verdict::Answered,
            Some(code) => Verdict::Failed(Failure { code, pushback: pushback(response.headers()) }),
        },
        Err(error) if error.last => Verdict::Last,
        Err(error) => {
            let failure = Failure { code: error.status.code(), pushback: pushback(error.status.metadata().as_ref()) };
            match error.fate {
                Fate::NotSent => Verdict::NotSent,
                Fate::Refused => Verdict::Refused(failure),
                Fate::Sent => Verdict::Failed(failure),
            }
        }
    }
}

/// A signed 32-bit decimal; anything else, and more than one value, means that there must be no retry.
fn pushback(headers: &HeaderMap) -> Option<Pushback> {
    let mut values = headers.get_all(PUSHBACK).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return Some(Pushback::Never);
    }
    let delay = first.to_str().ok().and_then(|value| value.parse::<i32>().ok());
    Some(delay.and_then(|delay| u32::try_from(delay).ok()).map_or(Pushback::Never, Pushback::After))
}
