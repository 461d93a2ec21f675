//! Signing in.

use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::{App, AppError, refresh_token};
use crate::domain::Email;
use crate::ports::{ActiveSession, Basis, NewSession, NewToken, Origin, SignError};

/// Opens a session for an address and its password.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: Secret,
    /// Where the call comes from.
    pub origin: Origin,
}

/// The tokens of a session.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Whose they are.
    pub user: UserName,
    /// What goes with each call.
    pub access_token: Secret,
    /// When it expires.
    pub access_token_expire_time: OffsetDateTime,
    /// What gives the next tokens, once; and the same ones again for a moment.
    pub refresh_token: Secret,
    /// When the session ends unless it is refreshed.
    pub refresh_token_expire_time: OffsetDateTime,
}

impl App {
    /// Opens a session.
    ///
    /// # Errors
    /// [`AppError::BadCredentials`], after the same time, for an unknown address, a wrong password and a deleted
    /// account; [`AppError::TooManyAttempts`], before anything is looked up, for who tries too often.
    pub async fn sign_in(&self, command: SignIn) -> Result<Tokens, AppError> {
        let (email, origin) = (command.email.clone(), command.origin.clone());
        if origin.is_internal {
            return self.open_session(command).await;
        }
        self.limits.sign_in(&email, &origin.address).await?;
        let opened = self.open_session(command).await;
        if !matches!(opened, Err(AppError::BadCredentials)) {
            self.limits.no_guess(&email, &origin.address).await;
        }
        opened
    }

    async fn open_session(&self, command: SignIn) -> Result<Tokens, AppError> {
        // What stands in an erased account, or in that of who signs in elsewhere, is no hash of a password.
        let account = self.users.find_to_sign_in(&command.email).await?.filter(|account| !account.password.is_none());
        let lane = command.origin.lane_of(account.as_ref().map(|account| account.user.role));
        let hash = account.as_ref().map(|account| &account.password);
        let verified = self.hasher.verify(&command.password, hash, &lane).await?;
        let account = account.filter(|account| verified && !account.user.is_deleted());
        let account = account.ok_or(AppError::BadCredentials)?;
        let now = self.clock.now();
        let refresh_token = refresh_token::generate(&account.user.name);
        let expire_time = now + self.lifetimes.refresh_token;
        let session = NewSession {
            id: Uuid::new_v4(),
            create_time: now,
            user: account.user.name.clone(),
            verified: account.password,
            token: NewToken { digest: refresh_token::digest(&refresh_token), expire_time, repeat: None },
        };
        let active = ActiveSession { id: session.id.to_string(), user: account.user };
        let tokens = self.tokens_for(&active, refresh_token, expire_time, now)?;
        if self.sessions.open(session).await? { Ok(tokens) } else { Err(AppError::BadCredentials) }
    }

    /// A session's tokens: a new access token beside the refresh token.
    pub(super) fn tokens_for(
        &self,
        session: &ActiveSession,
        refresh_token: Secret,
        refresh_token_expire_time: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Tokens, SignError> {
        let ActiveSession { id, user } = session;
        let access_token_expire_time = now + self.lifetimes.access_token;
        Ok(Tokens {
            user: user.name.clone(),
            access_token: self.tokens.issue(
                &user.name,
                user.role,
                Basis::Session(id),
                now,
                access_token_expire_time,
            )?,
            access_token_expire_time,
            refresh_token,
            refresh_token_expire_time,
        })
    }
}
