//! The pieces of a move, as they were when it began, and the SQL conditions on them.

use serde::{Deserialize, Serialize};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::shards::{PieceRange, ShardId, ShardMap};

/// A statement whose parameters are being bound.
pub(super) type Statement = Query<'static, Postgres, PgArguments>;

/// A statement. Its text is made of this module's own and of the names in
/// [`MovedTable`](crate::shards::moving::MovedTable), which are our text too; what comes from rows or maps is bound.
pub(super) fn statement(sql: impl Into<String>) -> Statement {
    sqlx::query(sqlx::AssertSqlSafe(sql.into()))
}

/// One of the pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub piece: i32,
    pub version: i64,
    /// Of a hashed space.
    pub slot: Option<i32>,
    /// Of a space of ranges: its first key,
    pub low: Option<String>,
    /// and its end, unless it is the last one.
    pub high: Option<String>,
}

/// The pieces, sorted by number: the order in which their locks are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub space: i16,
    pub parts: Vec<Part>,
}

impl Parts {
    /// Those with these numbers, which `from` must own.
    pub fn of(map: &ShardMap, space: i16, pieces: &[i32], from: ShardId) -> Result<Self, String> {
        let mut wanted = pieces.to_vec();
        wanted.sort_unstable();
        if wanted.is_empty() {
            return Err("it names no piece; name at least one".to_owned());
        }
        if let Some(pair) = wanted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("it names piece {} twice", pair[0]));
        }
        let mut parts = Vec::new();
        for info in map.pieces(space) {
            if wanted.binary_search(&info.piece).is_err() {
                continue;
            }
            if info.shard != from {
                return Err(format!("piece {} belongs to shard {}, not to shard {from}", info.piece, info.shard));
            }
            let (slot, low, high) = match info.range {
                PieceRange::Slot(slot) => (Some(i32::from(slot)), None, None),
                PieceRange::Keys { low, high } => (None, Some(low), high),
            };
            parts.push(Part { piece: info.piece, version: info.version, slot, low, high });
        }
        parts.sort_unstable_by_key(|part| part.piece);
        if let Some(missing) = wanted.iter().find(|wanted| !parts.iter().any(|part| part.piece == **wanted)) {
            return Err(format!("space {space} has no piece {missing}; list its pieces and choose some of them"));
        }
        Ok(Self { space, parts })
    }

    /// Their numbers.
    pub fn pieces(&self) -> Vec<i32> {
        self.parts.iter().map(|part| part.piece).collect()
    }

    /// Their versions, in the same order.
    pub fn versions(&self) -> Vec<i64> {
        self.parts.iter().map(|part| part.version).collect()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.parts.len() as u64
    }

    /// Of ranges, their first keys and their ends, in the same order; of slots nothing.
    pub fn ranges(&self) -> (Vec<String>, Vec<Option<String>>) {
        self.parts.iter().filter_map(|part| Some((part.low.clone()?, part.high.clone()))).unzip()
    }

    /// Whether a key may lie in pieces of both.
    pub fn overlap(&self, other: &Self) -> bool {
        let begins_below = |low: &Option<String>, high: &Option<String>| match (low, high) {
            (Some(low), Some(high)) => low < high,
            (low, _) => low.is_some(),
        };
        let meet = |one: &Part, two: &Part| {
            let is_slot = one.slot.is_some() && one.slot == two.slot;
            is_slot || (begins_below(&one.low, &two.high) && begins_below(&two.low, &one.high))
        };
        self.space == other.space && self.parts.iter().any(|one| other.parts.iter().any(|two| meet(one, two)))
    }

    /// For people: `3, 4 and 5 more of space 0`.
    pub fn shown(&self) -> String {
        let first: Vec<_> = self.parts.iter().take(8).map(|part| part.piece.to_string()).collect();
        let more = match self.parts.len() - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more} of space {}", first.join(", "), self.space)
    }

    fn are_slots(&self) -> bool {
        self.parts.iter().all(|part| part.slot.is_some())
    }

    /// Whether a row lies in one of them, from the expressions of its slot and its key. Its parameters are the first ones of
    /// the statement, bound by [`Parts::bind`].
    pub fn condition(&self, slot: &str, key: &str) -> String {
        if self.are_slots() {
            return format!("{slot} = ANY($1::int[])");
        }
        let mut at = 0;
        let mut next = || {
            at += 1;
            at
        };
        let ranges = self.parts.iter().map(|part| {
            // The order of keys is that of their bytes, whatever the locale of the database.
            let low = format!("{key} >= ${} COLLATE \"C\"", next());
            match part.high {
                Some(_) => format!("({low} AND {key} < ${} COLLATE \"C\")", next()),
                None => format!("({low})"),
            }
        });
        let ranges: Vec<_> = ranges.collect();
        format!("({})", ranges.join(" OR "))
    }

    /// How many parameters the condition has.
    pub fn parameters(&self) -> usize {
        if self.are_slots() {
            return 1;
        }
        self.parts.iter().map(|part| 1 + usize::from(part.high.is_some())).sum()
    }

    /// Binds the parameters of the condition.
    pub fn bind(&self, mut statement: Statement) -> Statement {
        if self.are_slots() {
            let slots: Vec<i32> = self.parts.iter().filter_map(|part| part.slot).collect();
            return statement.bind(slots);
        }
        for part in &self.parts {
            statement = statement.bind(part.low.clone().unwrap_or_default());
            if let Some(high) = &part.high {
                statement = statement.bind(high.clone());
            }
        }
        statement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(piece: i32, low: &str, high: Option<&str>) -> Part {
        Part { piece, version: 1, slot: None, low: Some(low.to_owned()), high: high.map(str::to_owned) }
    }

    #[test]
    fn the_condition_on_ranges_numbers_its_parameters_and_the_last_range_has_no_end() {
        let parts = Parts { space: 0, parts: vec![range(1, "", Some("g")), range(2, "t", None)] };
        let condition = parts.condition("t.slot", "t.id");
        assert_eq!(condition, "((t.id >= $1 COLLATE \"C\" AND t.id < $2 COLLATE \"C\") OR (t.id >= $3 COLLATE \"C\"))");
        assert_eq!(parts.parameters(), 3);
    }

    fn slot(slot: i32) -> Part {
        Part { piece: slot, version: 1, slot: Some(slot), low: None, high: None }
    }

    #[test]
    fn pieces_overlap_by_their_keys_whatever_their_numbers() {
        let of = |space, part| Parts { space, parts: vec![part] };
        let middle = of(0, range(1, "c", Some("m")));
        for (other, overlap) in [
            (of(0, range(2, "k", None)), true),
            (of(0, range(3, "", Some("d"))), true),
            (of(0, range(4, "d", Some("e"))), true),
            (of(0, range(5, "m", None)), false),
            (of(0, range(6, "", Some("c"))), false),
            (of(1, range(1, "c", Some("m"))), false),
        ] {
            assert_eq!(middle.overlap(&other), overlap, "{other:?}");
            assert_eq!(other.overlap(&middle), overlap, "{other:?}");
        }
        assert!(of(0, slot(3)).overlap(&of(0, slot(3))));
        assert!(!of(0, slot(3)).overlap(&of(0, slot(4))));
    }

    #[test]
    fn slots_are_one_parameter() {
        let parts = Parts { space: 0, parts: (0..20).map(slot).collect() };
        assert_eq!(parts.condition("t.slot", "t.id"), "t.slot = ANY($1::int[])");
        assert_eq!(parts.parameters(), 1);
        assert_eq!(parts.shown(), "0, 1, 2, 3, 4, 5, 6, 7 and 12 more of space 0");
    }
}
