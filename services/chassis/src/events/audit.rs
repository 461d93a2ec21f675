//! `meshwork.admin.v1.AuditService`: what a service has appended, published and applied, for who holds it against each other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::audit_service_server::AuditService;
use meshwork_events::{Bus, ConsumerState, Envelope, Lane, ReadFrom, Scope, Source, SourceCommit};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::clock::timestamp;
use crate::errors::DEPENDENCY_UNAVAILABLE;

/// How long an answer may take.
const BOUND: Duration = Duration::from_secs(120);
/// How many responses wait for a caller who is slow to read.
const WAITING: usize = 2;
/// How many commits or events a response has at most.
const PAGE: usize = 256;
/// How many aggregates a response has at most.
const AGGREGATES: usize = 512;
/// How many bytes of events a response has, unless its one commit has more.
const BYTES: usize = 512 * 1024;
/// How long a lane's next event is waited for: none within that time is its end.
const WAIT: Duration = Duration::from_millis(100);
/// How much later than the call an event may have happened that is still told: clocks differ.
const LATER: time::Duration = time::Duration::MINUTE;

/// The bus, and the stream that is published to.
type Published = (Arc<dyn Bus>, &'static str);

/// Tells what a service has appended, published and applied.
pub struct AuditGrpc {
    bus: Arc<dyn Bus>,
    source: Option<(Arc<dyn Source>, &'static str)>,
    consumers: Vec<Consumer>,
    domain: &'static str,
}

/// A consumer, and what it keeps.
#[derive(Clone)]
struct Consumer {
    state: Arc<dyn ConsumerState>,
    streams: &'static [&'static str],
    /// Whether it notes the versions that it has applied.
    versioned: bool,
}

impl AuditGrpc {
    /// Tells of a service on this bus that has nothing yet; `domain` is that of the service's errors.
    pub fn new(bus: Arc<dyn Bus>, domain: &'static str) -> Self {
        Self { bus, source: None, consumers: Vec::new(), domain }
    }

    /// Tells of this source, whose events are published to `stream`.
    #[must_use]
    pub fn source(self, source: Arc<dyn Source>, stream: &'static str) -> Self {
        Self { source: Some((source, stream)), ..self }
    }

    /// Tells of a consumer of these streams, by the state that it keeps. `versioned` is one whose effects are gated by its
    /// inbox.
    #[must_use]
    pub fn consumer(
        mut self,
        state: Arc<dyn ConsumerState>,
        streams: &'static [&'static str],
        versioned: bool,
    ) -> Self {
        self.consumers.push(Consumer { state, streams, versioned });
        self
    }

    /// What `work` tells, as it is read. It ends with the caller, and within a bound.
    fn told<T: Send + 'static, W>(&self, work: impl FnOnce(Pages<T>) -> W) -> Response<Told<T>>
    where
        W: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (pages, responses) = mpsc::channel(WAITING);
        let (work, domain) = (work(Pages(pages.clone())), self.domain);
        tokio::spawn(async move {
            let outcome = tokio::select! {
                () = pages.closed() => return,
                outcome = tokio::time::timeout(BOUND, work) => outcome,
            };
            let problem = match outcome {
                Ok(Ok(())) => return,
                Ok(Err(problem)) => problem,
                Err(_) => format!("it has taken more than {} s", BOUND.as_secs()),
            };
            tracing::warn!(problem, "an audit can't be told all");
            let sentence = "events, or how far they were handled, can't be read at this moment; try again";
            let failed = Err(DEPENDENCY_UNAVAILABLE.status(domain, sentence, &[]));
            // A caller who doesn't read has gone away, or will have.
            tokio::time::timeout(BOUND, pages.send(failed)).await.ok();
        });
        Response::new(ReceiverStream::new(responses))
    }
}

/// The responses to a call.
type Told<T> = ReceiverStream<Result<T, Status>>;

/// Where responses go; they wait for who reads them.
struct Pages<T>(mpsc::Sender<Result<T, Status>>);

impl<T> Pages<T> {
    async fn tell(&self, response: T) -> Result<(), String> {
        self.0.send(Ok(response)).await.map_err(|_| "the caller has gone away".to_owned())
    }
}

