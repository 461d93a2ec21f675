//! What the store holds.

use bytes::Bytes;
use meshwork_sql::to_micros;
use time::OffsetDateTime;
use xxhash_rust::xxh3::xxh3_128;

use crate::Context;

/// The name of a damaged commit's stream, when that can't be read either.
pub const UNREADABLE_STREAM: &str = "an unreadable stream";

/// An event to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The type, such as `order_created`.
    pub event_type: &'static str,
    /// The version of the type's schema, from 1.
    pub schema_version: u16,
    /// The encoded event.
    pub data: Bytes,
}

/// An event in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The stream's version after it, from 1.
    pub version: i64,
    /// The type, such as `order_created`.
    pub event_type: String,
    /// The version of the type's schema, from 1.
    pub schema_version: u16,
    /// The encoded event.
    pub data: Bytes,
}

/// Where a commit stands among all of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition.
    pub partition: u16,
    /// The place in the partition: dense, in commit order, from 1.
    pub n: i64,
}

/// What one command has appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The stream.
    pub stream: String,
    /// The command's id, unique in the stream.
    pub command_id: String,
    /// The hash of the command's payload.
    pub command_hash: [u8; 32],
    /// Where the commit stands in its partition.
    pub position: Position,
    /// When it was made, by the clock of who made it: informative, no order follows from it.
    pub at: OffsetDateTime,
    /// What the command was answered, for when it comes again.
    pub result: Bytes,
    /// Its events, in order of version.
    pub events: Vec<StoredEvent>,
    /// Why it was made; nothing is known of commits that earlier releases have made.
    pub context: Context,
    /// What is wrong with what the store holds, when it can't be understood: then there are no events. Only readers of a
    /// partition meet such a commit, so that one damaged stream doesn't stop the others.
    pub damage: Option<Damage>,
}

/// What is wrong with a commit that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// A sentence about it, for the log and for whoever puts it right.
    pub problem: String,
    /// The version of its stream that it begins with, so that what lies before can be told from what is lost; `None` where
    /// either can't be read.
    pub first_version: Option<i64>,
}

impl Commit {
    /// The stream's version after this commit; 0 for a commit without events.
    pub fn version(&self) -> i64 {
        self.events.last().map_or(0, |event| event.version)
    }

    /// The bytes of its events and of its result.
    pub(crate) fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.data.len()).sum::<usize>() + self.result.len()
    }

    /// What fills a position whose commit was lost, so that those who follow the partition can go on: no stream, no
    /// events.
    pub fn tombstone(position: Position, at: OffsetDateTime) -> Self {
        Self {
            stream: String::new(),
            command_id: format!("tombstone/{}/{}", position.partition, position.n),
            command_hash: [0; 32],
            position,
            at,
            result: Bytes::new(),
            events: Vec::new(),
            context: Context::default(),
            damage: None,
        }
    }

    /// Whether this only fills a position.
    pub fn is_tombstone(&self) -> bool {
        self.stream.is_empty()
    }

    /// What tells this commit from another one at its position: a short text made of its stream, its command's id, its first
    /// version and its time, the same in every store that holds it. Empty for a damaged commit, of which that isn't known. The
    /// mapping never changes: checkpoints of projections depend on it.
    pub fn identity(&self) -> String {
        if self.damage.is_some() {
            return String::new();
        }
        let first = self.events.first().map_or(0, |event| event.version);
        // The length tells where the stream ends and the id of the command begins.
        let told = format!("{} {first} {} {}{}", to_micros(self.at), self.stream.len(), self.stream, self.command_id);
        format!("{:032x}", xxh3_128(told.as_bytes()))
    }
}

/// The first version above `after` that is missing from before a later one, in a stream's commits in order of version.
pub(crate) fn missing_version(commits: &[Commit], after: i64) -> Option<i64> {
    let mut next = after.saturating_add(1);
    for event in commits.iter().flat_map(|commit| &commit.events) {
        if event.version > next {
            return Some(next);
        }
        next = next.max(event.version.saturating_add(1));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(stream: &str, command_id: &str, first: i64, second: i64) -> Commit {
        let event = |version| StoredEvent {
            version,
            event_type: "moved".to_owned(),
            schema_version: 1,
            data: Bytes::from_static(b"data"),
        };
        let at = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(second);
        Commit {
            stream: stream.to_owned(),
            command_id: command_id.to_owned(),
            events: vec![event(first), event(first + 1)],
            ..Commit::tombstone(Position { partition: 2, n: 7 }, at)
        }
    }

    #[test]
    fn the_identity_never_changes() {
        assert_eq!(commit("orders/1", "confirm", 3, 1).identity(), "5452d7e5cf2535d7f19c26799e90c078");
        let tombstone = Commit { events: Vec::new(), ..commit("", "tombstone/2/7", 1, 1) };
        assert_eq!(tombstone.identity(), "dd6dd67b39f44763b4dbf35b6de989cb");
    }

    #[test]
    fn commits_that_differ_in_stream_command_version_or_time_are_told_apart() {
        let others = [
            commit("orders/1", "confirm", 3, 1),
            commit("orders/2", "confirm", 3, 1),
            commit("orders/1", "cancel", 3, 1),
            commit("orders/1", "confirm", 4, 1),
            commit("orders/1", "confirm", 3, 2),
            // The same letters in all.
            commit("orders/1c", "onfirm", 3, 1),
        ];
        let identities: std::collections::BTreeSet<_> = others.iter().map(Commit::identity).collect();
        assert_eq!(identities.len(), others.len());
    }

    #[test]
    fn the_identity_of_a_damaged_commit_is_not_known() {
        let damage = Some(Damage { problem: "planted".to_owned(), first_version: None });
        assert_eq!(Commit { damage, ..commit("orders/1", "confirm", 3, 1) }.identity(), "");
    }
}
