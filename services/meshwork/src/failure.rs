//! Errors for people: one sentence, and what to do.

use std::fmt;
use std::process::ExitCode;

use meshwork_chassis::ServeError;

/// Why a command has failed.
#[derive(Debug)]
pub struct Failure {
    sentence: String,
    hint: String,
    code: u8,
}

impl Failure {
    /// A sentence about what went wrong, and a hint about what to do.
    pub fn new(sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), hint: hint.into(), code: 1 }
    }

    /// As it is, ending the process with another code than 1.
    pub fn exiting(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// What went wrong.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// What to do.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self::new(error.sentence, error.hint)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\n hint: {}", self.sentence, self.hint)
    }
}
