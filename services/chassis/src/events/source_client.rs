//! Other services' events, for a consumer that has missed some.

use async_trait::async_trait;
use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::event_source_service_client::EventSourceServiceClient;
use meshwork_events::{Context, Envelope, Position, StreamReader};
use time::OffsetDateTime;
use tonic::Code;

use crate::auth::WithToken;

/// Asks the service that owns an aggregate, by the collection that its name begins with.
#[derive(Clone, Default)]
pub struct GrpcEventSources {
    sources: Vec<(&'static str, EventSourceServiceClient<WithToken>)>,
}

impl GrpcEventSources {
    /// Asks nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks over `channel` for aggregates of `collection`, such as `orders`.
    #[must_use]
    pub fn source(mut self, collection: &'static str, channel: WithToken) -> Self {
        self.sources.push((collection, EventSourceServiceClient::new(channel)));
        self
    }
}

#[async_trait]
impl StreamReader for GrpcEventSources {
    async fn read_stream(&self, subject: &str, after: i64, limit: usize) -> Result<Vec<Envelope>, String> {
        let collection = subject.split('/').next().unwrap_or_default();
        let Some((_, client)) = self.sources.iter().find(|(known, _)| *known == collection) else {
            return Err(format!("nobody is known who has events of {collection}"));
        };
        let request = pb::ReadStreamRequest {
            subject: subject.to_owned(),
            after_version: after,
            page_size: i32::try_from(limit).unwrap_or(i32::MAX),
        };
        match client.clone().read_stream(request).await {
            Ok(response) => response.into_inner().events.into_iter().map(envelope).collect(),
            Err(status) if status.code() == Code::NotFound => Ok(Vec::new()),
            Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        }
    }
}

fn envelope(event: pb::Event) -> Result<Envelope, String> {
    let number = |name: &str| format!("an event was sent with a {name} that is out of range");
    let time = event.time.unwrap_or_default();
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    Ok(Envelope {
        id: event.id,
        source: event.source,
        event_type: event.r#type,
        schema_version: match event.schema_version {
            // It comes from a release that doesn't tell it.
            0 => 1,
            version => u16::try_from(version).map_err(|_| number("schema_version"))?,
        },
        subject: event.subject,
        version: event.version,
        position: Position {
            partition: u16::try_from(event.partition).map_err(|_| number("partition"))?,
            n: event.position,
            index: u32::try_from(event.index).map_err(|_| number("index"))?,
        },
        time: OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| number("time"))?,
        context: Context {
            causation_id: event.causation_id,
            correlation_id: event.correlation_id,
            trace_parent: event.trace_parent,
            trace_state: event.trace_state,
            actor: event.actor,
        }
        .bounded(),
        data: event.data.into(),
    })
}
