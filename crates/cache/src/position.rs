//! Places in a source's log: how a reader that has written asks for what it wrote.

/// A place in the log of the source of truth, such as PostgreSQL's write-ahead log.
///
/// That of a value was taken **before** its load began; that of a reader's token after its write was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log: places of two histories (another server, another timeline) say nothing about each other.
    pub history: u128,
    /// The place in it, in bytes or entries. `u64::MAX` stands for "unknown": it covers nothing and is covered by nothing.
    pub at: u64,
}

impl Position {
    /// Whether a value that was loaded after this place surely holds what was committed before `asked`.
    ///
    /// Only a place that is strictly later does: a commit's record may be in the log before readers see what it wrote.
    pub fn covers(&self, asked: &Position) -> bool {
        self.history == asked.history && self.at > asked.at && self.at != u64::MAX
    }
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wanted {
    /// What was current a moment ago: at most 1 s, longer only while the source of truth fails.
    #[default]
    Recent,
    /// What holds everything that was committed before the position; never a stale value.
    AtLeast(Position),
}

impl Wanted {
    /// The position that must be covered.
    pub(crate) fn position(self) -> Option<Position> {
        match self {
            Self::Recent => None,
            Self::AtLeast(position) => Some(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_place_of_the_same_history_covers() {
        let at = |history, at| Position { history, at };
        assert!(at(1, 8).covers(&at(1, 7)));
        assert!(!at(1, 7).covers(&at(1, 7)));
        assert!(!at(1, 6).covers(&at(1, 7)));
        assert!(!at(2, 8).covers(&at(1, 7)));
    }

    #[test]
    fn an_unknown_place_covers_nothing_and_is_covered_by_nothing() {
        let at = |at| Position { history: 1, at };
        assert!(!at(u64::MAX).covers(&at(7)));
        assert!(!at(u64::MAX - 1).covers(&at(u64::MAX)));
    }
}
