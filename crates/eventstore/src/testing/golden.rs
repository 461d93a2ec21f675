//! The golden corpus: a stored sample of every type and schema of events that was ever released (ES-5).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::{Event, read_event};

/// Samples in a folder, `<type>.v<schema>.hex` each: the bytes of one event as hexadecimal digits, with spaces and line
/// breaks for people. A sample is never changed, only added.
pub struct Corpus {
    folder: PathBuf,
}

impl Corpus {
    /// The samples in `folder`.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self { folder: folder.as_ref().to_owned() }
    }

    /// The bytes of a sample.
    ///
    /// # Panics
    /// When there is none, or it holds something else than digits.
    pub fn sample(&self, event_type: &str, schema_version: u16) -> Bytes {
        let path = self.folder.join(file(event_type, schema_version));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("every type and schema needs a sample; {}: {error}", path.display()));
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// All samples as this release reads them, in the order of the schema.
    ///
    /// # Panics
    /// When a type and schema has no sample, a sample can't be read, or there is one of an unknown type or schema.
    pub fn read<E: Event>(&self) -> Vec<(&'static str, u16, E)> {
        let mut read = Vec::new();
        let mut named = BTreeSet::new();
        for known in E::TYPES {
            for version in 1..=known.version() {
                let event = read_event(known.name, version, &self.sample(known.name, version));
                read.push((known.name, version, event.unwrap_or_else(|problem| panic!("{problem}"))));
                named.insert(file(known.name, version));
            }
        }
        let files = std::fs::read_dir(&self.folder).unwrap();
        let files: BTreeSet<_> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(files, named, "the samples and the types that the schema names");
        read
    }

    /// Writes a sample that is missing, and only then.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn add(&self, event_type: &str, schema_version: u16, data: &[u8]) {
        let path = self.folder.join(file(event_type, schema_version));
        if path.exists() {
            return;
        }
        let mut text = String::new();
        for line in data.chunks(32) {
            line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(path, text).unwrap();
    }
}

fn file(event_type: &str, schema_version: u16) -> String {
    format!("{event_type}.v{schema_version}.hex")
}
