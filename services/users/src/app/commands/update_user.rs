//! Changing an account.

use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use meshwork_chassis::consistency::Freshness;

use crate::app::{App, AppError};
use crate::domain::{Change, DisplayName, Email, User};
use crate::ports::Origin;

/// Changes an account; what is `None` stays as it is.
#[derive(Clone, Debug)]
pub struct UpdateUser {
    /// The account.
    pub name: UserName,
    /// The version that the caller has read; any when `None`.
    pub expected: Option<i64>,
    /// The new address.
    pub email: Option<Email>,
    /// How the person is addressed from now on.
    pub display_name: Option<DisplayName>,
    /// The new password. It ends all sessions of the account.
    pub password: Option<Secret>,
    /// Where the call comes from.
    pub origin: Origin,
    /// Whether a new address counts as a sign-up, since it tells as well whether the address is taken. What staff do doesn't.
    pub is_sign_up: bool,
}

impl App {
    /// Changes an account and returns it as it is then.
    ///
    /// # Errors
    /// When there is no such account, it is deleted or at another version, the address is taken, or too many were tried.
    pub async fn update_user(&self, command: UpdateUser) -> Result<User, AppError> {
        let UpdateUser { name, expected, email, display_name, password, origin, is_sign_up } = command;
        if is_sign_up && email.is_some() && !origin.is_internal {
            self.limits.sign_up(&origin.address).await?;
        }
        let password = match password {
            Some(password) => {
                // The transaction decides; this only spares a hash on what it would refuse.
                let user = self.users.get(&name, Freshness::Latest).await?;
                let user = user.ok_or_else(|| AppError::NotFound(name.clone()))?;
                user.admit(expected)?;
                Some(self.hasher.hash(&password, &origin.lane()).await?)
            }
            None => None,
        };
        let change = Change { email, display_name, password };
        let now = self.clock.now();
        let changed = self.users.change(&name, Box::new(move |user| user.change(change.clone(), expected, now))).await;
        changed.map_err(|error| AppError::of_change(error, &name))
    }
}
