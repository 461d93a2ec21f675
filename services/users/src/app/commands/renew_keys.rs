//! Renewing the keys by which addresses are compared, after a release with another rule for them.

use meshwork_chassis::consistency::Freshness;

use crate::app::{App, AppError};
use crate::ports::{KeyRenewal, StoreError, UserCursor, UserFilter, UserPage};

/// How many accounts are read at once.
const BATCH: usize = 200;

/// What a round over the accounts has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRenewals {
    /// How many accounts have another key now.
    pub renewed: u64,
    /// How many go on by their old key, since another account has the one that they should have.
    pub taken: u64,
    /// How many could not be renewed at this moment.
    pub failed: u64,
    /// Whether all parts of the store could be asked.
    pub is_complete: bool,
}

impl App {
    /// Gives all accounts the keys that this release has for their addresses, the oldest first, so that of several that have become
    /// one address the oldest is known by all its spellings. The others go on signing in by exactly theirs, until they change it.
    ///
    /// It may be done again at any time, after it has broken off too, and by several instances at once: who has the right key is
    /// left alone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn renew_keys(&self) -> Result<KeyRenewals, AppError> {
        let filter = UserFilter { show_deleted: true, non_ascii: true, ..UserFilter::default() };
        let mut done = KeyRenewals { is_complete: true, ..KeyRenewals::default() };
        let mut after: Option<UserCursor> = None;
        loop {
            let listed = self.users.list(&filter, BATCH, after.as_ref(), Freshness::Latest).await?;
            let UserPage { page, unreachable } = listed;
            done.is_complete &= unreachable.is_empty();
            // Only where the address as it is kept has another key by an earlier rule can it be kept by that.
            for user in page.items.iter().filter(|user| user.email.lookup_keys().len() > 1) {
                match self.users.renew_key(&user.name).await {
                    Ok(KeyRenewal::Current) => {}
                    Ok(KeyRenewal::Renewed) => done.renewed += 1,
                    Ok(KeyRenewal::Taken) => {
                        done.taken += 1;
                        tracing::warn!(
                            user = %user.name,
                            "another account has the same address in another spelling; this one can sign in by exactly its own \
                             alone until it has another address"
                        );
                    }
                    Err(error) => {
                        done.failed += 1;
                        tracing::warn!(user = %user.name, %error, "the key of an address can't be renewed at this moment");
                    }
                }
            }
            let Some(next) = page.next else { return Ok(done) };
            after = Some(next.parse::<UserCursor>().map_err(StoreError::damaged)?);
        }
    }
}
