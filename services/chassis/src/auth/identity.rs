//! A service's own identity: tokens of the service role for its calls to others.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use meshwork::Channel;
use meshwork_api::meshwork::users::v1::SignInRequest;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::attempts::Attempts;
use crate::config::Credentials;
use crate::errors::DEPENDENCY_UNAVAILABLE;

/// How long before its end a token is replaced, at most; one that lives shortly, after three quarters of its life.
const MARGIN: Duration = Duration::from_secs(60);
/// How long signing in may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long an attempt's outcome stands whatever comes: a failure is not tried again before, and a new token that peers
/// refuse is not replaced by another, which they would refuse as well.
const SETTLED: Duration = Duration::from_secs(1);

/// Where a service signs in.
#[async_trait]
trait SignIn: Send + Sync + 'static {
    /// The header with a new token, and how long the token lives; else a sentence about what went wrong.
    async fn sign_in(&self) -> Result<(HeaderValue, Duration), String>;
}

/// An account at the users service.
struct Account {
    credentials: PathBuf,
    auth: AuthServiceClient<Channel>,
}

#[async_trait]
impl SignIn for Account {
    async fn sign_in(&self) -> Result<(HeaderValue, Duration), String> {
        let credentials = Credentials::read(&self.credentials)?;
        let request = SignInRequest { email: credentials.email, password: credentials.password.expose().to_owned() };
        let session = self.auth.clone().sign_in(request).await.map_err(|status| {
            if status.code() == Code::Unauthenticated {
                tracing::error!(file = %self.credentials.display(), "the users service refuses the credentials");
            }
            format!("can't sign in at the users service: {}", status.message())
        })?;
        let session = session.into_inner();
        let mut header = HeaderValue::try_from(format!("Bearer {}", session.access_token))
            .map_err(|_| "the users service gave a token that is no header value".to_owned())?;
        header.set_sensitive(true);
        let expiry = session.access_token_expire_time.and_then(|time| SystemTime::try_from(time).ok());
        let life = expiry.and_then(|expiry| expiry.duration_since(SystemTime::now()).ok()).unwrap_or_default();
        Ok((header, life))
    }
}

/// What an attempt to sign in has come to.
#[derive(Clone)]
struct Outcome {
    header: Result<HeaderValue, String>,
    /// When it came.
    at: Instant,
    /// Until when it holds.
    until: Instant,
}

/// Signs a service in and keeps its token fresh.
pub struct ServiceIdentity {
    account: Arc<dyn SignIn>,
    domain: &'static str,
    sign_ins: Attempts<Outcome>,
}

impl ServiceIdentity {
    /// An identity whose account is in the file `credentials`; `users` is a channel to the users service.
    ///
    /// The file is read when a token is needed, since the users service may write it later.
    pub fn new(credentials: PathBuf, users: Channel, domain: &'static str) -> Arc<Self> {
        Self::of(Arc::new(Account { credentials, auth: AuthServiceClient::new(users) }), domain)
    }

    fn of(account: Arc<dyn SignIn>, domain: &'static str) -> Arc<Self> {
        Arc::new(Self { account, domain, sign_ins: Attempts::default() })
    }

    /// A channel that sends this identity's token with each call.
    pub fn channel(self: &Arc<Self>, channel: Channel) -> WithToken {
        WithToken { channel, identity: self.clone() }
    }

    /// The header with the token. One call signs in for all, and all share what comes of it.
    async fn header(&self) -> Result<HeaderValue, Status> {
        let now = Instant::now();
        let account = self.account.clone();
        let outcome = self.sign_ins.outcome(|last| now < last.until, || sign_in(account)).await;
        outcome.header.map_err(|problem| DEPENDENCY_UNAVAILABLE.status(self.domain, problem, &[]))
    }

    /// Forgets the token that was `sent` if the answer says that the peer doesn't accept it.
    fn heed(&self, sent: &HeaderValue, answer: &HeaderMap) {
        if answer
            .get(Status::GRPC_STATUS)
            .is_some_and(|code| Code::from_bytes(code.as_bytes()) == Code::Unauthenticated)
        {
            self.sign_ins.forget(|last| last.header.as_ref() == Ok(sent) && last.at.elapsed() >= SETTLED);
        }
    }
}

async fn sign_in(account: Arc<dyn SignIn>) -> Outcome {
    let slow = |_| Err(format!("signing in at the users service took longer than {} s", TIMEOUT.as_secs()));
    let result = tokio::time::timeout(TIMEOUT, account.sign_in()).await.unwrap_or_else(slow);
    let at = Instant::now();
    match result {
        Ok((header, life)) => Outcome { header: Ok(header), at, until: at + life.saturating_sub(MARGIN.min(life / 4)) },
        Err(problem) => Outcome { header: Err(problem), at, until: at + SETTLED },
    }
}

