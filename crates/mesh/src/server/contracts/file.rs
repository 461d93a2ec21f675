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
    /// Whether `other` says the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let read = |file: &Self| RawFile::decode(file.encoded.clone());
        self.encoded == other.encoded || matches!((read(self), read(other)), (Ok(one), Ok(other)) if one == other)
    }

    /// Whether it is one of protobuf's own files, such as `google/protobuf/timestamp.proto`. They differ from release to release
    /// and mean the same, so whichever comes first will do.
    pub(super) fn is_of_protobuf(&self) -> bool {
        self.name.starts_with("google/protobuf/")
    }
}

/// The files of an encoded `FileDescriptorSet`, decoded no further than to their names; these are empty where there are none.
///
/// # Errors
/// When it is none.
pub(super) fn files(set: Bytes) -> Result<Vec<(DescriptorFile, RawFile)>, DecodeError> {
    let read = |encoded: Bytes| {
        let raw = RawFile::decode(encoded.clone())?;
        Ok((DescriptorFile { name: raw.name.clone().unwrap_or_default().into(), encoded }, raw))
    };
    RawSet::decode(set)?.file.into_iter().map(read).collect()
}
