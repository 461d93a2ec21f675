//! Tokens of other issuers (RFC 7519, OpenID Connect): each issuer's are verified by the keys that it publishes.
//!
//! What a token says of itself chooses whose rules it is held against, and nothing else: the issuer, its keys' place, the audiences
//! and the algorithms come from the settings.

mod documents;
mod keys;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use meshwork::server::auth::Principal;
use meshwork::server::auth::jwt::{Claims, JwtAuthenticator, TokenError};
use meshwork_chassis::{CancellationToken, ServeError};
use serde::Deserialize;
use time::OffsetDateTime;

use self::keys::{FETCH_BOUND, PublishedKeys};
use crate::config::IssuerConfig;
use crate::domain::{MAX_SUBJECT, Role};
use crate::ports::{ForeignIdentity, ForeignTokenError, ForeignTokens};

/// How often keys are fetched, so that withdrawn ones end.
const REFRESH_INTERVAL: Duration = Duration::from_secs(240);
/// How long after a fetch tokens that name an unknown key can't begin another.
const REFRESH_FLOOR: Duration = Duration::from_secs(10);
/// How many verified tokens of an issuer are remembered. Whoever exchanges one has ours for minutes.
const CACHE: usize = 1_000;
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;
/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// The issuers that the settings name.
#[derive(Default)]
pub struct Issuers(HashMap<String, Issuer>);

struct Issuer {
    authenticator: JwtAuthenticator,
    roles: HashMap<String, Role>,
    create_accounts: bool,
}

/// What is read of a token before it is verified, and believed once it is.
#[derive(Deserialize)]
struct Statement {
    iss: String,
    sub: String,
    exp: f64,
}

impl Issuers {
    /// The issuers of these settings, whose keys nobody fetches yet ([`Issuers::keep_fresh`]).
    ///
    /// # Errors
    /// When a file of authorities can't be used.
    pub fn new(settings: &[IssuerConfig]) -> Result<Self, ServeError> {
        let issuers = settings.iter().enumerate().map(|(at, settings)| {
            let source = PublishedKeys::new(settings).map_err(|problem| {
                let key = format!("users.issuers[{at}]");
                ServeError::new(
                    format!("{key}: {problem}"),
                    format!("see to {key}.issuer, {key}.jwks_url and {key}.ca"),
                )
            })?;
            let authenticator = JwtAuthenticator::builder(source, &*settings.issuer, "")
                .audiences(settings.audiences.iter().cloned())
                .algorithms(settings.algorithms.iter().map(|algorithm| (*algorithm).into()))
                .clock_skew(settings.clock_skew)
                .refresh_interval(REFRESH_INTERVAL)
                .refresh_floor(REFRESH_FLOOR)
                // The source ends by itself before, and says more of it.
                .fetch_timeout(FETCH_BOUND + Duration::from_secs(1))
                .cache(CACHE)
                .principal(subject)
                .build();
            let roles = settings.roles.iter().map(|(subject, role)| (subject.clone(), (*role).into())).collect();
            let issuer = Issuer { authenticator, roles, create_accounts: settings.create_accounts };
            Ok((settings.issuer.clone(), issuer))
        });
        Ok(Self(issuers.collect::<Result<_, ServeError>>()?))
    }

    /// Fetches the issuers' keys, until there are some and now and then from there on. Ends with `shutdown`.
    pub async fn keep_fresh(&self, shutdown: CancellationToken) {
        let fresh = join_all(self.0.values().map(|issuer| issuer.authenticator.keep_fresh()));
        shutdown.run_until_cancelled(fresh).await;
        // Without issuers there is nothing to do until then.
        shutdown.cancelled().await;
    }
}

#[async_trait]
impl ForeignTokens for Issuers {
    async fn verify(&self, token: &str) -> Result<ForeignIdentity, ForeignTokenError> {
        let Statement { iss, sub, exp } = statement(token).ok_or(ForeignTokenError::Invalid)?;
        let issuer = self.0.get(&iss).ok_or(ForeignTokenError::Invalid)?;
        let principal = issuer.authenticator.verify(token).await.map_err(|error| match error {
            TokenError::KeysUnavailable => ForeignTokenError::KeysUnavailable,
            TokenError::Invalid | TokenError::Expired | TokenError::NotYetValid => {
                tracing::debug!(issuer = iss, %error, "a token of another issuer was refused");
                ForeignTokenError::Invalid
            }
        })?;
        // Both have read the same token; a text that the two read differently is nobody's.
        if principal.subject() != sub {
            return Err(ForeignTokenError::Invalid);
        }
        let role = issuer.roles.get(&sub).copied();
        Ok(ForeignIdentity {
            may_create: issuer.create_accounts || role.is_some(),
            role: role.unwrap_or(Role::Customer),
            // Whatever is no time of ours is after all times of ours: a cast takes the nearest number.
            expire_time: OffsetDateTime::from_unix_timestamp((exp as i64).clamp(0, LAST_SECOND))
                .map_err(|_| ForeignTokenError::Invalid)?,
            issuer: iss,
            subject: sub,
        })
    }
}

/// What a text says if it is a token; it may be anybody's.
fn statement(token: &str) -> Option<Statement> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let mut parts = token.split('.');
    let claims = URL_SAFE_NO_PAD.decode(parts.nth(1)?).ok()?;
    if parts.count() != 1 {
        return None;
    }
    serde_json::from_slice(&claims).ok()
}

/// Whom a verified token speaks for.
fn subject(claims: &Claims) -> Option<Principal> {
    // It says what has happened to somebody (RFC 8417), such as that they have signed out, and not that they ask for something.
    if claims.get("events").is_some() {
        return None;
    }
    let subject = claims.subject().filter(|subject| (1..=MAX_SUBJECT).contains(&subject.len()))?;
    Some(Principal::new(subject, [] as [&str; 0]))
}
