//! Making a key.

use meshwork_api::ApiKeyName;
use meshwork_chassis::config::Secret;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::{App, AppError, api_key};
use crate::domain::{ApiKey, DisplayName, Scope, User};
use crate::ports::{KeyCreation, NewApiKey, StoreError};

/// Makes a key of an account. That its owner asks for it is decided before, and so is whether the account may call what the key is
/// to be used for.
#[derive(Clone, Debug)]
pub struct CreateApiKey {
    /// The account.
    pub account: User,
    /// Its name; made when there is none.
    pub name: Option<ApiKeyName>,
    /// What it is for.
    pub display_name: DisplayName,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it is made.
    pub create_time: OffsetDateTime,
    /// When it ends, which is later.
    pub expire_time: OffsetDateTime,
}

/// A key that was made, and what it is.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// The key as it is kept.
    pub key: ApiKey,
    /// The key itself, which nobody else will ever have.
    pub secret: Secret,
}

impl App {
    /// Makes a key.
    ///
    /// # Errors
    /// When there is no such account, whose it is signs in with another issuer, or it has a key with the id or as many that live as
    /// it may.
    pub async fn create_api_key(&self, command: CreateApiKey) -> Result<CreatedKey, AppError> {
        let CreateApiKey { account, name, display_name, scopes, create_time, expire_time } = command;
        account.admit_credentials()?;
        let user = account.name;
        let name = match name {
            Some(name) => name,
            None => ApiKeyName::new(user.clone(), Uuid::new_v4().to_string()).map_err(StoreError::damaged)?,
        };
        let secret = api_key::generate(&user);
        let key = ApiKey { name: name.clone(), display_name, scopes, create_time, expire_time, revoke_time: None };
        let new = NewApiKey { key: key.clone(), digest: api_key::digest(&secret) };
        match self.keys.create_key(new).await? {
            KeyCreation::Created => Ok(CreatedKey { key, secret }),
            KeyCreation::NoAccount => Err(AppError::NotFound(user)),
            KeyCreation::IdTaken => Err(AppError::ApiKeyIdTaken(name)),
            KeyCreation::TooMany => Err(AppError::TooManyApiKeys(user)),
        }
    }
}
