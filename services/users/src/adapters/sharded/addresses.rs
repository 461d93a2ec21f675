//! The addresses: claimed, confirmed, let go; and what a claim that somebody else has comes to.

use std::time::Duration;

use futures_util::future::BoxFuture;
use meshwork_api::UserName;
use tokio::time::{Instant, sleep};

use super::store::{GRACE, ShardedStore};
use crate::adapters::store::outcome::{Claim, ClaimEnd, Found, HeldClaim, Rekey, Taking};
use crate::ports::{Account, StoreError};

/// How often a claim that hasn't ended is looked at, longer by up to a half at random.
const LOOK: Duration = Duration::from_millis(50);

/// How many claims of each shard are settled at most in a round that nobody has met.
const STALE: u32 = 100;
/// How long one shard may take to name them.
const NAMING: Duration = Duration::from_secs(5);
/// For how long a round begins to settle another one.
const ROUND: Duration = Duration::from_secs(30);

/// What a claim that somebody has comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// An account has the address.
    Taken,
    /// Nobody has it: the claim is gone.
    Gone,
    /// It isn't known yet.
    Open,
}

impl ShardedStore {
    /// What an address leads to, by its claim.
    pub(super) async fn claimed(&self, key: &str) -> Result<Found, StoreError> {
        let found = self.at_claim(key, |store, place| {
            let key = key.to_owned();
            Box::pin(async move { store.find_by_email(place, key).await })
        });
        found.await
    }

    /// The account that a claim leads to, if it has the address.
    pub(super) async fn account_of(&self, found: Found, key: &str) -> Result<Option<Account>, StoreError> {
        let id = match found {
            Found::Account(account) => return Ok(Some(account)),
            Found::Nobody => return Ok(None),
            Found::Elsewhere(id) => UserName::new(id).map_err(StoreError::damaged)?,
        };
        let account = self.at_user(id.id(), |store, _, place| {
            let id = id.clone();
            Box::pin(async move { store.account(place, id).await })
        });
        // A claim may be older or younger than the account's address.
        Ok(account.await?.filter(|account| account.user.email.answers_to(key)))
    }

    /// Claims an address for an account that changes its address, unless it has the claim; `None` when another account has it.
    pub(super) async fn claim(&self, key: &str, user: &str, deadline: Instant) -> Result<Option<Rekey>, StoreError> {
        loop {
            match self.try_claim(key, user).await? {
                Taking::Taken(claim) => return Ok(Some(Rekey::With(claim))),
                Taking::Held(held) => {
                    let settled = self.settle(&held).await?;
                    match settled {
                        Settled::Taken if held.user == user => return Ok(Some(Rekey::Own(held.claim))),
                        Settled::Taken => return Ok(None),
                        Settled::Gone => {}
                        Settled::Open => wait(deadline).await?,
                    }
                }
            }
        }
    }

    /// Claims an address, unless there is a claim on it.
    pub(super) async fn try_claim(&self, key: &str, user: &str) -> Result<Taking, StoreError> {
        let claim = Claim::new(key);
        let taking = self.at_claim(key, |store, place| {
            let (claim, user) = (claim.clone(), user.to_owned());
            Box::pin(async move { store.claim(place, claim, user).await })
        });
        taking.await
    }

    /// What a claim comes to. One that nobody has ended in time is ended here.
    pub(super) async fn settle(&self, held: &HeldClaim) -> Result<Settled, StoreError> {
        let HeldClaim { claim, user, confirmed, age } = held;
        let end = self.at_user(user, |store, _, place| {
            let (claim, user) = (claim.id.clone(), user.clone());
            Box::pin(async move { store.claim_end(place, claim, user).await })
        });
        match end.await? {
            ClaimEnd::Held => {
                if !confirmed {
                    self.confirm(claim).await;
                }
                Ok(Settled::Taken)
            }
            ClaimEnd::Open if !confirmed && *age < GRACE => Ok(Settled::Open),
            ClaimEnd::Open if !confirmed && !self.void(claim, user).await? => Ok(Settled::Open),
            // Confirmed, it was used; so long ago that this is forgotten. In any case the account has another claim now.
            ClaimEnd::Open | ClaimEnd::Used | ClaimEnd::Void => {
                self.let_go(claim).await?;
                Ok(Settled::Gone)
            }
        }
    }

