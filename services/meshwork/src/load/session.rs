//! Somebody who is signed in for as long as the load runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use meshwork::Channel;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::{RefreshSessionRequest, Session as Granted, SignInRequest};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};

/// How long a token is taken to live whose end isn't told.
const LIFE: Duration = Duration::from_secs(60);
/// How long to wait after a renewal that failed for no fault of the session's.
const PAUSE: Duration = Duration::from_secs(1);
/// How often sessions are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// A session of an account.
pub struct Session {
    user: String,
    email: String,
    password: String,
    tokens: Mutex<Tokens>,
    /// When the account may ask for events again.
    next: Mutex<Instant>,
}

struct Tokens {
    access: MetadataValue<Ascii>,
    refresh: String,
    renew: Instant,
}

impl Tokens {
    fn of(granted: Granted) -> Result<Self, Status> {
        let access = format!("Bearer {}", granted.access_token).parse();
        let access = access.map_err(|_| Status::internal("the access token can't be sent as a header"))?;
        let end = granted.access_token_expire_time.and_then(|time| SystemTime::try_from(time).ok());
        let life = end.and_then(|end| end.duration_since(SystemTime::now()).ok()).unwrap_or(LIFE);
        // Well before its end, and not all in the same moment.
        let renew = Instant::now() + life.mul_f64(0.5 + fastrand::f64() / 4.0);
        Ok(Self { access, refresh: granted.refresh_token, renew })
    }
}

impl Session {
    async fn sign_in(channel: &Channel, email: &str, password: &str) -> Result<Self, Status> {
        let granted = granted(channel, email, password).await?;
        let user = granted.user.clone();
        let (tokens, next) = (Mutex::new(Tokens::of(granted)?), Mutex::new(Instant::now()));
        Ok(Self { user, email: email.to_owned(), password: password.to_owned(), tokens, next })
    }

    /// The account, `users/…`.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A request with the session's token.
    pub fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.tokens().access.clone());
        request
    }

    /// Waits for the account's turn to ask for events, which it has each `between`.
    pub async fn turn(&self, between: Duration) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + between;
            at
        };
        sleep_until(at).await;
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        // They are replaced whole.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes new tokens for the old ones; signs in again where that is refused.
    async fn renew(&self, channel: &Channel) -> Result<(), Status> {
        let refresh_token = self.tokens().refresh.clone();
        let mut client = AuthServiceClient::new(channel.clone());
        let granted = match client.refresh_session(RefreshSessionRequest { refresh_token }).await {
            Err(status) if status.code() == Code::Unauthenticated => {
                granted(channel, &self.email, &self.password).await?
            }
            answer => answer?.into_inner(),
        };
        let tokens = Tokens::of(granted)?;
        *self.tokens() = tokens;
        Ok(())
    }
}

async fn granted(channel: &Channel, email: &str, password: &str) -> Result<Granted, Status> {
    let request = SignInRequest { email: email.to_owned(), password: password.to_owned() };
    Ok(AuthServiceClient::new(channel.clone()).sign_in(request).await?.into_inner())
}

/// The sessions of a load, which live as long as somebody [keeps](Sessions::keep) them. Clones are the same.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<Vec<Arc<Session>>>>);

impl Sessions {
    /// Signs in; the session is one of these from then on.
    ///
    /// # Errors
    /// When it is refused, UNAUTHENTICATED if there is no such account, or nobody answers.
    pub async fn sign_in(&self, channel: &Channel, email: &str, password: &str) -> Result<Arc<Session>, Status> {
        let session = Arc::new(Session::sign_in(channel, email, password).await?);
        self.all().push(Arc::clone(&session));
        Ok(session)
    }

    /// Keeps the sessions alive, those too that are opened later, one at a time, until it is aborted.
    pub async fn keep(self, channel: Channel) {
        loop {
            let sessions = self.all().clone();
            for session in sessions {
                let due = session.tokens().renew <= Instant::now();
                if due && session.renew(&channel).await.is_err() {
                    // The others would fare no better; the tokens still live for a while.
                    sleep(PAUSE).await;
                }
            }
            sleep(LOOK).await;
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        // They only become more.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use meshwork_chassis::ClientConfig;

    use super::*;
    use crate::open_auth::OpenAuth;

    #[tokio::test]
    async fn sessions_are_kept_alive_from_when_they_are_opened() {
        let target = OpenAuth { life: Duration::from_secs(1) }.serve();
        let channel = ClientConfig::default().channel("--target", &target).unwrap();
        let sessions = Sessions::default();
        let mut keeping = tokio::task::JoinSet::new();
        keeping.spawn(sessions.clone().keep(channel.clone()));
        // A while after it has begun, as by somebody who prepares a load.
        sleep(LOOK / 2).await;
        let session = sessions.sign_in(&channel, "anna@example.com", "a good password").await.unwrap();
        let token = || session.with(()).metadata().get("authorization").cloned().unwrap();
        assert_eq!(token(), "Bearer signed-in");
        let renewed = async {
            while token() != "Bearer refreshed" {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIFE, renewed).await.expect("a new token");
    }
}
