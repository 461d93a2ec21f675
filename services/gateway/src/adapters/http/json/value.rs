//! JSON texts of callers as values: bounded in depth and number, and without doubled keys.

use std::cell::Cell;
use std::fmt;

use meshwork_aip::echo;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::super::values::{MAX_VALUES, take_one};
use super::fault::{BODY, Fault};

/// Reads a body. One that is empty is an object without fields.
///
/// # Errors
/// When it is no JSON, has something behind it, a key twice, more than 65,536 values, or more than 127 levels.
pub(super) fn parse(text: &[u8]) -> Result<Value, Fault> {
    if text.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let left = Cell::new(MAX_VALUES);
    // Its own limit is that of levels.
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Node(&left).deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| Fault::new(BODY, format_args!("must be JSON: {error}")))
}

/// Reads one value, and counts it.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        take_one(self.0)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {:?} is there twice", echo(&key))));
            }
            values.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().description
    }

    #[test]
    fn values_are_read_as_they_are() {
        let text = r#"{"a": [1, -2, 1.5, 18446744073709551615, true, null, "\u00e9"], "b": {"c": {}}}"#;
        let value = json!({"a": [1, -2, 1.5, u64::MAX, true, null, "é"], "b": {"c": {}}});
        assert_eq!(parse(text.as_bytes()), Ok(value));
        assert_eq!(parse(b""), Ok(json!({})));
    }

    #[test]
    fn doubled_keys_and_what_follows_are_refused() {
        assert!(refused(r#"{"a": {"b": 1, "b": 1}}"#).contains(r#"the key "b" is there twice"#));
        assert!(refused("{} {}").starts_with("must be JSON: trailing characters"));
        for wrong in ["{", "nul", "{'a': 1}", "[1,]", "\u{feff}{}", " "] {
            assert!(refused(wrong).starts_with("must be JSON: "), "{wrong}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(deep(100).as_bytes()).is_ok());
        assert!(refused(&deep(200)).contains("recursion limit exceeded"));
        assert!(refused(&"[".repeat(1 << 20)).contains("recursion limit exceeded"));
        let many = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(parse(many(MAX_VALUES).as_bytes()).is_ok());
        assert!(refused(&many(MAX_VALUES + 1)).contains("more than 65536 values"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_as_serde_json_does_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            like in "[{}\\[\\],:\"ab01.e\\-]{0,32}",
        ) {
            for text in [bytes.as_slice(), like.as_bytes()] {
                if let Ok(value) = parse(text) && !text.is_empty() {
                    prop_assert_eq!(value, serde_json::from_slice::<Value>(text).unwrap());
                }
            }
        }
    }
}
