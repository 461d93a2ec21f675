//! Reading JSON strictly: each value knows its path, so that each error names it.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

/// A policy that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    path: String,
    problem: String,
}

impl PolicyError {
    /// About the value at `path`; about the whole when it is empty.
    pub(crate) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }

    /// The path of the value, such as `methodConfig[1].retryPolicy.maxAttempts`; empty for the whole.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for PolicyError {}

/// A value and its path.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    parent: Option<&'a Node<'a>>,
    step: Step<'a>,
    pub value: &'a Value,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
}

type Read<T> = Result<T, PolicyError>;

impl<'a> Node<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { parent: None, step: Step::Root, value }
    }

    fn path(&self) -> String {
        let mut path = self.parent.map(Node::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Field(name) if path.is_empty() => path.push_str(name),
            Step::Field(name) => path.extend([".", name]),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
        path
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> PolicyError {
        PolicyError::new(self.path(), problem)
    }

    pub(crate) fn must(&self, what: &str) -> PolicyError {
        let value = self.value.to_string();
        let shown: String = value.chars().take(60).collect();
        self.error(format!("must be {what}, not {shown}"))
    }

    pub(crate) fn object(&self) -> Read<&'a Map<String, Value>> {
        self.value.as_object().ok_or_else(|| self.must("an object"))
    }

    /// The field `name`, unless it is missing or null.
    pub(crate) fn get(&'a self, name: &'a str) -> Read<Option<Node<'a>>> {
        let value = self.object()?.get(name).filter(|value| !value.is_null());
        Ok(value.map(|value| Node { parent: Some(self), step: Step::Field(name), value }))
    }

    pub(crate) fn required(&'a self, name: &'a str) -> Read<Node<'a>> {
        let missing = || Node { parent: Some(self), step: Step::Field(name), value: &Value::Null }.error("is missing");
        self.get(name)?.ok_or_else(missing)
    }

    pub(crate) fn items(&'a self) -> Read<impl Iterator<Item = Node<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.must("a list"))?;
        let node = move |(index, value)| Node { parent: Some(self), step: Step::Index(index), value };
        Ok(items.iter().enumerate().map(node))
    }

    /// Refuses fields that are not among `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Read<()> {
        match self.object()?.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(self.error(format!("{key} is not known; there is {}", known.join(", ")))),
            None => Ok(()),
        }
    }

    pub(crate) fn string(&self) -> Read<&'a str> {
        self.value.as_str().ok_or_else(|| self.must("a string"))
    }

    pub(crate) fn boolean(&self) -> Read<bool> {
        self.value.as_bool().ok_or_else(|| self.must("true or false"))
    }

    /// A number as proto3 JSON has it: a number, or one in a string.
    pub(crate) fn number(&self, what: &str) -> Read<f64> {
        let number = match self.value {
            Value::Number(number) => number.as_f64(),
            // Spelled as numbers in JSON are: no spaces, no `inf`.
            Value::String(text) if text.trim() == text => serde_json::from_str(text).ok(),
            _ => None,
        };
        number.filter(|number: &f64| number.is_finite()).ok_or_else(|| self.must(what))
    }

    /// An integer of `low..=high`; integral numbers in other spellings count, as in proto3 JSON.
    pub(crate) fn integer(&self, low: u32, high: u32) -> Read<u32> {
        let what = match (low, high) {
            (0, u32::MAX) => "an integer of 0 or more".to_owned(),
            (low, u32::MAX) => format!("an integer above {}", low - 1),
            (low, high) => format!("an integer from {low} to {high}"),
        };
        let number = self.number(&what)?;
        let inside = number.fract() == 0.0 && number >= f64::from(low) && number <= f64::from(high);
        if inside { Ok(number as u32) } else { Err(self.must(&what)) }
    }

    /// A duration as proto3 JSON has it: seconds with up to nine digits after the point, and an `s`.
    pub(crate) fn duration(&self) -> Read<Duration> {
        let what = "a duration such as \"1.5s\"";
        let text = self.value.as_str().and_then(|text| text.strip_suffix('s')).ok_or_else(|| self.must(what))?;
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let valid = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !valid(whole, 12) || !valid(part, 9) {
            return Err(self.must(what));
        }
        let seconds: u64 = whole.parse().map_err(|_| self.must(what))?;
        let nanos: u32 = format!("{part:0<9}").parse().map_err(|_| self.must(what))?;
        // What protobuf's Duration holds: about ten thousand years.
        if seconds > 315_576_000_000 {
            return Err(self.must("a duration of at most 315576000000s"));
        }
        let duration = Duration::new(seconds, nanos);
        if negative && !duration.is_zero() {
            return Err(self.must("a duration that is not negative"));
        }
        Ok(duration)
    }

    pub(crate) fn positive_duration(&self) -> Read<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() { Err(self.must("a duration above zero")) } else { Ok(duration) }
    }
}
