//! What a consumer can't handle, until somebody puts it right.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::Envelope;

/// The namespace of the ids of dead letters (RFC 9562, version 5). It never changes.
const NAMESPACE: Uuid = Uuid::from_u128(0x0d1e_7a6b_44c0_4f52_9b1d_3e58_70c2_a9f4);

/// An event that is parked: it can't be handled, or another of its aggregate before it can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id; see [`DeadLetter::id_of`].
    pub id: Uuid,
    /// Whose letter it is.
    pub consumer: String,
    /// The stream that it came on.
    pub stream: String,
    /// The event.
    pub event: Envelope,
    /// Why it is parked.
    pub reason: String,
    /// How often it was tried.
    pub attempts: i64,
    /// Since when, by the database's clock.
    pub parked_at: OffsetDateTime,
}

impl DeadLetter {
    /// The id of a consumer's letter: the same however often the event is parked.
    pub fn id_of(consumer: &str, subject: &str, version: i64) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{consumer}\n{subject}\n{version}").as_bytes())
    }
}

/// Where a list of letters goes on: behind one that was parked then, with that id.
pub type LetterCursor = (i64, Uuid);

/// What is parked, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParkedSummary {
    /// How many events.
    pub letters: i64,
    /// Of how many aggregates.
    pub aggregates: i64,
    /// The aggregate that has waited longest, and why.
    pub first: Option<(String, String)>,
}
