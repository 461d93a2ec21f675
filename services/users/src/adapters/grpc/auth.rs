//! `AuthService`.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use meshwork_aip::{Violations, page};
use meshwork_api::meshwork::users::v1 as proto;
use meshwork_api::meshwork::users::v1::auth_service_server::AuthService;
use meshwork_api::{SessionName, UserName};
use meshwork_chassis::Principal;
use meshwork_chassis::config::Secret;
use tonic::{Request, Response, Status};

use crate::adapters::errors::{DOMAIN, status};
use crate::adapters::{access, convert, origin};
use crate::app::App;
use crate::app::commands::SignIn;
use crate::app::queries::ListSessions;
use crate::domain::{MAX_PASSWORD, normalize_password};

/// The name of the only key set.
const KEY_SET: &str = "jsonWebKeySet";
/// The most characters of a text that may be a refresh token; ours have 128 at most.
const MAX_TOKEN: usize = 256;
/// The most bytes of what is exchanged.
const MAX_SUBJECT_TOKEN: usize = 8192;

/// `AuthService` over the use cases.
pub struct AuthGrpc(Arc<App>);

impl AuthGrpc {
    /// Serves these use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[tonic::async_trait]
impl AuthService for AuthGrpc {
    async fn sign_in(&self, request: Request<proto::SignInRequest>) -> Result<Response<proto::Session>, Status> {
        let origin = origin::of(request.extensions());
        let proto::SignInRequest { email, password } = request.into_inner();
        let mut violations = Violations::new();
        let email = violations.name(&email, "email");
        // A password that is too short to be one is only wrong; one that is too long would be work for nothing.
        violations.check(!password.is_empty(), "password", "is required");
        let short = password.len() <= 4 * MAX_PASSWORD && normalize_password(&password).chars().count() <= MAX_PASSWORD;
        violations.check(short, "password", format_args!("must have at most {MAX_PASSWORD} characters"));
        violations.finish(DOMAIN)?;
        let Some(email) = email else {
            return Err(meshwork_chassis::errors::internal(DOMAIN, &"an address is missing without a violation"));
        };
        let command = SignIn { email, password: Secret::new(password), origin };
        let tokens = self.0.sign_in(command).await.map_err(status)?;
        Ok(Response::new(convert::session(&tokens)))
    }

    async fn refresh_session(
        &self,
        request: Request<proto::RefreshSessionRequest>,
    ) -> Result<Response<proto::Session>, Status> {
        let token = refresh_token(request.into_inner().refresh_token)?;
        let tokens = self.0.refresh_session(token).await.map_err(status)?;
        Ok(Response::new(convert::session(&tokens)))
    }

    async fn sign_out(&self, request: Request<proto::SignOutRequest>) -> Result<Response<()>, Status> {
        let token = refresh_token(request.into_inner().refresh_token)?;
        self.0.sign_out(token).await.map_err(status)?;
        Ok(Response::new(()))
    }

    async fn list_sessions(
        &self,
        request: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        let principal = Principal::of(&request);
        let proto::ListSessionsRequest { parent, page_size, page_token } = request.into_inner();
        let user: UserName = named(&parent, "parent")?;
        access::may_change(&principal, &user)?;
        let mut violations = Violations::new();
        let arguments = [parent.as_str()];
        let wanted = page::read(page_size, &page_token, &arguments, &mut violations);
        let after = wanted.after.and_then(|id| match SessionName::new(user.clone(), id) {
            Ok(last) => Some(last.id().to_owned()),
            Err(_) => {
                violations.add("page_token", "must be a next_page_token of this list");
                None
            }
        });
        violations.finish(DOMAIN)?;
        let query = ListSessions { user, size: wanted.size, after };
        let page::Page { items, next } = self.0.list_sessions(query).await.map_err(status)?;
        Ok(Response::new(proto::ListSessionsResponse {
            sessions: items.into_iter().map(convert::user_session).collect(),
            next_page_token: page::token(next.as_deref(), &arguments),
        }))
    }

    async fn revoke_session(&self, request: Request<proto::RevokeSessionRequest>) -> Result<Response<()>, Status> {
        let principal = Principal::of(&request);
        let name: SessionName = named(&request.get_ref().name, "name")?;
        access::may_end(&principal, &name)?;
        self.0.revoke_session(name).await.map_err(status)?;
        Ok(Response::new(()))
    }

    async fn exchange_token(
        &self,
        request: Request<proto::ExchangeTokenRequest>,
    ) -> Result<Response<proto::ExchangedToken>, Status> {
        let token = request.into_inner().subject_token;
        let mut violations = Violations::new();
        violations.check(!token.is_empty(), "subject_token", "is required");
        let is_short = token.len() <= MAX_SUBJECT_TOKEN;
        violations.check(is_short, "subject_token", format_args!("must have at most {MAX_SUBJECT_TOKEN} bytes"));
        violations.finish(DOMAIN)?;
        let exchanged = self.0.exchange_token(Secret::new(token)).await.map_err(status)?;
        Ok(Response::new(convert::exchanged(&exchanged)))
    }

    async fn get_json_web_key_set(
        &self,
        request: Request<proto::GetJsonWebKeySetRequest>,
    ) -> Result<Response<proto::JsonWebKeySet>, Status> {
        let name = &request.get_ref().name;
        let mut violations = Violations::new();
        violations.check(name.is_empty() || name == KEY_SET, "name", format!("must be {KEY_SET}, or empty"));
        violations.finish(DOMAIN)?;
        let keys = self.0.public_keys().into_iter().map(convert::json_web_key).collect();
        Ok(Response::new(proto::JsonWebKeySet { name: KEY_SET.to_owned(), keys }))
    }
}

/// The resource that a field names.
fn named<N: FromStr<Err: Display>>(name: &str, field: &str) -> Result<N, Status> {
    let mut violations = Violations::new();
    let named = violations.name(name, field);
    violations.finish(DOMAIN)?;
    named.ok_or_else(|| meshwork_chassis::errors::internal(DOMAIN, &"a name is missing without a violation"))
}

/// A text that may be a refresh token. One that isn't is unknown, like any other that we never gave.
fn refresh_token(text: String) -> Result<Secret, Status> {
    let mut violations = Violations::new();
    violations.check(!text.is_empty(), "refresh_token", "is required");
    violations.check(
        text.len() <= MAX_TOKEN,
        "refresh_token",
        format!("must be a token of SignIn or RefreshSession, which has at most {MAX_TOKEN} characters"),
    );
    violations.finish(DOMAIN)?;
    Ok(Secret::new(text))
}
