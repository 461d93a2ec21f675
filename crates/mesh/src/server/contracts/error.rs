//! Why contracts are refused.

use std::fmt;

/// How many characters of a name that came with the contracts are shown.
const SHOWN: usize = 128;

/// Contracts that a server can't offer. It names the file, and says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidContracts {
    file: Option<Box<str>>,
    why: String,
}

impl InvalidContracts {
    /// The file that is at fault; `None` where it isn't a single one, or its name can't be read.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The set at this place of [`ContractSet::descriptors`](super::ContractSet::descriptors) is none.
    pub(super) fn undecodable(place: usize, error: &prost::DecodeError) -> Self {
        let why = format!("descriptors[{place}] can't be read, it must be an encoded FileDescriptorSet: {error}");
        Self { file: None, why }
    }

    pub(super) fn undecodable_file(file: &str, error: &prost::DecodeError) -> Self {
        let why = format!("the file {} can't be read, it must be a FileDescriptorProto: {error}", cut(file));
        Self { file: Some(cut(file).into()), why }
    }

    pub(super) fn unnamed_file(place: usize) -> Self {
        let why = format!(
            "descriptors[{place}] has a file without a name; give each file the path by which others import it"
        );
        Self { file: None, why }
    }

    /// Something in `file` has no name, such as a message.
    pub(super) fn unnamed(file: &str, what: &str) -> Self {
        let why = format!("the file {} has {what} without a name; make it with protoc or buf", cut(file));
        Self { file: Some(cut(file).into()), why }
    }

    /// There are two files of the name, in the set, or in it and the server's own descriptors.
    pub(super) fn other_contents(file: &str) -> Self {
        let file = cut(file);
        let why =
            format!("the file {file} is there twice with other contents; leave one out, or give one another path");
        Self { file: Some(file.into()), why }
    }

    /// Two files describe `service`, and not as the same.
    pub(super) fn other_service(service: &str, file: &str, other: &str) -> Self {
        let (service, file, other) = (cut(service), cut(file), cut(other));
        let why = format!("the files {other} and {file} describe the service {service} in two ways; leave one out");
        Self { file: Some(file.into()), why }
    }

    pub(super) fn too_much(most: usize, of: &str, file: Option<&str>) -> Self {
        let file = file.map(cut);
        let at = file.as_ref().map(|file| format!(", and the file {file} is beyond that")).unwrap_or_default();
        let why = format!("there may be at most {most} {of}{at}; leave out what isn't called");
        Self { file: file.map(Into::into), why }
    }
}

impl fmt::Display for InvalidContracts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for InvalidContracts {}

/// The beginning of a name, which may be as long as its set, and hold what a terminal shouldn't see.
fn cut(name: &str) -> String {
    name.chars().take(SHOWN).filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_far_as_it_is_short_and_readable() {
        let error = InvalidContracts::other_contents(&format!("a\u{1b}[31m\n{}", "x".repeat(10_000)));
        assert!(error.to_string().len() < 300 && !error.to_string().contains(char::is_control), "{error}");
        assert!(error.file().is_some_and(|file| file.starts_with("a[31mx")), "{error:?}");
    }
}
