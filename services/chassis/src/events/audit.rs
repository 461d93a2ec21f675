//! `meshwork.admin.v1.AuditService`: what a service has appended, published and applied, for who holds it against each other.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::audit_service_server::AuditService;
use meshwork_events::{Bus, ConsumerState, Envelope, Lane, ReadFrom, Scope, Source, SourceCommit};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::clock::timestamp;
use crate::errors::{AUDITS_BUSY, DEPENDENCY_UNAVAILABLE};

/// How many calls are answered at a time, of all callers together: each reads all that there is.
const TURNS: usize = 2;
/// How long a call waits for its turn.
const TURN: Duration = Duration::from_secs(2);
/// How long an answer may stand still, because nothing can be read or because nobody reads it.
const SILENCE: Duration = Duration::from_secs(60);
/// How long an answer may take that doesn't stand still.
const BOUND: Duration = Duration::from_secs(15 * 60);
/// How many responses wait for a caller who is slow to read.
const WAITING: usize = 2;
/// How many commits or events a response has at most.
const PAGE: usize = 256;
/// How many aggregates a response has at most.
const AGGREGATES: usize = 512;
/// How many stocks a response has at most.
const STOCKS: usize = 512;
/// How many bytes of events a response has, unless its one commit has more.
const BYTES: usize = 512 * 1024;
/// How many bytes an event has beside what it says, about.
const BESIDE: usize = 256;
/// How many commits are read at once: at first, at least and at most. There are stores that look at all that they hold for
/// each such page.
const COMMITS: (usize, usize, usize) = (256, 16, 1000);
/// How many bytes of commits are read at once, by the size of those before.
const READ: usize = 16 * 1024 * 1024;
/// How much later than the call an event may have happened that is still told: clocks differ.
const LATER: time::Duration = time::Duration::MINUTE;

/// The bus, and the stream that is published to.
type Published = (Arc<dyn Bus>, &'static str);

/// The sources of a stream: one, or one for each shard.
type Sources = Vec<Arc<dyn Source>>;

/// A service's stocks, for an audit.
#[async_trait]
pub trait StockReader: Send + Sync + 'static {
    /// At most `limit` stocks in a steady order, behind that of the product `after`; from the first one where that is empty.
    /// None are at the end.
    ///
    /// # Errors
    /// A sentence about what went wrong, for the log.
    async fn stocks(&self, after: &str, limit: usize) -> Result<Vec<pb::ProductStock>, String>;
}

/// Tells what a service has appended, published and applied.
pub struct AuditGrpc {
    bus: Arc<dyn Bus>,
    sources: Sources,
    stream: Option<&'static str>,
    consumers: Vec<Consumer>,
    stocks: Option<Arc<dyn StockReader>>,
    turns: Arc<Semaphore>,
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
        let turns = Arc::new(Semaphore::new(TURNS));
        Self { bus, sources: Vec::new(), stream: None, consumers: Vec::new(), stocks: None, turns, domain }
    }

    /// Tells of this source, whose events are published to `stream`. A service with shards has one for each, all of one stream,
    /// in which their partitions have numbers of their own.
    #[must_use]
    pub fn source(mut self, source: Arc<dyn Source>, stream: &'static str) -> Self {
        self.sources.push(source);
        Self { stream: Some(stream), ..self }
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

    /// Tells of these stocks.
    #[must_use]
    pub fn stocks(self, stocks: Arc<dyn StockReader>) -> Self {
        Self { stocks: Some(stocks), ..self }
    }

    /// A call's turn, for as long as it is answered.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Status> {
        let turn = timeout(TURN, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let sentence = format!("{TURNS} audits are being answered, as many as there may be; try again");
            return Err(AUDITS_BUSY.status(self.domain, sentence, &[]));
        };
        Ok(turn)
    }

    /// What `work` tells, as it is read. It ends with the caller, and within a bound.
    fn told<T: Send + 'static, W>(
        &self,
        turn: OwnedSemaphorePermit,
        work: impl FnOnce(Pages<T>) -> W,
    ) -> Response<Told<T>>
    where
        W: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (pages, responses) = mpsc::channel(WAITING);
        let (work, domain) = (work(Pages(pages.clone())), self.domain);
        tokio::spawn(async move {
            let outcome = tokio::select! {
                () = pages.closed() => return,
                outcome = timeout(BOUND, work) => outcome,
            };
            drop(turn);
            let problem = match outcome {
                Ok(Ok(())) => return,
                Ok(Err(problem)) => problem,
                Err(_) => format!("it has taken more than {} s", BOUND.as_secs()),
            };
            tracing::warn!(problem, "an audit can't be told all");
            let sentence = "events, or how far they were handled, can't be read at this moment; try again";
            let failed = Err(DEPENDENCY_UNAVAILABLE.status(domain, sentence, &[]));
            // A caller who doesn't read has gone away, or will have.
            timeout(SILENCE, pages.send(failed)).await.ok();
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
        match timeout(SILENCE, self.0.send(Ok(response))).await {
            Ok(sent) => sent.map_err(|_| "the caller has gone away".to_owned()),
            Err(_) => Err(format!("the caller has read nothing for {} s", SILENCE.as_secs())),
        }
    }
}

