//! Changing an account.

use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use meshwork_chassis::consistency::Freshness;

use crate::app::{App, AppError};
use crate::domain::{Change, DisplayName, Email, User, UserError};
use crate::ports::{ChangeError, Origin};

/// Changes an account; what is `None` stays as it is.
#[derive(Clone, Debug)]
pub struct UpdateUser {
    /// The account.
    pub name: UserName,
    /// The version that the caller has read; any when `None`.
    pub expected: Option<i64>,
    /// The new address. It ends the account's sessions.
    pub email: Option<Email>,
    /// How the person is addressed from now on.
    pub display_name: Option<DisplayName>,
    /// The new password. It ends the account's sessions.
    pub password: Option<Secret>,
    /// What shows that whoever changes their own account is its owner, and not somebody who has borrowed an access token;
    /// `None` for who changes another's, as staff may.
    pub owner: Option<Reauthentication>,
    /// Where the call comes from.
    pub origin: Origin,
    /// Whether a new address counts as a sign-up, since it tells as well whether the address is taken. What staff do doesn't.
    pub is_sign_up: bool,
}

/// What the owner of an account shows to change its address or its password.
#[derive(Clone, Debug)]
pub struct Reauthentication {
    /// The password that the account has now.
    pub current_password: Option<Secret>,
    /// The id of the session that the owner changes it in: it goes on when the others end. `None` where that isn't known.
    pub session: Option<String>,
}

/// What an owner may change, once it is known who asks for it.
struct Clearance {
    email: Option<Email>,
    /// The version whose password was verified.
    verified: Option<i64>,
    /// The session that goes on.
    session: Option<String>,
}

impl App {
    /// Changes an account and returns it as it is then.
    ///
    /// # Errors
    /// When there is no such account, it is deleted or at another version, the address is taken, or the owner has not shown
    /// the current password for a new address or password, or too many were tried; or when the account is of somebody who signs in
    /// with another issuer, and would get an address or a password.
    pub async fn update_user(&self, command: UpdateUser) -> Result<User, AppError> {
        let UpdateUser { name, expected, email, display_name, password, owner, origin, is_sign_up } = command;
        let Clearance { email, verified, session } = match owner {
            Some(owner) if email.is_some() || password.is_some() => {
                self.reauthenticate(&name, expected, owner, email, password.is_some(), &origin).await?
            }
            _ => Clearance { email, verified: None, session: None },
        };
        if is_sign_up && email.is_some() && !origin.is_internal {
            self.limits.sign_up(&origin.address).await?;
        }
        let password = match password {
            Some(password) => {
                // The transaction decides; this only spares a hash on what it would refuse.
                let user = self.users.get(&name, Freshness::Latest).await?;
                let user = user.ok_or_else(|| AppError::NotFound(name.clone()))?;
                user.admit(expected)?;
                user.admit_credentials()?;
                Some(self.hasher.hash(&password, &origin.lane()).await?)
            }
            None => None,
        };
        if let Some(email) = &email
            && self.is_others(email, &name).await?
        {
            return Err(AppError::EmailTaken);
        }
        let change = Change { email, display_name, password };
        let now = self.clock.now();
        // Between the look at the password and this it may have become another.
        let version = expected.or(verified);
        let decide = move |user: &User| {
            let changed = user.change(change.clone(), version, now);
            changed.map(|changed| changed.map(|changed| changed.keeping(session.clone())))
        };
        let changed = self.users.change(&name, Box::new(decide)).await;
        changed.map_err(|error| match error {
            // Who has named no version is only told that there were others.
            ChangeError::Refused(UserError::VersionMismatch { .. }) if expected.is_none() => AppError::Conflict(name),
            error => AppError::of_change(error, &name),
        })
    }

    /// Sees that the owner of an account has its password, if they change its address or its password.
    async fn reauthenticate(
        &self,
        name: &UserName,
        expected: Option<i64>,
        owner: Reauthentication,
        email: Option<Email>,
        has_new_password: bool,
        origin: &Origin,
    ) -> Result<Clearance, AppError> {
        let account = self.users.find_account(name).await?.ok_or_else(|| AppError::NotFound(name.clone()))?;
        account.user.admit(expected)?;
        // The address that it has is no new one: who replaces all of an account sends it along.
        let email = email.filter(|email| !email.is_spelled_as(&account.user.email));
        if email.is_none() && !has_new_password {
            return Ok(Clearance { email, verified: None, session: None });
        }
        account.user.admit_credentials()?;
        let current = owner.current_password.ok_or(AppError::PasswordRequired)?;
        // Who has borrowed an access token guesses no more often than at a sign-in.
        if !origin.is_internal {
            self.limits.sign_in(&account.user.email, &origin.address).await?;
        }
        let verified = self.hasher.verify(&current, Some(&account.password), &origin.lane()).await;
        if !origin.is_internal && !matches!(verified, Ok(false)) {
            self.limits.no_guess(&account.user.email, &origin.address).await;
        }
        if !verified? {
            return Err(AppError::WrongPassword(name.clone()));
        }
        Ok(Clearance { email, verified: Some(account.user.version), session: owner.session })
    }

    /// Whether an address is another account's: of one that is there, deleted ones too, by its key or by exactly what was typed, as
    /// earlier releases have kept accounts; or of one that was erased. The account's own stays its own, whoever else has had it.
    async fn is_others(&self, email: &Email, name: &UserName) -> Result<bool, AppError> {
        match self.users.find_by_email(email).await? {
            Some(account) => Ok(account.user.name != *name),
            // In this order: who is erased between the two is found by the second.
            None => self.was_erased(email).await,
        }
    }
}
