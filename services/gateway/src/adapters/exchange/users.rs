//! The users service, which exchanges what others have issued: it holds all keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use meshwork::Channel;
use meshwork::server::auth::{JwtAuthenticator, Principal};
use meshwork::server::{CLIENT_ADDRESS, push_back};
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::{ExchangeTokenRequest, ExchangedToken};
use tokio::time::{Instant, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::turns::Place;
use crate::adapters::client::Client;
use crate::adapters::errors::{credentials_refused, credentials_unverifiable};

/// How long an exchange may take, with the wait for its turn.
const WITHIN: Duration = Duration::from_secs(5);
/// The log has one line in so many seconds of exchanges that fail.
const LOGGED_EVERY: u64 = 10;

/// Exchanges credentials at the users service.
pub(super) struct Users {
    client: AuthServiceClient<Channel>,
    verifier: JwtAuthenticator,
    began: Instant,
    /// When a failure may be logged again, in seconds since then.
    next_log: AtomicU64,
}

/// What a credential was exchanged for.
pub(super) struct Exchanged {
    pub principal: Principal,
    /// When the token expires, which it was exchanged for.
    pub expiry: SystemTime,
}

impl Users {
    /// The service behind `channel`, whose tokens `verifier` verifies.
    pub(super) fn new(channel: Channel, verifier: JwtAuthenticator) -> Self {
        Self { client: AuthServiceClient::new(channel), verifier, began: Instant::now(), next_log: AtomicU64::new(0) }
    }

    /// Exchanges a credential of `client` when it is its turn. What comes back is verified as if a caller had sent it.
    ///
    /// # Errors
    /// UNAUTHENTICATED when the service refuses the credential, RESOURCE_EXHAUSTED when it refuses the address for having tried
    /// too many, UNAVAILABLE when it can't tell.
    pub(super) async fn exchange(&self, credential: String, client: Client, place: Place) -> Result<Exchanged, Status> {
        let until = Instant::now() + WITHIN;
        let exchanged = async {
            let _turn = place.turn().await;
            self.call(credential, client, until.saturating_duration_since(Instant::now())).await
        };
        let token = match timeout_at(until, exchanged).await {
            Ok(answer) => answer.map_err(|status| self.refusal(&status))?,
            Err(_) => return Err(self.failure("it has not answered in time")),
        };
        let verified = self.verifier.verify(&token.access_token).await;
        let principal = verified.map_err(|error| self.failure(&format!("its token can't be verified: {error}")))?;
        let told = token.access_token_expire_time.and_then(|time| SystemTime::try_from(time).ok());
        let expiry = principal.expires_at().into_iter().chain(told).min();
        let expiry = expiry.ok_or_else(|| self.failure("its token says no expiry"))?;
        let authorization = HeaderValue::try_from(format!("Bearer {}", token.access_token));
        let mut authorization = authorization.map_err(|_| self.failure("its token is no header value"))?;
        authorization.set_sensitive(true);
        let principal = principal.with_forwarded_credentials(authorization).with_expiry(expiry);
        Ok(Exchanged { principal, expiry })
    }

    async fn call(&self, credential: String, client: Client, within: Duration) -> Result<ExchangedToken, Status> {
        let mut request = Request::new(ExchangeTokenRequest { subject_token: credential });
        request.set_timeout(within);
        static NAME: HeaderName = CLIENT_ADDRESS;
        // Without one the call would be the gateway's own, whose attempts nobody counts.
        let address = client.0.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let address = MetadataValue::try_from(address).unwrap_or(MetadataValue::from_static("unknown"));
        request.metadata_mut().insert(NAME.as_str(), address);
        Ok(self.client.clone().exchange_token(request).await?.into_inner())
    }

    /// What a caller is told for an answer of the service.
    fn refusal(&self, status: &Status) -> Status {
        match status.code() {
            Code::Unauthenticated | Code::InvalidArgument => credentials_refused(),
            Code::ResourceExhausted if status.get_details_error_info().is_some() => {
                let details = Bytes::copy_from_slice(status.details());
                let mut refusal = Status::with_details(status.code(), status.message(), details);
                if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
                    push_back(&mut refusal, delay);
                }
                refusal
            }
            _ => self.failure(status.message()),
        }
    }

    /// What a caller is told when the service can't exchange anything. The log says why, and nothing of what was to be exchanged.
    fn failure(&self, cause: &str) -> Status {
        let now = self.began.elapsed().as_secs();
        let is_due = |next: u64| (now >= next).then_some(now + LOGGED_EVERY);
        if self.next_log.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok() {
            tracing::warn!(cause, "the users service exchanges no keys and tokens at this moment");
        }
        credentials_unverifiable()
    }
}