/// What a step of an answer reads, unless the answer stands still meanwhile.
async fn step<T, E: ToString>(read: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(SILENCE, read).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing could be read for {} s", SILENCE.as_secs())),
    }
}

#[tonic::async_trait]
impl AuditService for AuditGrpc {
    type ReadSourceStream = Told<pb::ReadSourceResponse>;

    async fn read_source(
        &self,
        request: Request<pb::ReadSourceRequest>,
    ) -> Result<Response<Self::ReadSourceStream>, Status> {
        let (sources, with_data) = (self.sources.clone(), request.get_ref().include_data);
        let turn = self.turn().await?;
        Ok(self.told(turn, move |pages| async move { tell_sources(&sources, with_data, &pages).await }))
    }

    type ReadPublishedStream = Told<pb::ReadPublishedResponse>;

    async fn read_published(
        &self,
        _: Request<pb::ReadPublishedRequest>,
    ) -> Result<Response<Self::ReadPublishedStream>, Status> {
        let published = self.stream.map(|stream| (self.bus.clone(), stream));
        let turn = self.turn().await?;
        Ok(self.told(turn, move |pages| async move {
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
        let turn = self.turn().await?;
        Ok(self.told(turn, move |pages| async move {
            for consumer in &consumers {
                tell_consumer(consumer, bus.as_ref(), &pages).await?;
            }
            Ok::<(), String>(())
        }))
    }

    type ReadStocksStream = Told<pb::ReadStocksResponse>;

    async fn read_stocks(&self, _: Request<pb::ReadStocksRequest>) -> Result<Response<Self::ReadStocksStream>, Status> {
        let stocks = self.stocks.clone();
        let turn = self.turn().await?;
        Ok(self.told(turn, move |pages| async move {
            match stocks {
                Some(stocks) => tell_stocks(stocks.as_ref(), &pages).await,
                None => Ok(()),
            }
        }))
    }
}

async fn tell_sources(
    sources: &[Arc<dyn Source>],
    with_data: bool,
    pages: &Pages<pb::ReadSourceResponse>,
) -> Result<(), String> {
    let Some(first) = sources.first() else { return Ok(()) };
    let (mut heads, mut partitions) = (Vec::new(), Vec::new());
    for source in sources {
        for partition in source.partitions() {
            let head = step(source.head(partition)).await?;
            partitions.push(pb::SourcePartition { partition: i32::from(partition), head: head.unwrap_or(-1) });
            heads.push((source, partition, head));
        }
    }
    pages.tell(pb::ReadSourceResponse { source: first.name().to_owned(), partitions, ..Default::default() }).await?;
    let (mut limit, ..) = COMMITS;
    for (source, partition, head) in heads {
        let mut n = 1;
        while head.is_none_or(|head| n <= head) {
            let commits = step(source.commits(partition, n, limit)).await?;
            let Some(last) = commits.last() else { break };
            n = last.n + 1;
            limit = limit_behind(&commits);
            let mut page = Vec::new();
            let mut bytes = 0;
            // What has come since the call is not told.
            for commit in commits.into_iter().filter(|commit| head.is_none_or(|head| commit.n <= head)) {
                let own = bytes_of(&commit, with_data);
                if page.len() >= PAGE || (bytes + own > BYTES && !page.is_empty()) {
                    let commits = std::mem::take(&mut page);
                    pages.tell(pb::ReadSourceResponse { commits, ..Default::default() }).await?;
                    bytes = 0;
                }
                bytes += own;
                page.push(commit_to_proto(partition, commit, with_data));
            }
            if !page.is_empty() {
                pages.tell(pb::ReadSourceResponse { commits: page, ..Default::default() }).await?;
            }
        }
    }
    Ok(())
}

/// How many bytes a commit has, about.
fn bytes_of(commit: &SourceCommit, with_data: bool) -> usize {
    commit.events.iter().map(|event| BESIDE + if with_data { event.data.len() } else { 0 }).sum()
}

/// How many commits are read behind these: as many as there is room for, if they are like these.
fn limit_behind(commits: &[SourceCommit]) -> usize {
    let (_, least, most) = COMMITS;
    let bytes: usize = commits.iter().map(|commit| bytes_of(commit, true)).sum();
    (READ / (bytes / commits.len().max(1)).max(1)).clamp(least, most)
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
    for lane in bus.lanes(stream) {
        for scope in [Scope::Published, Scope::Repaired] {
            tell_lane(bus.as_ref(), &lane, scope, until, pages).await?;
        }
    }
    Ok(())
}

async fn tell_lane(
    bus: &dyn Bus,
    lane: &Lane,
    scope: Scope,
    until: OffsetDateTime,
    pages: &Pages<pb::ReadPublishedResponse>,
) -> Result<(), String> {
    let mut reader = step(bus.reader(lane, ReadFrom::Start, scope)).await?;
    loop {
        // What isn't there yet is not waited for.
        let events = step(reader.next(PAGE, Duration::ZERO)).await?;
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
            let noted = step(state.position(stream, lane.partition)).await?;
            let (position, index) = noted.map_or((0, 0), |noted| (noted.n, noted.index));
            partitions.push(pb::ConsumedPartition {
                stream: (*stream).to_owned(),
                partition: i32::from(lane.partition),
                position,
                index: i32::try_from(index).unwrap_or(i32::MAX),
            });
        }
    }
    let parked = step(state.summary()).await?;
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
        let applied = step(state.applied(&after, AGGREGATES)).await?;
        let Some((last, _)) = applied.last() else { return Ok(()) };
        after.clone_from(last);
        let aggregate = |(subject, version)| pb::AppliedAggregate { consumer: name.clone(), subject, version };
        let aggregates = applied.into_iter().map(aggregate).collect();
        pages.tell(pb::ReadAppliedResponse { consumers: Vec::new(), aggregates }).await?;
    }
}

async fn tell_stocks(stocks: &dyn StockReader, pages: &Pages<pb::ReadStocksResponse>) -> Result<(), String> {
    let mut after = String::new();
    loop {
        let stocks = step(stocks.stocks(&after, STOCKS)).await?;
        let Some(last) = stocks.last() else { return Ok(()) };
        after.clone_from(&last.product);
        pages.tell(pb::ReadStocksResponse { stocks }).await?;
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

#[cfg(test)]
mod tests {
    use meshwork_events::{Context, Position};

    use super::*;

    fn commit(bytes: usize) -> SourceCommit {
        let event = Envelope {
            id: "things/1:1".to_owned(),
            source: "things".to_owned(),
            event_type: "thing_made".to_owned(),
            schema_version: 1,
            subject: "things/1".to_owned(),
            version: 1,
            position: Position { partition: 0, n: 1, index: 0 },
            time: OffsetDateTime::UNIX_EPOCH,
            context: Context::default(),
            data: vec![0; bytes].into(),
        };
        let (subject, events) = (event.subject.clone(), vec![event]);
        SourceCommit { n: 1, subject, command_id: None, events, problem: None, is_tombstone: false }
    }

    #[test]
    fn many_small_commits_are_read_at_once_and_few_large_ones() {
        assert_eq!(limit_behind(&[commit(1000), commit(10)]), 1000);
        assert_eq!(limit_behind(&[commit(64 * 1024)]), 255);
        assert_eq!(limit_behind(&[commit(8 * 1024 * 1024)]), 16);
    }
}