    /// Settles claims that were left behind long ago and that nobody has met, but for those whose account's shard is away: they
    /// wait for it. Returns what has failed, by shards.
    pub(super) async fn settle_stale(&self) -> Vec<String> {
        let gathered = self.shards.gather(NAMING, |shard| -> BoxFuture<'static, Result<Vec<HeldClaim>, StoreError>> {
            if !shard.is_reached() {
                return Box::pin(async { Ok(Vec::new()) });
            }
            let store = shard.part.clone();
            Box::pin(async move { store.stale_claims(STALE).await })
        });
        let (gathered, mut failed) = (gathered.await, Vec::new());
        let deadline = Instant::now() + ROUND;
        for (_, name, stale) in gathered {
            let stale = match stale {
                Ok(stale) => stale,
                Err(error) => {
                    failed.push(format!("the claims of shard {name}: {error}"));
                    continue;
                }
            };
            // One of those that fail is told of: mostly, they fail alike.
            let mut problem = None;
            for held in stale {
                if Instant::now() >= deadline {
                    break;
                }
                if !self.is_in_reach(&held.user) {
                    continue;
                }
                if let Err(error) = self.settle(&held).await {
                    problem = Some(format!("a claim of shard {name}: {error}"));
                }
            }
            failed.extend(problem);
        }
        failed
    }

    /// Declares a claim void where its account is; returns whether it was.
    async fn void(&self, claim: &Claim, user: &str) -> Result<bool, StoreError> {
        let voided = self.at_user(user, |store, _, place| {
            let (claim, user) = (claim.id.clone(), user.to_owned());
            Box::pin(async move { store.void(place, claim, user).await })
        });
        voided.await
    }

    /// Notes that a claim was used. Whoever meets the claim finds it out otherwise: that it can't be noted is no failure.
    pub(super) async fn confirm(&self, claim: &Claim) {
        let confirmed = self.at_claim(&claim.key, |store, place| {
            let claim = claim.clone();
            Box::pin(async move { store.confirm(place, claim).await })
        });
        if let Err(error) = confirmed.await {
            tracing::debug!(%error, "a claim can't be confirmed; whoever meets it will");
        }
    }

    /// Has the sweeper look into a claim, unless it is let go before: nobody may meet the one on an address that is erased, and
    /// the address would stay in it.
    pub(super) async fn unconfirm(&self, claim: &Claim) -> Result<(), StoreError> {
        let unconfirmed = self.at_claim(&claim.key, |store, place| {
            let claim = claim.clone();
            Box::pin(async move { store.unconfirm(place, claim).await })
        });
        unconfirmed.await
    }

    /// Lets an address go that is held by this claim. Whoever meets the claim lets it go otherwise: that it can't be done is no
    /// failure.
    pub(super) async fn release(&self, claim: &Claim) {
        if let Err(error) = self.let_go(claim).await {
            tracing::debug!(%error, "a claim can't be let go; whoever meets it will");
        }
    }

    async fn let_go(&self, claim: &Claim) -> Result<(), StoreError> {
        let released = self.at_claim(&claim.key, |store, place| {
            let claim = claim.clone();
            Box::pin(async move { store.release(place, claim).await })
        });
        released.await
    }
}

/// The pause before a claim that hasn't ended is looked at again.
///
/// # Errors
/// When the deadline is over.
pub(super) async fn wait(deadline: Instant) -> Result<(), StoreError> {
    if Instant::now() >= deadline {
        let sentence = "the address is being claimed by somebody whose claim doesn't end; try again";
        return Err(StoreError::Unavailable(sentence.to_owned()));
    }
    sleep(LOOK.mul_f64(1.0 + rand::random::<f64>() / 2.0)).await;
    Ok(())
}
