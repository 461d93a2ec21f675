//! `meshwork.admin.v1.DeadLetterService`: what a service's consumer could not handle, for people.

use std::sync::Arc;

use meshwork_aip::page::Page;
use meshwork_aip::{Violations, echo, filter, page};
use meshwork_api::DeadLetterName;
use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::dead_letter_service_server::DeadLetterService;
use meshwork_events::{ConsumerState, DeadLetter, Redriven, Redriver};
use meshwork_sql::{Error, to_micros};
use prost::Message;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{DEAD_LETTER_NOT_FOUND, MAX_SUBJECT, WORK};
use crate::Principal;
use crate::clock::timestamp;
use crate::errors::{DEPENDENCY_UNAVAILABLE, internal};

/// The fields that a list's filter may name.
const FILTER_FIELDS: &[&str] = &["consumer", "subject"];

/// Who hands the parked events of a stream, or of all streams, over again.
type Redrives = (Option<&'static str>, Redriver);

/// Who hands over the letters of a stream: several, where each has a shard's.
fn redrivers_of(redrivers: &[Redrives], stream: &str) -> Vec<Redriver> {
    let of_stream = redrivers.iter().filter(|(of, _)| of.is_none_or(|of| of == stream));
    of_stream.map(|(_, redriver)| redriver.clone()).collect()
}

/// Has an aggregate's parked events handed over by whose database holds them, of those who hand over what came on its stream.
async fn redrive(redrivers: &[Redriver], subject: &str) -> Result<Redriven, Error> {
    let mut redriven = Redriven { handled: 0, left: None };
    let (mut of, mut failed) = (Vec::new(), None);
    for redriver in redrivers {
        match redriver.state().first_of(subject).await {
            Ok(Some(_)) => of.push(redriver),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    }
    // One that can't be asked matters only where nobody else has them.
    if let (true, Some(error)) = (of.is_empty(), failed) {
        return Err(error);
    }
    for redriver in of {
        let Redriven { handled, left } = redriver.redrive(subject).await?;
        redriven.handled += handled;
        redriven.left = redriven.left.or(left);
    }
    Ok(redriven)
}

/// Shows, redrives and discards what is parked in the database of a consumer.
pub struct DeadLetterGrpc {
    state: Arc<dyn ConsumerState>,
    redrivers: Arc<Vec<Redrives>>,
    service: &'static str,
    domain: &'static str,
    /// Held by what works on parked events: one at a time, however many ask.
    working: Arc<Mutex<()>>,
}

impl DeadLetterGrpc {
    /// The parked events of `service`, in `state`; `domain` is that of the service's errors.
    ///
    /// `redrivers` hand them over again, each those of a stream, or of all streams: who has parked an event knows what to do with
    /// it. Of several that are for a letter's stream, that one gets it in whose database its aggregate is parked.
    pub fn new(
        state: Arc<dyn ConsumerState>,
        redrivers: Vec<Redrives>,
        service: &'static str,
        domain: &'static str,
    ) -> Self {
        Self { state, redrivers: Arc::new(redrivers), service, domain, working: Arc::default() }
    }

    /// Who hands over the letters of a stream.
    fn redrivers(&self, stream: &str) -> Result<Vec<Redriver>, Status> {
        let redrivers = redrivers_of(&self.redrivers, stream);
        if redrivers.is_empty() {
            return Err(internal(self.domain, &format!("nobody redrives what came on the stream {stream:?}")));
        }
        Ok(redrivers)
    }

    fn failed(&self, error: &Error) -> Status {
        // What is redriven or given up twice is handled once: its consumer and the letter's name see to it.
        crate::errors::store::status(self.domain, error, true, &[])
    }

    /// The id in a name. A name whose id is none of ours names nothing.
    fn id(&self, name: &str) -> Result<Uuid, Status> {
        let mut violations = Violations::new();
        let parsed = violations.name::<DeadLetterName>(name, "name");
        violations.finish(self.domain)?;
        let id = parsed.and_then(|name| Uuid::try_parse(name.id()).ok());
        id.ok_or_else(|| self.not_found(name))
    }

    fn not_found(&self, name: &str) -> Status {
        let name = echo(name).to_string();
        DEAD_LETTER_NOT_FOUND.status(self.domain, format!("there is no {name}"), &[("name", &name)])
    }

    async fn find(&self, name: &str) -> Result<DeadLetter, Status> {
        let found = self.state.get(self.id(name)?).await.map_err(|error| self.failed(&error))?;
        found.ok_or_else(|| self.not_found(name))
    }

    /// What a redrive has come to. It goes on if the caller doesn't wait for its end.
    async fn work(
        &self,
        work: impl Future<Output = Result<Option<Redriven>, Error>> + Send + 'static,
        name: &str,
    ) -> Result<(i64, Option<pb::DeadLetter>), Status> {
        let redriven = self.in_time(work).await?.ok_or_else(|| self.not_found(name))?;
        let left = redriven.left.map(|letter| self.to_proto(letter, false));
        Ok((i64::try_from(redriven.handled).unwrap_or(i64::MAX), left))
    }

    async fn in_time<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Status> {
        let Ok(working) = self.working.clone().try_lock_owned() else {
            let sentence = "parked events are being worked on for another call; ask again when that has ended";
            return Err(DEPENDENCY_UNAVAILABLE.status(self.domain, sentence, &[]));
        };
        let work = async move {
            let done = work.await;
            drop(working);
            done
        };
        match tokio::time::timeout(WORK, tokio::spawn(work)).await {
            Ok(Ok(done)) => done.map_err(|error| self.failed(&error)),
            Ok(Err(error)) => Err(internal(self.domain, &error)),
            Err(_) => {
                let sentence = "there is much to do and it goes on; ask again to see what is left";
                Err(DEPENDENCY_UNAVAILABLE.status(self.domain, sentence, &[]))
            }
        }
    }

    fn to_proto(&self, letter: DeadLetter, with_data: bool) -> pb::DeadLetter {
        let DeadLetter { id, consumer, stream, event, reason, attempts, parked_at } = letter;
        pb::DeadLetter {
            name: DeadLetterName::from_uuid(id).to_string(),
            service: self.service.to_owned(),
            consumer,
            stream,
            subject: event.subject,
            version: event.version,
            event_id: event.id,
            event_type: event.event_type,
            source: event.source,
            event_time: Some(timestamp(event.time)),
            reason,
            attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
            park_time: Some(timestamp(parked_at)),
            data: if with_data { event.data.to_vec() } else { Vec::new() },
            schema_version: i32::from(event.schema_version),
            causation_id: event.context.causation_id,
            correlation_id: event.context.correlation_id,
            trace_parent: event.context.trace_parent,
            trace_state: event.context.trace_state,
            actor: event.context.actor,
        }
    }
}

/// Who has done something that can't be taken back, for the log.
fn by<T>(request: &Request<T>) -> String {
    Principal::of(request).key()
}

#[tonic::async_trait]
impl DeadLetterService for DeadLetterGrpc {
    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Result<Response<pb::ListDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let wanted = filter::parse(&request.filter, FILTER_FIELDS, &mut violations);
        let arguments = [request.filter.as_str()];
        let page = page::read(request.page_size, &request.page_token, &arguments, &mut violations);
        let behind = page.after.as_deref().map(|cursor| {
            let place = cursor.split_once(':').and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)));
            place.unwrap_or_else(|| {
                violations.add("page_token", "must be a next_page_token of this list");
                (0, Uuid::nil())
            })
        });
        if let Some(subject) = wanted.get("subject") {
            violations.text(subject, "filter", 1, MAX_SUBJECT);
        }
        violations.finish(self.domain)?;
        let found = if wanted.get("consumer").is_some_and(|consumer| consumer != self.state.consumer()) {
            Vec::new()
        } else {
            let list = self.state.list(wanted.get("subject"), behind, page.size + 1).await;
            list.map_err(|error| self.failed(&error))?
        };
        let shown = |letter: DeadLetter| {
            let cursor = format!("{}:{}", to_micros(letter.parked_at), letter.id);
            (cursor, self.to_proto(letter, false))
        };
        let found: Vec<_> = found.into_iter().map(shown).collect();
        let found = Page::cut(found, page.size, |(cursor, _)| cursor.clone(), |(_, letter)| letter.encoded_len());
        Ok(Response::new(pb::ListDeadLettersResponse {
            dead_letters: found.items.into_iter().map(|(_, letter)| letter).collect(),
            next_page_token: page::token(found.next.as_deref(), &arguments),
        }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<pb::GetDeadLetterRequest>,
    ) -> Result<Response<pb::DeadLetter>, Status> {
        let letter = self.find(&request.get_ref().name).await?;
        Ok(Response::new(self.to_proto(letter, true)))
    }

    async fn redrive_dead_letter(
        &self,
        request: Request<pb::RedriveDeadLetterRequest>,
    ) -> Result<Response<pb::RedriveDeadLetterResponse>, Status> {
        let name = request.into_inner().name;
        let letter = self.find(&name).await?;
        let (redrivers, subject) = (self.redrivers(&letter.stream)?, letter.event.subject);
        let work = async move { redrive(&redrivers, &subject).await.map(Some) };
        let (handled_events, left) = self.work(work, &name).await?;
        Ok(Response::new(pb::RedriveDeadLetterResponse { handled_events, left }))
    }

    async fn redrive_dead_letters(
        &self,
        _: Request<pb::RedriveDeadLettersRequest>,
    ) -> Result<Response<pb::RedriveDeadLettersResponse>, Status> {
        let redrivers = self.redrivers.clone();
        let work = async move {
            let (mut handled, mut left, mut failed) = (0, 0, None);
            for (stream, redriver) in redrivers.iter() {
                // What others hold is handed over though one can't be asked.
                match redriver.redrive_all(*stream, false).await {
                    Ok(of_stream) => (handled, left) = (handled + of_stream.0, left + of_stream.1),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            match failed {
                Some(error) => Err(error),
                None => Ok::<_, Error>((handled, left)),
            }
        };
        let (handled, left) = self.in_time(work).await?;
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Ok(Response::new(pb::RedriveDeadLettersResponse {
            handled_events: count(handled),
            left_aggregates: count(left),
        }))
    }

    async fn discard_dead_letter(
        &self,
        request: Request<pb::DiscardDeadLetterRequest>,
    ) -> Result<Response<pb::DiscardDeadLetterResponse>, Status> {
        let who = by(&request);
        let name = request.into_inner().name;
        let id = self.id(&name)?;
        let (state, redrivers) = (self.state.clone(), self.redrivers.clone());
        let work = async move {
            // A letter that can't be read can be given up too: what is behind it in its aggregate says who goes on.
            let Some(subject) = state.discard(id).await? else { return Ok::<_, Error>(None) };
            tracing::warn!(consumer = state.consumer(), subject, letter = %id, by = who, "a parked event was given up");
            let Some(left) = state.first_of(&subject).await? else {
                return Ok(Some(Redriven { handled: 0, left: None }));
            };
            let redrivers = redrivers_of(&redrivers, &left.stream);
            if redrivers.is_empty() {
                return Ok(Some(Redriven { handled: 0, left: Some(left) }));
            }
            redrive(&redrivers, &subject).await.map(Some)
        };
        let (handled_events, left) = self.work(work, &name).await?;
        Ok(Response::new(pb::DiscardDeadLetterResponse { handled_events, left }))
    }
}
