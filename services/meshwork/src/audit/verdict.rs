//! What was found out about an invariant.

use std::fmt::Display;

/// How many violations are told of one invariant.
const EXAMPLES: usize = 20;

/// How it stands with an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All that was looked at is as it must be.
    Holds,
    /// Something isn't.
    Violated,
    /// What is needed to tell isn't there.
    NotJudged,
}

impl Finding {
    /// The word in the JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::NotJudged => "not_judged",
        }
    }
}

/// A violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What it is about, such as `orders/…`.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What was found out about an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The invariant, such as `I1`.
    pub id: &'static str,
    /// What it says.
    pub title: &'static str,
    /// How many things were looked at.
    pub checked: u64,
    /// How many of them violate it.
    pub violations: u64,
    /// The first of those.
    pub examples: Vec<Example>,
    /// What there is to say beside; may be empty.
    pub detail: String,
    judged: bool,
}

impl Verdict {
    /// Nothing was looked at yet.
    pub fn new(id: &'static str, title: &'static str) -> Self {
        let (detail, examples) = (String::new(), Vec::new());
        Self { id, title, checked: 0, violations: 0, examples, detail, judged: true }
    }

    /// It can't be judged, for this reason.
    pub fn not_judged(id: &'static str, title: &'static str, why: &str) -> Self {
        Self { detail: why.to_owned(), judged: false, ..Self::new(id, title) }
    }

    /// Looks at one thing; `problem` is what is wrong if it isn't as it must be.
    pub fn check(&mut self, holds: bool, subject: impl Display, problem: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.violated(subject, problem());
        }
    }

    /// Adds a violation by something that was counted already.
    pub fn violated(&mut self, subject: impl Display, problem: impl Into<String>) {
        self.violations += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(Example { subject: subject.to_string(), problem: problem.into() });
        }
    }

    /// How it stands.
    pub fn finding(&self) -> Finding {
        match (self.violations, self.judged) {
            (0, true) => Finding::Holds,
            (0, false) => Finding::NotJudged,
            _ => Finding::Violated,
        }
    }
}
