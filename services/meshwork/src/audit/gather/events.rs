//! What the services tell of events: appended, published, applied.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::audit_service_client::AuditServiceClient;
use tonic::Status;

use super::calls::Calls;
use super::names::Names;
use crate::audit::evidence::{Carried, Commit, Consumer, Event, Folded, Name, Source};
use crate::audit::fold;
use crate::cli::Parking;

/// A source, and the orders that its events make.
pub struct Told {
    /// The source.
    pub source: Source,
    /// The orders; none of other services.
    pub folded: Vec<Folded>,
}

/// A service's source of events and what is published of it; `None` of a service without.
pub async fn source(calls: &Calls<'_>, names: &Names, service: Parking) -> Result<Option<Told>, Status> {
    // Only orders are folded: their events say what they are.
    let include_data = service == Parking::Orders;
    let prunes = service != Parking::Orders;
    let mut source = Source { service: service.as_str(), prunes, ..Source::default() };
    let mut folded: HashMap<Name, Folded> = HashMap::new();
    let mut is_there = false;
    let ask = || {
        let request = calls.request(Some(service), pb::ReadSourceRequest { include_data });
        let mut client = AuditServiceClient::new(calls.channel());
        async move { client.read_source(request).await }
    };
    let take = |page: pb::ReadSourceResponse| {
        is_there = true;
        source.heads.extend(page.partitions.iter().map(|partition| (partition.partition, partition.head)));
        for commit in page.commits {
            for event in &commit.events {
                let told = event_of(names, event);
                if include_data {
                    let order = folded.entry(told.subject.clone()).or_insert_with(|| fold::nothing(&told.subject));
                    let at = event.time.as_ref().map_or((0, 0), |time| (time.seconds, time.nanos));
                    fold::apply(order, (event.version, event.r#type.as_str()), &event.data, at);
                }
                source.events.push(told);
            }
            source.commits.push(commit_of(names, commit));
        }
    };
    calls.stream(ask, take).await?;
    if !is_there {
        return Ok(None);
    }

    let ask = || {
        let request = calls.request(Some(service), pb::ReadPublishedRequest {});
        let mut client = AuditServiceClient::new(calls.channel());
        async move { client.read_published(request).await }
    };
    let take = |page: pb::ReadPublishedResponse| {
        if !page.stream.is_empty() {
            source.stream = page.stream;
            source.retention = page.retention.map_or(0, |retention| retention.seconds);
        }
        for published in page.events {
            let pb::PublishedEvent { event: Some(event), lane, repaired } = published else { continue };
            source.carried.push(Carried { event: event_of(names, &event), lane: names.of(&lane), repaired });
        }
    };
    calls.stream(ask, take).await?;
    Ok(Some(Told { source, folded: folded.into_values().collect() }))
}

fn event_of(names: &Names, event: &pb::EventSummary) -> Event {
    let usual = event.id.strip_prefix(event.subject.as_str()).and_then(|rest| rest.strip_prefix(':'));
    let is_usual = usual.is_some_and(|version| version == event.version.to_string());
    Event {
        subject: names.of(&event.subject),
        version: event.version,
        kind: names.of(&event.r#type),
        place: (event.partition, event.position, event.index),
        time: event.time.as_ref().map_or(0, |time| time.seconds),
        micros: event.time.as_ref().map_or(0, |time| time.nanos / 1000),
        content: event.content_hash,
        odd_id: (!is_usual).then(|| names.of(&event.id)),
    }
}

fn commit_of(names: &Names, commit: pb::SourceCommit) -> Commit {
    let mut hasher = DefaultHasher::new();
    commit.command_id.hash(&mut hasher);
    let creates = commit.events.iter().any(|event| event.r#type == "order_created");
    // It is `create/WHO/REQUEST`; the request of a load has no slash.
    let request = commit.command_id.rsplit('/').next().filter(|request| creates && !request.is_empty());
    Commit {
        place: (commit.partition, commit.position),
        subject: names.of(&commit.subject),
        command: (!commit.command_id.is_empty()).then(|| hasher.finish()),
        creates,
        request: request.map(|request| names.of(request)),
        tombstone: commit.tombstone,
        problem: commit.problem,
    }
}

/// The consumers of all services.
pub async fn consumers(calls: &Calls<'_>, names: &Names) -> Result<Vec<Consumer>, Status> {
    let mut found = Vec::new();
    for service in Parking::ALL {
        let mut of_service: Vec<Consumer> = Vec::new();
        let ask = || {
            let request = calls.request(Some(service), pb::ReadAppliedRequest {});
            let mut client = AuditServiceClient::new(calls.channel());
            async move { client.read_applied(request).await }
        };
        let take = |page: pb::ReadAppliedResponse| {
            of_service.extend(page.consumers.into_iter().map(consumer_of));
            for pb::AppliedAggregate { consumer, subject, version } in page.aggregates {
                if let Some(of) = of_service.iter_mut().rev().find(|known| known.name == consumer) {
                    of.applied.push((names.of(&subject), version));
                }
            }
        };
        calls.stream(ask, take).await?;
        found.append(&mut of_service);
    }
    Ok(found)
}

fn consumer_of(summary: pb::ConsumerSummary) -> Consumer {
    let noted = |at: pb::ConsumedPartition| (at.stream, (at.partition, at.position, at.index));
    Consumer {
        name: summary.consumer,
        streams: summary.streams,
        versioned: summary.versioned,
        noted: summary.partitions.into_iter().map(noted).collect(),
        applied: Vec::new(),
    }
}
