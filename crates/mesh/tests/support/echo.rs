//! What echo services and their callers have in common, whatever else the tests have them do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use tokio_stream::Stream;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// The answers of a method that streams.
pub type Messages = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// One of those that a number counts: a handler, or an answer that hasn't ended. So is a clone.
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The number of messages of a request, once it has ended.
pub async fn count_of(request: Request<Streaming<String>>) -> Result<String, Status> {
    let (mut messages, mut count) = (request.into_inner(), 0);
    while messages.message().await?.is_some() {
        count += 1;
    }
    Ok(count.to_string())
}

/// Messages are text.
pub fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

/// The contract of `test.Echo`: of each method its name, and whether requests and answers are streams.
pub fn contract(methods: &[(&str, bool, bool)]) -> Vec<u8> {
    let method = |(name, requests, answers): &(&str, bool, bool)| MethodDescriptorProto {
        name: Some((*name).to_owned()),
        client_streaming: Some(*requests),
        server_streaming: Some(*answers),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Echo".to_owned()),
        method: methods.iter().map(method).collect(),
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("test.proto".to_owned()),
        package: Some("test".to_owned()),
        service: vec![service],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

/// Waits until something is so.
pub async fn until(what: &str, so: impl Fn() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(600), wait).await.is_ok(), "never came about: {what}");
}
