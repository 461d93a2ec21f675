//! `ApiKeyService`.

use std::sync::Arc;

use meshwork_aip::{Violations, page};
use meshwork_api::meshwork::users::v1 as proto;
use meshwork_api::meshwork::users::v1::api_key_service_server::ApiKeyService;
use meshwork_api::{ApiKeyName, UserName};
use meshwork_chassis::clock::from_timestamp;
use meshwork_chassis::consistency::Freshness;
use meshwork_chassis::{Principal, Role};
use time::OffsetDateTime;
use tonic::{Request, Response, Status};

use super::named::named;
use crate::adapters::errors::{DOMAIN, status, status_of_write};
use crate::adapters::scopes::CallableScopes;
use crate::adapters::{access, convert};
use crate::app::App;
use crate::app::commands::CreateApiKey;
use crate::app::queries::ListApiKeys;
use crate::domain::{ApiKey, MAX_SCOPES, Scope, User};

/// The most characters of all scopes of a key: they go along with each call, in its token.
const MAX_SCOPES_LENGTH: usize = 4096;

/// `ApiKeyService` over the use cases.
pub struct ApiKeyGrpc {
    app: Arc<App>,
    callable: CallableScopes,
}

impl ApiKeyGrpc {
    /// Serves these use cases; `callable` is what keys may be used for.
    pub fn new(app: Arc<App>, callable: CallableScopes) -> Self {
        Self { app, callable }
    }

    /// What a request to make a key of an account calls for.
    fn create_command(&self, account: User, key: Option<proto::ApiKey>, id: &str) -> Result<CreateApiKey, Status> {
        let mut violations = Violations::new();
        if key.is_none() {
            violations.add("api_key", "is required");
        }
        let proto::ApiKey { display_name, scopes, expire_time, .. } = key.unwrap_or_default();
        let display_name = violations.name(&display_name, "api_key.display_name");
        // The account's own role, which keys have, whatever that of the caller's token.
        let scopes = self.scopes(convert::role_of_principal(account.role), &scopes, &mut violations);
        let create_time = self.app.clock.now();
        let expire_time = expiry(expire_time.as_ref(), create_time, &mut violations);
        let name = if id.is_empty() {
            None
        } else {
            violations.chosen_id(id, "api_key_id");
            ApiKeyName::new(account.name.clone(), id).ok()
        };
        violations.finish(DOMAIN)?;
        match (display_name, expire_time) {
            (Some(display_name), Some(expire_time)) => {
                Ok(CreateApiKey { account, name, display_name, scopes, create_time, expire_time })
            }
            _ => Err(meshwork_chassis::errors::internal(DOMAIN, &"a field is missing without a violation")),
        }
    }

    /// What a key of an account of this role is to be used for.
    fn scopes(&self, role: Role, texts: &[String], violations: &mut Violations) -> Vec<Scope> {
        if texts.len() > MAX_SCOPES {
            violations.add("api_key.scopes", format_args!("must have at most {MAX_SCOPES} elements"));
            return Vec::new();
        }
        let length: usize = texts.iter().map(|text| text.len() + 1).sum();
        violations.check(
            length <= MAX_SCOPES_LENGTH,
            "api_key.scopes",
            format_args!(
                "must have at most {MAX_SCOPES_LENGTH} characters together; name services in place of their methods"
            ),
        );
        let mut scopes = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            match text.parse::<Scope>() {
                Ok(scope) if self.callable.has(role, &scope) => scopes.push(scope),
                Ok(_) => violations.add(
                    format_args!("api_key.scopes[{at}]"),
                    "must name a service or a method that the account may call, and keys too",
                ),
                Err(problem) => violations.add(format_args!("api_key.scopes[{at}]"), problem),
            }
        }
        scopes
    }
}

#[tonic::async_trait]
impl ApiKeyService for ApiKeyGrpc {
    async fn create_api_key(
        &self,
        request: Request<proto::CreateApiKeyRequest>,
    ) -> Result<Response<proto::ApiKey>, Status> {
        let principal = access::without_key(&request)?;
        let proto::CreateApiKeyRequest { parent, api_key, api_key_id } = request.into_inner();
        let user: UserName = named(&parent, "parent")?;
        access::must_own(&principal, &user)?;
        let account = self.app.get_user(user, false, Freshness::Latest).await.map_err(status)?;
        let command = self.create_command(account, api_key, &api_key_id)?;
        // Though an id may be given, the same request doesn't tell the secret again.
        let created = self.app.create_api_key(command).await.map_err(|error| status_of_write(error, false))?;
        Ok(Response::new(convert::created_key(created)))
    }

    async fn get_api_key(&self, request: Request<proto::GetApiKeyRequest>) -> Result<Response<proto::ApiKey>, Status> {
        let name = seen(&access::without_key(&request)?, &request.get_ref().name)?;
        let key = self.app.get_api_key(name).await.map_err(status)?;
        Ok(Response::new(convert::api_key(key)))
    }

    async fn list_api_keys(
        &self,
        request: Request<proto::ListApiKeysRequest>,
    ) -> Result<Response<proto::ListApiKeysResponse>, Status> {
        let principal = access::without_key(&request)?;
        let proto::ListApiKeysRequest { parent, page_size, page_token } = request.into_inner();
        let user: UserName = named(&parent, "parent")?;
        access::may_change(&principal, &user)?;
        let mut violations = Violations::new();
        let arguments = [parent.as_str()];
        let wanted = page::read(page_size, &page_token, &arguments, &mut violations);
        let after = wanted.after.and_then(|id| match ApiKeyName::new(user.clone(), id) {
            Ok(last) => Some(last.id().to_owned()),
            Err(_) => {
                violations.add("page_token", "must be a next_page_token of this list");
                None
            }
        });
        violations.finish(DOMAIN)?;
        let query = ListApiKeys { user, size: wanted.size, after };
        let page::Page { items, next } = self.app.list_api_keys(query).await.map_err(status)?;
        Ok(Response::new(proto::ListApiKeysResponse {
            api_keys: items.into_iter().map(convert::api_key).collect(),
            next_page_token: page::token(next.as_deref(), &arguments),
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<proto::RevokeApiKeyRequest>,
    ) -> Result<Response<proto::ApiKey>, Status> {
        let name = seen(&access::without_key(&request)?, &request.get_ref().name)?;
        let key = self.app.revoke_api_key(name).await.map_err(|error| status_of_write(error, true))?;
        Ok(Response::new(convert::api_key(key)))
    }
}

/// The key that a request names, if the caller may see it.
fn seen(principal: &Principal, name: &str) -> Result<ApiKeyName, Status> {
    let name = named(name, "name")?;
    access::may_see_key(principal, &name)?;
    Ok(name)
}

/// When a key that is made now is to end.
fn expiry(
    wanted: Option<&prost_types::Timestamp>,
    now: OffsetDateTime,
    violations: &mut Violations,
) -> Option<OffsetDateTime> {
    const FIELD: &str = "api_key.expire_time";
    let wanted = match wanted.map(from_timestamp) {
        Some(None) => {
            violations.add(FIELD, "must be a time of the years 1 to 9999");
            return None;
        }
        wanted => wanted.flatten(),
    };
    match ApiKey::expiry(wanted, now) {
        Ok(expiry) => Some(expiry),
        Err(problem) => {
            violations.add(FIELD, problem);
            None
        }
    }
}