/// A channel whose calls carry a token of the service role.
#[derive(Clone)]
pub struct WithToken {
    channel: Channel,
    identity: Arc<ServiceIdentity>,
}

impl Service<Request<Body>> for WithToken {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let clone = self.channel.clone();
        let mut channel = std::mem::replace(&mut self.channel, clone);
        let identity = self.identity.clone();
        Box::pin(async move {
            match identity.header().await {
                Ok(header) => {
                    request.headers_mut().insert(header::AUTHORIZATION, header.clone());
                    let answer = channel.call(request).await?;
                    identity.heed(&header, answer.headers());
                    Ok(answer)
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;

    use super::*;

    /// Gives a new token at each sign-in, in its own way and time.
    struct Fake {
        takes: Duration,
        lives: Option<Duration>,
        sign_ins: Mutex<u32>,
    }

    impl Fake {
        fn identity(takes: Duration, lives: Option<Duration>) -> (Arc<Self>, Arc<ServiceIdentity>) {
            let fake = Arc::new(Self { takes, lives, sign_ins: Mutex::default() });
            (fake.clone(), ServiceIdentity::of(fake, "tests.meshwork.dev"))
        }

        fn sign_ins(&self) -> u32 {
            *self.sign_ins.lock().unwrap()
        }
    }

    #[async_trait]
    impl SignIn for Fake {
        async fn sign_in(&self) -> Result<(HeaderValue, Duration), String> {
            let count = {
                let mut count = self.sign_ins.lock().unwrap();
                *count += 1;
                *count
            };
            tokio::time::sleep(self.takes).await;
            let header = HeaderValue::try_from(format!("Bearer {count}")).unwrap();
            self.lives.map(|life| (header, life)).ok_or_else(|| "refused".to_owned())
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn callers_share_a_sign_in_and_its_failure() {
        let (users, identity) = Fake::identity(3600 * SECOND, None);
        let start = Instant::now();
        for refused in join_all((0..50).map(|_| identity.header())).await {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable);
            assert!(refused.message().ends_with("longer than 5 s"), "{refused}");
        }
        identity.header().await.unwrap_err();
        assert_eq!((start.elapsed(), users.sign_ins()), (TIMEOUT, 1));
        tokio::time::advance(SETTLED).await;
        identity.header().await.unwrap_err();
        assert_eq!(users.sign_ins(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_goes_leaves_its_sign_in_to_the_others() {
        let (users, identity) = Fake::identity(3 * SECOND, Some(3600 * SECOND));
        tokio::time::timeout(2 * SECOND, identity.header()).await.unwrap_err();
        let start = Instant::now();
        identity.header().await.unwrap();
        assert_eq!((start.elapsed(), users.sign_ins()), (SECOND, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_before_its_end_but_not_at_each_call() {
        for (life, used) in [(3600, 3540), (240, 180), (40, 30)] {
            let (users, identity) = Fake::identity(Duration::ZERO, Some(life * SECOND));
            identity.header().await.unwrap();
            tokio::time::advance(used * SECOND - Duration::from_millis(1)).await;
            assert_eq!(identity.header().await.unwrap(), "Bearer 1");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(identity.header().await.unwrap(), "Bearer 2");
            assert_eq!(users.sign_ins(), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_a_peer_refuses_is_replaced() {
        let (users, identity) = Fake::identity(Duration::ZERO, Some(3600 * SECOND));
        let answer = |code: Code| Status::new(code, "").into_http::<Body>().headers().clone();
        let first = identity.header().await.unwrap();
        // Just made: another would be refused as well.
        identity.heed(&first, &answer(Code::Unauthenticated));
        assert_eq!(identity.header().await.unwrap(), first);
        tokio::time::advance(SETTLED).await;
        identity.heed(&first, &answer(Code::PermissionDenied));
        identity.heed(&first, &HeaderMap::new());
        assert_eq!(identity.header().await.unwrap(), first);
        identity.heed(&first, &answer(Code::Unauthenticated));
        let second = identity.header().await.unwrap();
        assert_ne!(second, first);
        tokio::time::advance(SETTLED).await;
        // Calls that were sent with the first one come back late.
        identity.heed(&first, &answer(Code::Unauthenticated));
        assert_eq!(identity.header().await.unwrap(), second);
        assert_eq!(users.sign_ins(), 2);
    }
}
