//! Erasing what is personal of accounts that were deleted long enough ago.

use meshwork_api::UserName;
use meshwork_chassis::consistency::Freshness;
use time::OffsetDateTime;

use crate::app::{App, AppError};
use crate::domain::{Email, StandIn};
use crate::ports::{ChangeError, StoreError};

/// How many accounts are looked up at once.
const BATCH: usize = 100;
/// How many such lookups a round has at most.
const BATCHES: u32 = 100;

impl App {
    /// Erases the address, the name and the password's hash of accounts that were deleted at least
    /// [`erase_after`](App::erase_after) ago, and what requests have left of them: all, unless there are very many. Their
    /// ids, roles and times stay, and their addresses stay taken. Several instances may be at it. Returns how many
    /// accounts it has seen to; one that fails keeps no other from its turn.
    ///
    /// # Errors
    /// When the store fails, or an account can't be erased.
    pub async fn erase_accounts(&self) -> Result<usize, AppError> {
        let now = self.clock.now();
        let (before, mut erased) = (now - self.erase_after, 0);
        for _ in 0..BATCHES {
            let names = self.users.erasable(before, BATCH).await?;
            let full = names.len() >= BATCH;
            let mut failed = None;
            for name in names {
                match self.erase(&name, now).await {
                    Ok(()) => erased += 1,
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if !full {
                break;
            }
        }
        Ok(erased)
    }

    async fn erase(&self, name: &UserName, now: OffsetDateTime) -> Result<(), AppError> {
        let user = self.users.get(name, Freshness::Latest).await?;
        let Some(user) = user.filter(|user| user.is_deleted() && !user.is_erased()) else { return Ok(()) };
        let key = user.email.key();
        // The same address may be an erased one's already, whose hash keeps it taken. Then this account only needs
        // something that is its own.
        for text in [key.clone(), format!("{key}\n{name}")] {
            let email = StandIn::email(&self.addresses.digest(&text)).map_err(StoreError::damaged)?;
            let stand_in = StandIn::new(email).map_err(StoreError::damaged)?;
            let changed = self.users.change(name, Box::new(move |user| Ok(user.erase(stand_in.clone(), now))));
            match changed.await {
                Ok(_) => return Ok(()),
                Err(ChangeError::EmailTaken) => {}
                Err(error) => return Err(AppError::of_change(error, name)),
            }
        }
        Err(AppError::EmailTaken)
    }

    /// Whether an address is that of an account that was erased: it stays taken.
    pub(super) async fn was_erased(&self, email: &Email) -> Result<bool, AppError> {
        for digest in self.addresses.digests(&email.key()) {
            let stand_in = StandIn::email(&digest).map_err(StoreError::damaged)?;
            if self.users.find_by_email(&stand_in).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
