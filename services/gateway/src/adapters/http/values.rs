//! How many values the JSON of a caller may have.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The most values of a JSON text, those within others among them. In memory each has a multiple of the two bytes that it
/// may have as text, and reading it costs accordingly.
pub(super) const MAX_VALUES: usize = 1 << 16;

/// Makes sure that a JSON text has no more than [`MAX_VALUES`] values. No more than those are looked at, and none is kept.
///
/// # Errors
/// When it has more, or is no JSON as far as it was looked at.
pub(super) fn count(text: &[u8]) -> Result<(), serde_json::Error> {
    // Its own limit is that of levels.
    Counted(&Cell::new(MAX_VALUES)).deserialize(&mut serde_json::Deserializer::from_slice(text))
}

/// Takes one value off what is left.
///
/// # Errors
/// When nothing is left.
pub(super) fn take_one<E: Error>(left: &Cell<usize>) -> Result<(), E> {
    let less = left.get().checked_sub(1);
    left.set(less.ok_or_else(|| E::custom(format_args!("more than {MAX_VALUES} values")))?);
    Ok(())
}

/// Reads one value, counts it, and forgets it.
#[derive(Clone, Copy)]
struct Counted<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        take_one(self.0)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key::<IgnoredAny>()?.is_some() {
            entries.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_wherever_they_are() {
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        let fields = |values: usize| format!(r#"{{"a": {{{}"b": ""}}}}"#, r#""b": "","#.repeat(values - 3));
        for (fits, more) in [(list(MAX_VALUES), list(MAX_VALUES + 1)), (fields(MAX_VALUES), fields(MAX_VALUES + 1))] {
            count(fits.as_bytes()).unwrap();
            assert!(count(more.as_bytes()).unwrap_err().to_string().contains("more than 65536 values"));
        }
        count(br#"{"a": [1, -2, 1.5, true, null, "\u00e9"], "b": {"c": {}}}"#).unwrap();
    }

    #[test]
    fn depth_is_bounded() {
        for deep in ["[".repeat(1 << 20), r#"{"a":"#.repeat(1 << 16)] {
            assert!(count(deep.as_bytes()).unwrap_err().to_string().contains("recursion limit exceeded"));
        }
    }
}
