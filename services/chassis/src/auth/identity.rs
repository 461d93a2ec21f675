//! A service's own identity: tokens of the service role for its calls to others.

use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use meshwork::Channel;
use meshwork::credentials::{Credentials, Token, TokenSource};
use meshwork_api::meshwork::users::v1::SignInRequest;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use tonic::Code;

use crate::config;
use crate::errors::DEPENDENCY_UNAVAILABLE;

/// An account of the service role, which signs in at the users service.
pub struct ServiceIdentity {
    credentials: PathBuf,
    auth: AuthServiceClient<Channel>,
}

impl ServiceIdentity {
    /// An identity whose account is in the file `credentials`; `users` is a channel to the users service.
    ///
    /// The file is read when a token is needed, since the users service may write it later.
    pub fn new(credentials: PathBuf, users: Channel) -> Self {
        Self { credentials, auth: AuthServiceClient::new(users) }
    }

    /// Its tokens for calls. A call that gets none ends as DEPENDENCY_UNAVAILABLE of `domain`.
    pub fn credentials(self, domain: &'static str) -> Credentials {
        let failure = move |problem: &str| {
            DEPENDENCY_UNAVAILABLE.status(domain, format!("can't sign in at the users service: {problem}"), &[])
        };
        Credentials::builder(self).failure(failure).build()
    }
}

#[async_trait]
impl TokenSource for ServiceIdentity {
    async fn token(&self) -> Result<Token, String> {
        let account = config::Credentials::read(&self.credentials)?;
        let request = SignInRequest { email: account.email, password: account.password.expose().to_owned() };
        let session = self.auth.clone().sign_in(request).await.map_err(|status| {
            if status.code() == Code::Unauthenticated {
                tracing::error!(file = %self.credentials.display(), "the users service refuses the credentials");
            }
            status.message().to_owned()
        })?;
        let session = session.into_inner();
        let expiry = session.access_token_expire_time.and_then(|time| SystemTime::try_from(time).ok());
        let life = expiry.and_then(|expiry| expiry.duration_since(SystemTime::now()).ok()).unwrap_or_default();
        Token::bearer(&session.access_token, life).map_err(|_| "the token that it gave is no header value".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use tower::{Layer as _, ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn a_call_that_gets_no_token_says_what_is_missing() {
        // Nobody asks it: there is no file.
        let users = Channel::connect_lazy("http://127.0.0.1:1").unwrap();
        let identity = ServiceIdentity::new("/nowhere/credentials.toml".into(), users);
        let peer = service_fn(|_: http::Request<tonic::body::Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(()))
        });
        let service = identity.credentials("tests.meshwork.dev").layer(peer);
        let answer = service.oneshot(http::Request::new(tonic::body::Body::empty())).await.unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().starts_with("can't sign in at the users service: "), "{status}");
        assert!(status.message().contains("/nowhere/credentials.toml"), "{status}");
    }
}
