//! Whether Redis still holds what it held, by what a beat tells (CA-7).

use fred::types::Value;

/// What names the data of a server. A flush takes it away, and older data has an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Epoch {
    /// A random number.
    id: String,
    /// How many beats of all processes were counted in it.
    beats: u64,
    /// By which a server that has taken over another one's data is told from the one before; empty where it never has.
    replication: String,
}

impl Epoch {
    /// From the answer of the script.
    pub fn of(answer: Value) -> Option<Self> {
        let [id, beats, replication] = <[Value; 3]>::try_from(answer.into_array()).ok()?;
        Some(Self { id: id.into_string()?, beats: beats.as_u64()?, replication: replication.into_string()? })
    }

    /// Why what is there now may be other or older data than at an earlier beat; `None` when it surely goes on from that.
    pub fn breaks_with(&self, before: &Self) -> Option<&'static str> {
        if self.id != before.id {
            // The client drops the message of a flush.
            return Some(
                "Redis was flushed, another server answers with other data, or keys of the cache's bookkeeping were evicted \
                 (raise maxmemory)",
            );
        }
        if self.beats <= before.beats {
            return Some("Redis has older data than before: a copy or a backup was put in its place");
        }
        // Counted from one beat to the next, what was lost in between would not be seen.
        let is_other = !self.replication.is_empty() && self.replication != before.replication;
        is_other.then_some(
            "another server answers, or Redis was a replica for a moment: what it holds may be older than it was",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: &str, beats: i64, replication: &str) -> Value {
        Value::Array(vec![Value::from(id), Value::Integer(beats), Value::from(replication)])
    }

    fn epoch(id: &str, beats: i64, replication: &str) -> Epoch {
        Epoch::of(answer(id, beats, replication)).unwrap()
    }

    #[test]
    fn ca_7_data_that_went_back_is_told_from_data_that_goes_on() {
        let before = epoch("a", 5, "");
        assert_eq!(epoch("a", 6, "").breaks_with(&before), None);
        assert_eq!(epoch("a", 900, "").breaks_with(&before), None, "others beat too");
        for other in [
            epoch("a", 5, ""),
            epoch("a", 1, ""),
            epoch("b", 1, ""),
            epoch("b", 900, ""),
            epoch("a", 6, "ab"),
            epoch("a", 6, "cd"),
        ] {
            assert!(other.breaks_with(&before).is_some(), "{other:?}");
        }
        // A server that has had no replica for an hour takes another id, and is none that has taken anything over.
        let heir = epoch("a", 5, "ab");
        assert_eq!(epoch("a", 6, "ab").breaks_with(&heir), None);
        assert_eq!(epoch("a", 6, "").breaks_with(&heir), None);
        assert!(epoch("a", 6, "cd").breaks_with(&heir).is_some());
    }

    #[test]
    fn what_is_no_answer_of_the_script_is_none() {
        for answer in [
            Value::Null,
            Value::from("a"),
            Value::Array(Vec::new()),
            Value::Array(vec![Value::from("a"), Value::Integer(1)]),
            answer("a", -1, ""),
        ] {
            assert_eq!(Epoch::of(answer.clone()), None, "{answer:?}");
        }
    }
}
