//! Finding a lane's place in its stream.

use super::api::{Api, Failure};
use super::names::Names;
use super::stored::{self, Stored};
use crate::cloudevents::DecodeError;
use crate::{Envelope, Lane, Position};

/// How many unreadable messages in a row are passed over.
const UNREADABLE: usize = 1_000;
/// How far back the last readable message is looked for.
const LOOK_BACK: u64 = 1 << 16;

/// The last event that was published in order, and the sequence of the last message: the fence of the next (NT-2,
/// NT-4).
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) event: Option<Envelope>,
    pub(super) seq: u64,
}

/// Reads a lane's tail from the stream's leader.
pub(super) async fn tail(api: &Api, lane: &Lane) -> Result<Tail, Failure> {
    let names = Names::of(lane);
    let Some(last) = stored::last(api, &names.stream, &names.published).await? else { return Ok(Tail::default()) };
    let seq = last.seq;
    match last.event(lane) {
        Ok(event) => return Ok(Tail { event: Some(event), seq }),
        Err(error) => unreadable(&names, &last, &error),
    }
    // Somebody else has published there. What we published last stands before it.
    let mut step = 64;
    while step <= LOOK_BACK {
        let (mut event, mut at) = (None, seq.saturating_sub(step));
        while let Some((stored, readable)) = readable(api, lane, &names, at).await? {
            if stored.seq >= seq {
                break;
            }
            (event, at) = (Some(readable), stored.seq + 1);
        }
        if event.is_some() || step >= seq {
            return Ok(Tail { event, seq });
        }
        step *= 4;
    }
    Err(Failure::Lost(format!("no event in the last {LOOK_BACK} messages of {} can be read", names.published)))
}

/// The sequence of the first message that was published in order behind a position; `None` when there is none.
pub(super) async fn first_behind(api: &Api, lane: &Lane, position: Position) -> Result<Option<u64>, Failure> {
    let tail = tail(api, lane).await?;
    first_up_to(api, lane, position, &tail).await
}

/// The sequence from which on everything lies that is behind a position, though it comes later only.
pub(super) async fn start_behind(api: &Api, lane: &Lane, position: Position) -> Result<u64, Failure> {
    // One look at the tail: the lane may be growing.
    let tail = tail(api, lane).await?;
    Ok(first_up_to(api, lane, position, &tail).await?.unwrap_or(tail.seq + 1))
}

async fn first_up_to(api: &Api, lane: &Lane, position: Position, tail: &Tail) -> Result<Option<u64>, Failure> {
    let names = Names::of(lane);
    let Some(last) = tail.event.as_ref().filter(|event| event.position > position) else { return Ok(None) };
    tracing::trace!(%lane, last = last.position.n, "looks for a position");
    // Positions rise with sequences. Up to `low` none is behind; `high` is, and nothing between `bound` and it.
    let (mut low, mut high, mut bound) = (0, tail.seq, tail.seq);
    while bound - low > 1 {
        let middle = low + (bound - low) / 2;
        match readable(api, lane, &names, middle).await? {
            Some((stored, event)) if stored.seq < bound => {
                if event.position > position {
                    (high, bound) = (stored.seq, middle);
                } else {
                    low = stored.seq;
                }
            }
            _ => bound = middle,
        }
    }
    Ok(Some(high))
}

/// The first readable message at or behind a sequence that was published in order.
async fn readable(api: &Api, lane: &Lane, names: &Names, mut seq: u64) -> Result<Option<(Stored, Envelope)>, Failure> {
    for _ in 0..UNREADABLE {
        let Some(stored) = stored::next(api, &names.stream, &names.published, seq).await? else { return Ok(None) };
        match stored.event(lane) {
            Ok(event) => return Ok(Some((stored, event))),
            Err(error) => unreadable(names, &stored, &error),
        }
        seq = stored.seq + 1;
    }
    Err(Failure::Lost(format!("{UNREADABLE} messages in a row of {} can't be read", names.published)))
}

fn unreadable(names: &Names, stored: &Stored, problem: &DecodeError) {
    tracing::error!(
        stream = names.stream, subject = stored.subject, seq = stored.seq, %problem,
        "a message that is no event of ours is passed over"
    );
}
