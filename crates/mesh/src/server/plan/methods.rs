//! Which methods stream, as the descriptors say.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use super::exempt;
use crate::server::router::service_of;

/// The methods of descriptors, by path, and which of them take or answer with a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamingMethods(Arc<HashMap<Box<str>, Streams, RandomState>>);

/// What a method streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Streams {
    pub requests: bool,
    pub answers: bool,
}

impl Streams {
    /// Whether it takes a stream or answers with one.
    pub(super) fn any(self) -> bool {
        self.requests || self.answers
    }
}

impl StreamingMethods {
    /// Those of an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(set: &[u8]) -> Result<Self, prost::DecodeError> {
        let mut methods = Self::default();
        for file in FileDescriptorSet::decode(set)?.file {
            methods.add(&file);
        }
        Ok(methods)
    }

    /// Adds the methods of `file`.
    pub(in crate::server) fn add(&mut self, file: &FileDescriptorProto) {
        let methods = Arc::make_mut(&mut self.0);
        let dot = if file.package().is_empty() { "" } else { "." };
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}{dot}{}/{}", file.package(), service.name(), method.name());
                let streams = Streams { requests: method.client_streaming(), answers: method.server_streaming() };
                methods.insert(path.into(), streams);
            }
        }
    }

    /// These and `others`.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        Arc::make_mut(&mut self.0).extend(others.0.iter().map(|(path, streams)| (path.clone(), *streams)));
        self
    }

    /// Whether the method at `path` answers with a stream; health's `Watch` and reflection do.
    pub fn contains(&self, path: &str) -> bool {
        self.find(path).is_some_and(|streams| streams.answers)
    }

    /// What the method at `path` takes and answers with; `None` for one that is not known.
    pub(in crate::server) fn find(&self, path: &str) -> Option<Streams> {
        match self.0.get(path) {
            Some(streams) => Some(*streams),
            None if exempt::is_health_watch(path) => Some(Streams { requests: false, answers: true }),
            None if exempt::is_health_check(path) => Some(Streams::default()),
            None if exempt::is_reflection(path) => Some(Streams { requests: true, answers: true }),
            None => None,
        }
    }

    /// Whether the method at `path` is among these themselves; health and reflection aren't by what they are.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Whether there are methods of `service` among these.
    pub(super) fn has_service(&self, service: &str) -> bool {
        self.paths().any(|path| service_of(path) == Some(service))
    }

    /// The paths of the methods, `/package.Service/Method`, in no order.
    ///
    /// ```
    /// use meshwork::server::StreamingMethods;
    /// let methods = StreamingMethods::decode(tonic_health::pb::FILE_DESCRIPTOR_SET)?;
    /// assert!(methods.paths().any(|path| path == "/grpc.health.v1.Health/Check"));
    /// # Ok::<(), prost::DecodeError>(())
    /// ```
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }
}

impl<P: Into<Box<str>>> FromIterator<P> for StreamingMethods {
    /// The methods at these paths, `/package.Service/Method`, each of which answers with a stream.
    fn from_iter<I: IntoIterator<Item = P>>(paths: I) -> Self {
        let answers = Streams { requests: false, answers: true };
        Self(Arc::new(paths.into_iter().map(|path| (path.into(), answers)).collect()))
    }
}
