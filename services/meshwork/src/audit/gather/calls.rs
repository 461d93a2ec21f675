//! Calls through the gateway: each within a bound, and again where too many were made.

use std::time::Duration;

use meshwork::Channel;
use meshwork_gateway::domain::SERVICE;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::admin::Admin;
use crate::cli::Parking;

/// How long a call may take that is no stream.
const CALL: Duration = Duration::from_secs(30);
/// For how long a stream may be silent: a little longer than services let theirs stand still.
const SILENCE: Duration = Duration::from_secs(70);
/// For how long calls wait until they are admitted: the gateway lets an account make a few a second, and a service is audited
/// by a few calls at a time.
const ADMITTED: Duration = Duration::from_secs(10 * 60);
/// The pauses between two tries to be admitted.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What a service has answered, where that tells of what it holds and would be answered again; the error where it doesn't.
///
/// # Errors
/// When it tells nothing of what the service holds.
pub fn definite(status: Status) -> Result<String, Status> {
    let is_definite = match status.code() {
        Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::DataLoss => true,
        // By the service and not on the way to it: services say what they can't read in these words.
        Code::Internal => !status.details().is_empty(),
        _ => false,
    };
    if is_definite { Ok(format!("{} ({:?})", status.message(), status.code())) } else { Err(status) }
}

/// Calls as somebody of the staff.
pub struct Calls<'a> {
    admin: &'a Admin,
    until: Instant,
}

impl<'a> Calls<'a> {
    /// Calls by this account.
    pub fn new(admin: &'a Admin) -> Self {
        Self { admin, until: Instant::now() + ADMITTED }
    }

    /// A channel to the gateway.
    pub fn channel(&self) -> Channel {
        self.admin.channel()
    }

    /// A request that the gateway passes on to a service, the only one that answers it when none is named.
    pub fn request<T>(&self, service: Option<Parking>, message: T) -> Request<T> {
        let mut request = self.admin.with(message);
        if let Some(service) = service {
            request.metadata_mut().insert(SERVICE, MetadataValue::from_static(service.as_str()));
        }
        request
    }

    /// The answer to a call; made again while there are too many.
    ///
    /// # Errors
    /// When it fails, or takes too long.
    pub async fn answer<T, C>(&self, call: impl Fn() -> C) -> Result<T, Status>
    where
        C: Future<Output = Result<Response<T>, Status>>,
    {
        let mut pause = PAUSES.0;
        loop {
            let answer = timeout(CALL, call()).await;
            match answer {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if status.code() == Code::ResourceExhausted && Instant::now() < self.until => {}
                Ok(Err(status)) => return Err(status),
                Err(_) => return Err(Status::deadline_exceeded(format!("no answer within {} s", CALL.as_secs()))),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// All pages of a list: `ask` for the one with a token, `take` it and say the token of the next.
    ///
    /// # Errors
    /// When a page can't be got.
    pub async fn pages<T, C>(&self, ask: impl Fn(String) -> C, mut take: impl FnMut(T) -> String) -> Result<(), Status>
    where
        C: Future<Output = Result<Response<T>, Status>>,
    {
        let mut token = String::new();
        loop {
            let page = self.answer(|| ask(token.clone())).await?;
            token = take(page);
            if token.is_empty() {
                return Ok(());
            }
        }
    }

    /// All responses of a stream.
    ///
    /// # Errors
    /// When it fails, or is silent for too long.
    pub async fn stream<T, C>(&self, call: impl Fn() -> C, mut take: impl FnMut(T)) -> Result<(), Status>
    where
        C: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        let mut responses = self.answer(call).await?;
        loop {
            let next = timeout(SILENCE, responses.message()).await;
            let next =
                next.map_err(|_| Status::deadline_exceeded(format!("nothing came for {} s", SILENCE.as_secs())))??;
            match next {
                Some(response) => take(response),
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_does_not_hold_is_evidence_and_a_service_that_is_away_is_none() {
        assert_eq!(definite(Status::not_found("there is no order")).unwrap(), "there is no order (NotFound)");
        definite(Status::data_loss("it can't be understood")).unwrap();
        definite(Status::with_details(Code::Internal, "something failed inside", "why".into())).unwrap();
        for status in [Status::unavailable("away"), Status::internal("reset"), Status::permission_denied("who?")] {
            definite(status).unwrap_err();
        }
    }
}
