//! The contracts of an upstream, as its server tells them (`grpc.reflection`), in either version.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::uri::PathAndQuery;
use meshwork::Channel;
use meshwork::observe::Connectivity;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use super::contracts::shown;
use crate::domain::UpstreamName;
use crate::ports::{Descriptors, LearnedContracts};

/// Both versions have the same messages.
const VERSIONS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// How long all questions may take together.
const BOUND: Duration = Duration::from_secs(10);
/// The most bytes of all files, and the most files.
const MAX_BYTES: usize = 16 << 20;
const MAX_FILES: usize = 2_000;
/// How long until it is asked again, when it has answered.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// How long when it hasn't: first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Whom to ask, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Questions {
    pub upstream: UpstreamName,
    pub target: String,
    pub services: BTreeSet<String>,
}

/// Asks an upstream for its contracts, and again when its connection comes back and now and then, until `stop`.
pub(super) async fn follow(
    questions: Questions,
    channel: Channel,
    learned: mpsc::Sender<LearnedContracts>,
    stop: CancellationToken,
) {
    let ask = async {
        let (mut pause, mut problem) = (BACKOFF.0, None);
        loop {
            let Questions { upstream, target, services } = questions.clone();
            let wait = match fetch(&channel, &services).await {
                Ok(descriptors) => {
                    (pause, problem) = (BACKOFF.0, None);
                    if learned.send(LearnedContracts { upstream, target, descriptors }).await.is_err() {
                        return;
                    }
                    AGAIN
                }
                Err(error) => {
                    let text = shown(error.message());
                    // One that is down is so for a while.
                    if problem.as_ref() != Some(&text) {
                        tracing::warn!(%upstream, code = ?error.code(), cause = text, "contracts can't be got by reflection");
                    }
                    problem = Some(text);
                    let wait = pause.mul_f64(0.8 + fastrand::f64() * 0.4);
                    pause = (pause * 2).min(BACKOFF.1);
                    wait
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = connected_again(&channel) => {}
            }
        }
    };
    stop.run_until_cancelled(ask).await;
}

/// Waits until the channel is ready after it wasn't.
async fn connected_again(channel: &Channel) {
    let mut state = channel.state();
    loop {
        state = channel.state_changed(state).await;
        if state == Connectivity::Ready {
            return;
        }
    }
}

/// The files of `services`, with all that they import. A service that the server doesn't have has none.
async fn fetch(channel: &Channel, services: &BTreeSet<String>) -> Result<Descriptors, Status> {
    let mut failed = None;
    for version in VERSIONS {
        let fetched = timeout(BOUND, Fetch::all(channel, version, services)).await;
        match fetched
            .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("there was no answer within {BOUND:?}"))))
        {
            Err(status) if status.code() == Code::Unimplemented => failed = Some(status),
            other => return other,
        }
    }
    Err(failed.unwrap_or_else(|| Status::unimplemented("the server has no reflection")))
}

/// A conversation.
struct Fetch {
    questions: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
    /// By name.
    files: BTreeMap<String, Bytes>,
    /// What files import and isn't there yet.
    imports: BTreeSet<String>,
    bytes: usize,
}

impl Fetch {
    async fn all(channel: &Channel, version: &'static str, services: &BTreeSet<String>) -> Result<Descriptors, Status> {
        let (questions, mut asked) = mpsc::channel(1);
        let asked = stream::poll_fn(move |cx| asked.poll_recv(cx));
        let mut client = Grpc::new(channel.clone()).max_decoding_message_size(MAX_BYTES);
        client.ready().await?;
        let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
        // Some servers give no head before the first question.
        let mut first = services.iter().map(|service| MessageRequest::FileContainingSymbol(service.clone()));
        let Some(question) = first.next() else { return Ok(Descriptors::default()) };
        send(&questions, question).await?;
        let answers = client.streaming(Request::new(asked), PathAndQuery::from_static(version), codec).await?;
        let (files, imports) = (BTreeMap::new(), BTreeSet::new());
        let mut fetch = Self { questions, answers: answers.into_inner(), files, imports, bytes: 0 };
        fetch.take().await?;
        for question in first {
            send(&fetch.questions, question).await?;
            fetch.take().await?;
        }
        while let Some(import) = fetch.imports.pop_first() {
            send(&fetch.questions, MessageRequest::FileByFilename(import)).await?;
            fetch.take().await?;
        }
        Ok(fetch.files.into_values().collect())
    }

    /// Takes the answer to a question. That there is no such file or symbol is found when the files are put together.
    async fn take(&mut self) -> Result<(), Status> {
        let answer = self.answers.message().await?;
        let answer = answer.ok_or_else(|| Status::unavailable("the server ended the conversation"))?;
        let files = match answer.message_response {
            Some(MessageResponse::FileDescriptorResponse(files)) => files.file_descriptor_proto,
            Some(MessageResponse::ErrorResponse(error)) if error.error_code == Code::NotFound as i32 => return Ok(()),
            Some(MessageResponse::ErrorResponse(error)) => {
                return Err(Status::new(Code::from_i32(error.error_code), error.error_message));
            }
            _ => return Err(Status::internal("the server has answered what it wasn't asked")),
        };
        for encoded in files {
            let file = FileDescriptorProto::decode(&*encoded);
            let file = file.map_err(|error| Status::internal(format!("a file can't be read: {error}")))?;
            if self.files.contains_key(file.name()) {
                continue;
            }
            self.bytes += encoded.len();
            let name = file.name().to_owned();
            self.imports.remove(&name);
            self.files.insert(name, encoded.into());
            let missing = file.dependency.into_iter().filter(|import| !self.files.contains_key(import));
            self.imports.extend(missing);
            if self.bytes > MAX_BYTES || self.files.len() + self.imports.len() > MAX_FILES {
                let problem = format!("the contracts have more than {MAX_BYTES} bytes or {MAX_FILES} files");
                return Err(Status::resource_exhausted(problem));
            }
        }
        Ok(())
    }
}

async fn send(questions: &mpsc::Sender<ServerReflectionRequest>, question: MessageRequest) -> Result<(), Status> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    questions.send(request).await.map_err(|_| Status::unavailable("the server ended the conversation"))
}