#[tonic::async_trait]
impl AuditService for AuditGrpc {
    type ReadSourceStream = Told<pb::ReadSourceResponse>;

    async fn read_source(
        &self,
        request: Request<pb::ReadSourceRequest>,
    ) -> Result<Response<Self::ReadSourceStream>, Status> {
        let (source, with_data) = (self.source.clone(), request.get_ref().include_data);
        Ok(self.told(move |pages| async move {
            match source {
                Some((source, _)) => tell_source(source.as_ref(), with_data, &pages).await,
                None => Ok(()),
            }
        }))
    }

    type ReadPublishedStream = Told<pb::ReadPublishedResponse>;

    async fn read_published(
        &self,
        _: Request<pb::ReadPublishedRequest>,
    ) -> Result<Response<Self::ReadPublishedStream>, Status> {
        let published = self.source.as_ref().map(|(_, stream)| (self.bus.clone(), *stream));
        Ok(self.told(move |pages| async move {
            match published {
                Some(published) => tell_published(published, &pages).await,
                None => Ok(()),
            }
        }))
    }

    type ReadAppliedStream = Told<pb::ReadAppliedResponse>;

    async fn read_applied(
        &self,
        _: Request<pb::ReadAppliedRequest>,
    ) -> Result<Response<Self::ReadAppliedStream>, Status> {
        let (consumers, bus) = (self.consumers.clone(), self.bus.clone());
        Ok(self.told(move |pages| async move {
            for consumer in &consumers {
                tell_consumer(consumer, bus.as_ref(), &pages).await?;
            }
            Ok::<(), String>(())
        }))
    }
}

async fn tell_source(
    source: &dyn Source,
    with_data: bool,
    pages: &Pages<pb::ReadSourceResponse>,
) -> Result<(), String> {
    let mut heads = Vec::new();
    for partition in 0..source.partitions() {
        heads.push((partition, source.head(partition).await?));
    }
    let partition = |(partition, head): &(u16, Option<i64>)| pb::SourcePartition {
        partition: i32::from(*partition),
        head: head.unwrap_or(-1),
    };
    let partitions = heads.iter().map(partition).collect();
    pages.tell(pb::ReadSourceResponse { source: source.name().to_owned(), partitions, ..Default::default() }).await?;
    for (partition, head) in heads {
        let mut n = 1;
        while head.is_none_or(|head| n <= head) {
            let commits = source.commits(partition, n, PAGE).await?;
            let Some(last) = commits.last() else { break };
            n = last.n + 1;
            let mut page = Vec::new();
            let mut bytes = 0;
            // What has come since the call is not told.
            for commit in commits.into_iter().filter(|commit| head.is_none_or(|head| commit.n <= head)) {
                let own: usize = commit.events.iter().map(|event| event.data.len()).sum();
                if with_data && bytes + own > BYTES && !page.is_empty() {
                    let commits = std::mem::take(&mut page);
                    pages.tell(pb::ReadSourceResponse { commits, ..Default::default() }).await?;
                    bytes = 0;
                }
                bytes += own;
                page.push(commit_to_proto(partition, commit, with_data));
            }
            pages.tell(pb::ReadSourceResponse { commits: page, ..Default::default() }).await?;
        }
    }
    Ok(())
}

fn commit_to_proto(partition: u16, commit: SourceCommit, with_data: bool) -> pb::SourceCommit {
    pb::SourceCommit {
        partition: i32::from(partition),
        position: commit.n,
        subject: commit.subject,
        command_id: commit.command_id.unwrap_or_default(),
        events: commit.events.into_iter().map(|event| summary(event, with_data)).collect(),
        problem: commit.problem.unwrap_or_default(),
        tombstone: commit.is_tombstone,
    }
}

async fn tell_published((bus, stream): Published, pages: &Pages<pb::ReadPublishedResponse>) -> Result<(), String> {
    let retention = prost_types::Duration::try_from(bus.retention()).ok();
    let first = pb::ReadPublishedResponse { stream: stream.to_owned(), retention, events: Vec::new() };
    pages.tell(first).await?;
    let until = OffsetDateTime::now_utc() + LATER;
    let lanes = bus.lanes(stream);
    let mut reads = Vec::new();
    for lane in &lanes {
        for scope in [Scope::Published, Scope::Repaired] {
            reads.push(tell_lane(bus.as_ref(), lane, scope, until, pages));
        }
    }
    try_join_all(reads).await?;
    Ok(())
}

