//! Exchanging tokens of other issuers.

use meshwork_api::UserName;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::exchange_token::ExchangedToken;
use crate::app::{App, AppError};
use crate::domain::{DisplayName, NewUser, PasswordHash, Role, User, foreign_email, foreign_name};
use crate::ports::{Account, Basis, Creation, ForeignIdentity, StoreError};

/// What sets the hashes of subjects apart from all other hashes. It never changes: accounts are found by it.
const PURPOSE: &[u8] = b"meshwork account of an issuer's subject";
/// How somebody is addressed who hasn't said yet how. An issuer's name for them is not asked for.
const DISPLAY_NAME: &str = "Customer";

impl App {
    /// Gives a token of ours to somebody whom another issuer knows, whose account is made when they come first. It has the role
    /// that the settings give them and ends no later than the one that it was given for. It is of no session.
    ///
    /// # Errors
    /// [`AppError::TokenNotExchanged`] when the account is deleted, or there is none and none may be made, or the other token is over.
    pub async fn exchange_foreign(&self, identity: ForeignIdentity) -> Result<ExchangedToken, AppError> {
        let now = self.clock.now();
        // It may be good for a moment longer, by the skew of clocks: nobody gets an account for that.
        if identity.expire_time <= now {
            return Err(AppError::TokenNotExchanged);
        }
        let name = foreign_name(&digest(&identity.issuer, &identity.subject));
        let account = match self.users.find_account(&name).await? {
            Some(account) => account,
            None if identity.may_create => self.create_foreign(&name, &identity.issuer).await?,
            None => return Err(AppError::TokenNotExchanged),
        };
        // Whoever signs up could take the id while an earlier release runs beside this one: such an account has a password.
        let is_theirs = account.user.is_foreign() && account.password.is_none();
        if !is_theirs {
            return Err(AppError::TokenNotExchanged);
        }
        self.access_token(&account.user, identity.role, Basis::Foreign, identity.expire_time, now)
    }

    /// Makes the account of a subject, or finds that somebody was faster.
    async fn create_foreign(&self, name: &UserName, issuer: &str) -> Result<Account, AppError> {
        let email = foreign_email(Uuid::new_v4()).map_err(StoreError::damaged)?;
        let display_name: DisplayName = DISPLAY_NAME.parse().map_err(StoreError::damaged)?;
        // The role of an account never changes, and what the settings give may: it goes with each token, not with the account.
        let new = NewUser { name: name.clone(), email, display_name, role: Role::Customer };
        let account = Account { user: User::register(new, self.clock.now()), password: PasswordHash::none() };
        match self.users.create(account.clone(), None).await? {
            Creation::Created(user) => {
                tracing::info!(%name, issuer, "made an account for somebody who signs in with another issuer");
                Ok(Account { user, ..account })
            }
            Creation::IdTaken => {
                let account = self.users.find_account(name).await?;
                account.ok_or_else(|| StoreError::damaged(format!("the id of {name} is taken by nobody")).into())
            }
            other @ (Creation::EmailTaken | Creation::Replayed(_) | Creation::RequestReused) => {
                Err(StoreError::damaged(format!("the account {name} can't be made: {other:?}")).into())
            }
        }
    }
}

/// The hash of a subject of an issuer.
fn digest(issuer: &str, subject: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [PURPOSE, issuer.as_bytes(), subject.as_bytes()] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_of_each_issuer_has_one_name() {
        let name = |issuer: &str, subject: &str| foreign_name(&digest(issuer, subject)).to_string();
        assert_eq!(
            name("https://login.example.com", "anna"),
            "users/788ab4fa-f029-8ca9-b81c-a0c9ec316ae4",
            "accounts would be lost"
        );
        assert_ne!(name("https://login.example.com", "anna"), name("https://login.example.org", "anna"));
        assert_ne!(name("a", "bc"), name("ab", "c"));
    }
}
