//! A service's own identity: tokens of the service role for its calls to others.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use meshwork_api::meshwork::users::v1::SignInRequest;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use tokio::sync::Mutex;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::Service;

use crate::config::Credentials;
use crate::errors::DEPENDENCY_UNAVAILABLE;

/// How long before its end a token is replaced.
const MARGIN: Duration = Duration::from_secs(60);

/// Signs a service in and keeps its token fresh.
pub struct ServiceIdentity {
    credentials: PathBuf,
    auth: AuthServiceClient<Channel>,
    domain: &'static str,
    /// The header with the token, and when to replace it. Held while signing in, so that one call does it for all.
    token: Mutex<Option<(HeaderValue, SystemTime)>>,
}

impl ServiceIdentity {
    /// An identity whose account is in the file `credentials`; `users` is a channel to the users service.
    ///
    /// The file is read when a token is needed, since the users service may write it later.
    pub fn new(credentials: PathBuf, users: Channel, domain: &'static str) -> Arc<Self> {
        Arc::new(Self { credentials, auth: AuthServiceClient::new(users), domain, token: Mutex::default() })
    }

    /// A channel that sends this identity's token with each call.
    pub fn channel(self: &Arc<Self>, channel: Channel) -> WithToken {
        WithToken { channel, identity: self.clone() }
    }

    async fn header(&self) -> Result<HeaderValue, Status> {
        let mut token = self.token.lock().await;
        if let Some((header, until)) = &*token
            && SystemTime::now() < *until
        {
            return Ok(header.clone());
        }
        let unavailable = |problem: String| DEPENDENCY_UNAVAILABLE.status(self.domain, problem, &[]);
        let credentials = Credentials::read(&self.credentials).map_err(unavailable)?;
        let request = SignInRequest { email: credentials.email, password: credentials.password.expose().to_owned() };
        let session = self.auth.clone().sign_in(request).await.map_err(|status| {
            if status.code() == Code::Unauthenticated {
                tracing::error!(file = %self.credentials.display(), "the users service refuses the credentials");
            }
            unavailable(format!("can't sign in at the users service: {}", status.message()))
        })?;
        let session = session.into_inner();
        let mut header = HeaderValue::try_from(format!("Bearer {}", session.access_token))
            .map_err(|_| unavailable("the users service gave a token that is no header value".to_owned()))?;
        header.set_sensitive(true);
        let expiry = session.access_token_expire_time.and_then(|time| SystemTime::try_from(time).ok());
        let until = expiry.unwrap_or_else(SystemTime::now) - MARGIN;
        *token = Some((header.clone(), until));
        Ok(header)
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
    type Error = tonic::transport::Error;
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
                    request.headers_mut().insert(header::AUTHORIZATION, header);
                    channel.call(request).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
