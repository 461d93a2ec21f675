//! The accounts that a new system begins with.

use futures_util::future::try_join_all;
use meshwork_api::UserName;
use meshwork_chassis::consistency::Freshness;

use crate::app::{App, AppError};
use crate::domain::{DisplayName, Email, FirstAccount, NewUser, User, check_password, first_accounts};
use crate::ports::{Account, Creation, CredentialsError, Lane};

impl App {
    /// Makes the first accounts that are missing. Those that exist, deleted ones too, are left alone: a password that
    /// was changed since, or a file that was replaced, is its owner's affair.
    ///
    /// # Errors
    /// When credentials can't be read or written, or a stranger has a first account's id or address.
    pub async fn seed_accounts(&self) -> Result<(), AppError> {
        let accounts = first_accounts();
        // Together, since hashing is what takes the time.
        try_join_all(accounts.iter().map(|account| self.seed(account))).await?;
        Ok(())
    }

    async fn seed(&self, first: &FirstAccount) -> Result<(), AppError> {
        let wrong = |what: &str, problem: String| {
            CredentialsError(format!("the {what} of the account for {} {problem}", first.label))
        };
        let name = UserName::new(&*first.id).map_err(|error| wrong("id", error.to_string()))?;
        if self.users.get(&name, Freshness::Latest).await?.is_some() {
            return Ok(());
        }
        // The file is on the disk before the account is: a crash between them leaves no account without a password.
        let credentials = self.credentials.obtain(first).await?;
        let email: Email = credentials.email.parse().map_err(|error| wrong("email", format!("{error}")))?;
        let display_name: DisplayName =
            first.display_name.parse().map_err(|error| wrong("display name", format!("{error}")))?;
        check_password(credentials.password.expose()).map_err(|error| wrong("password", error.to_string()))?;
        let password = self.hasher.hash(&credentials.password, &Lane::Service).await?;
        let user =
            User::register(NewUser { name: name.clone(), email, display_name, role: first.role }, self.clock.now());
        match self.users.create(Account { user, password }, None).await? {
            // Another instance may have been faster.
            _ if self.users.get(&name, Freshness::Latest).await?.is_some() => {
                tracing::info!(user = %name, "first account ready");
                Ok(())
            }
            Creation::EmailTaken => {
                Err(wrong("email", format!("{:?} belongs to another account", credentials.email)).into())
            }
            other => Err(wrong("id", format!("could not be used: {other:?}")).into()),
        }
    }
}