async fn tell_lane(
    bus: &dyn Bus,
    lane: &Lane,
    scope: Scope,
    until: OffsetDateTime,
    pages: &Pages<pb::ReadPublishedResponse>,
) -> Result<(), String> {
    let reader = bus.reader(lane, ReadFrom::Start, scope).await;
    let mut reader = reader.map_err(|error| error.to_string())?;
    loop {
        let events = reader.next(PAGE, WAIT).await.map_err(|error| error.to_string())?;
        // Else a stream that grows as fast as it is read would have no end.
        let ends = events.last().is_none_or(|last| last.time > until);
        let name = lane.to_string();
        let told = events.into_iter().map(|event| pb::PublishedEvent {
            event: Some(summary(event, false)),
            lane: name.clone(),
            repaired: scope == Scope::Repaired,
        });
        let events: Vec<_> = told.collect();
        if !events.is_empty() {
            pages.tell(pb::ReadPublishedResponse { events, ..Default::default() }).await?;
        }
        if ends {
            return Ok(());
        }
    }
}

async fn tell_consumer(
    consumer: &Consumer,
    bus: &dyn Bus,
    pages: &Pages<pb::ReadAppliedResponse>,
) -> Result<(), String> {
    let Consumer { state, streams, versioned } = consumer;
    let name = state.consumer().to_owned();
    let mut partitions = Vec::new();
    for stream in *streams {
        for lane in bus.lanes(stream) {
            let noted = state.position(stream, lane.partition).await.map_err(|error| error.to_string())?;
            let (position, index) = noted.map_or((0, 0), |noted| (noted.n, noted.index));
            partitions.push(pb::ConsumedPartition {
                stream: (*stream).to_owned(),
                partition: i32::from(lane.partition),
                position,
                index: i32::try_from(index).unwrap_or(i32::MAX),
            });
        }
    }
    let parked = state.summary().await.map_err(|error| error.to_string())?;
    let summary = pb::ConsumerSummary {
        consumer: name.clone(),
        streams: streams.iter().map(|stream| (*stream).to_owned()).collect(),
        versioned: *versioned,
        partitions,
        parked_events: parked.letters,
        parked_aggregates: parked.aggregates,
    };
    pages.tell(pb::ReadAppliedResponse { consumers: vec![summary], aggregates: Vec::new() }).await?;
    if !*versioned {
        return Ok(());
    }
    let mut after = String::new();
    loop {
        let applied = state.applied(&after, AGGREGATES).await.map_err(|error| error.to_string())?;
        let Some((last, _)) = applied.last() else { return Ok(()) };
        after.clone_from(last);
        let aggregate = |(subject, version)| pb::AppliedAggregate { consumer: name.clone(), subject, version };
        let aggregates = applied.into_iter().map(aggregate).collect();
        pages.tell(pb::ReadAppliedResponse { consumers: Vec::new(), aggregates }).await?;
    }
}

fn summary(event: Envelope, with_data: bool) -> pb::EventSummary {
    pb::EventSummary {
        content_hash: content_hash(&event),
        id: event.id,
        r#type: event.event_type,
        schema_version: i32::from(event.schema_version),
        subject: event.subject,
        version: event.version,
        partition: i32::from(event.position.partition),
        position: event.position.n,
        index: i32::try_from(event.position.index).unwrap_or(i32::MAX),
        time: Some(timestamp(event.time)),
        causation_id: event.context.causation_id,
        data: if with_data { event.data.to_vec() } else { Vec::new() },
    }
}

/// What tells one content from another.
fn content_hash(event: &Envelope) -> u64 {
    let mut hash = Sha256::new();
    hash.update(event.event_type.as_bytes());
    hash.update([0]);
    hash.update(event.schema_version.to_be_bytes());
    hash.update(&event.data);
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
