//! `meshwork.admin.v1.EventSourceService`: our events, for services that have missed some.

use std::sync::Arc;

use meshwork_aip::{Violations, echo};
use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::event_source_service_server::EventSourceService;
use meshwork_events::{Envelope, StreamReader};
use tonic::{Request, Response, Status};

use super::{MAX_SUBJECT, STREAM_NOT_FOUND};
use crate::clock::timestamp;
use crate::errors::DEPENDENCY_UNAVAILABLE;

/// How many events a response has when the caller doesn't say, and at most.
const EVENTS: (usize, usize) = (100, 256);
/// How many bytes of events a response has, unless its first is larger.
const BYTES: usize = 1024 * 1024;

/// Answers with the events of a source.
pub struct EventSourceGrpc {
    source: Arc<dyn StreamReader>,
    domain: &'static str,
}

impl EventSourceGrpc {
    /// The events of `source`; `domain` is that of the service's errors.
    pub fn new(source: Arc<dyn StreamReader>, domain: &'static str) -> Self {
        Self { source, domain }
    }
}

#[tonic::async_trait]
impl EventSourceService for EventSourceGrpc {
    async fn read_stream(
        &self,
        request: Request<pb::ReadStreamRequest>,
    ) -> Result<Response<pb::ReadStreamResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        violations.text(&request.subject, "subject", 1, MAX_SUBJECT);
        violations.check(request.after_version >= 0, "after_version", "must not be negative");
        violations.check(request.page_size >= 0, "page_size", "must not be negative");
        violations.finish(self.domain)?;
        let size = match usize::try_from(request.page_size) {
            Ok(0) | Err(_) => EVENTS.0,
            Ok(size) => size.min(EVENTS.1),
        };
        let read = self.source.read_stream(&request.subject, request.after_version, size).await;
        let found = read.map_err(|error| {
            tracing::warn!(error, "events of an aggregate can't be read for another service");
            DEPENDENCY_UNAVAILABLE.status(self.domain, "the events can't be read at this moment; try again", &[])
        })?;
        if found.is_empty() && request.after_version == 0 {
            let subject = echo(&request.subject).to_string();
            // In quotes, since a subject may have line breaks.
            let sentence = format!("there are no events of {:?}", echo(&request.subject));
            return Err(STREAM_NOT_FOUND.status(self.domain, sentence, &[("subject", &subject)]));
        }
        let mut bytes = 0;
        let fits = |event: &Envelope| {
            let first = bytes == 0;
            bytes += event.data.len();
            first || bytes <= BYTES
        };
        let events = found.into_iter().take_while(fits).map(event).collect();
        Ok(Response::new(pb::ReadStreamResponse { events }))
    }
}

fn event(envelope: Envelope) -> pb::Event {
    pb::Event {
        id: envelope.id,
        source: envelope.source,
        r#type: envelope.event_type,
        subject: envelope.subject,
        version: envelope.version,
        partition: i32::from(envelope.position.partition),
        position: envelope.position.n,
        index: i32::try_from(envelope.position.index).unwrap_or(i32::MAX),
        time: Some(timestamp(envelope.time)),
        data: envelope.data.to_vec(),
        schema_version: i32::from(envelope.schema_version),
        causation_id: envelope.context.causation_id,
        correlation_id: envelope.context.correlation_id,
        trace_parent: envelope.context.trace_parent,
        trace_state: envelope.context.trace_state,
        actor: envelope.context.actor,
    }
}
