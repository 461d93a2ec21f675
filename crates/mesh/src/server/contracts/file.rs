//! The files of descriptors, as they came.

use bytes::Bytes;
use prost::{DecodeError, Message as _};

/// A `FileDescriptorSet` whose files are not decoded: what `prost` doesn't know of them, such as options of one's own, would be
/// lost.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RawSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub file: Vec<Bytes>,
}

/// How many files there are: of a message without fields nothing is held.
#[derive(Clone, PartialEq, prost::Message)]
struct FileCount {
    #[prost(message, repeated, tag = "1")]
    file: Vec<Nothing>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// The name of a `FileDescriptorProto`, and nothing else of it.
#[derive(Clone, PartialEq, prost::Message)]
struct FileName {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
}

/// What a `FileDescriptorProto` says, without where in its source it stands (field 9), which differs by who made it. Its parts
/// are as they came.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RawFile {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub package: Option<String>,
    #[prost(string, repeated, tag = "3")]
    pub dependency: Vec<String>,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub message_type: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub enum_type: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub service: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub extension: Vec<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "8")]
    pub options: Option<Bytes>,
    #[prost(int32, repeated, packed = "false", tag = "10")]
    pub public_dependency: Vec<i32>,
    #[prost(int32, repeated, packed = "false", tag = "11")]
    pub weak_dependency: Vec<i32>,
    #[prost(string, optional, tag = "12")]
    pub syntax: Option<String>,
    #[prost(int32, optional, tag = "14")]
    pub edition: Option<i32>,
    #[prost(string, repeated, tag = "15")]
    pub option_dependency: Vec<String>,
}

/// A file of descriptors.
#[derive(Clone)]
pub(super) struct DescriptorFile {
    pub name: Box<str>,
    /// The encoded `FileDescriptorProto`.
    pub encoded: Bytes,
}

impl DescriptorFile {
    /// What it says, in parts.
    ///
    /// # Errors
    /// When it is no `FileDescriptorProto`.
    pub(super) fn raw(&self) -> Result<RawFile, DecodeError> {
        RawFile::decode(self.encoded.clone())
    }

    /// Whether `other` says the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.encoded == other.encoded || matches!((self.raw(), other.raw()), (Ok(one), Ok(other)) if one == other)
    }

    /// Whether it is one of protobuf's own files, such as `google/protobuf/timestamp.proto`. They differ from release to release
    /// and mean the same, so whichever comes first will do.
    pub(super) fn is_of_protobuf(&self) -> bool {
        self.name.starts_with("google/protobuf/")
    }
}

/// How many files an encoded `FileDescriptorSet` has.
///
/// # Errors
/// When it is none.
pub(super) fn count(set: &[u8]) -> Result<usize, DecodeError> {
    Ok(FileCount::decode(set)?.file.len())
}

/// The files of an encoded `FileDescriptorSet`, read no further than to their names; these are empty where there are none.
///
/// # Errors
/// When it is none.
pub(super) fn files(set: Bytes) -> Result<Vec<DescriptorFile>, DecodeError> {
    let read = |encoded: Bytes| {
        let name = FileName::decode(encoded.clone())?.name.unwrap_or_default().into();
        Ok(DescriptorFile { name, encoded })
    };
    RawSet::decode(set)?.file.into_iter().map(read).collect()
}
