//! Creating accounts: the request's home, the claim on the address, the account, the confirmation.

use std::fmt::Write as _;

use meshwork_api::UserName;
use meshwork_chassis::request::RequestKey;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::addresses::{Settled, wait};
use super::store::{BOUND, GRACE, ShardedStore};
use crate::adapters::store::CLAIMS;
use crate::adapters::store::outcome::{Assigned, Claim, Claiming, Creating, Home, NewAccount, Taking};
use crate::ports::{Account, Creation, StoreError};

impl ShardedStore {
    /// What a request has come to before.
    pub(super) async fn creation_of(&self, request: &RequestKey) -> Result<Option<Creation>, StoreError> {
        let key = key_of(request);
        let home = self.at_claim(&key, |store, place| {
            let key = key.clone();
            Box::pin(async move { store.home(place, key).await })
        });
        match home.await? {
            Some(home) => self.answer_at(&home, request).await,
            None => Ok(None),
        }
    }

    /// What is known of a request where the account is that it was to make.
    async fn answer_at(&self, home: &Home, request: &RequestKey) -> Result<Option<Creation>, StoreError> {
        let known = self.at_user(&home.user, |store, _, place| {
            let request = request.clone();
            Box::pin(async move { store.find_creation(place, request).await })
        });
        known.await
    }

    /// Creates an account.
    pub(super) async fn make(&self, account: Account, request: Option<RequestKey>) -> Result<Creation, StoreError> {
        let account = match &request {
            Some(request) => {
                // Else the request would be bound to an id that can't be had.
                self.reach(account.user.name.id()).await?;
                match self.settle_home(account, request).await? {
                    Ok(account) => account,
                    Err(creation) => return Ok(creation),
                }
            }
            None => account,
        };
        let id = account.user.name.clone();
        let creation = self.make_claimed(account, request.clone()).await?;
        if !matches!(creation, Creation::EmailTaken | Creation::IdTaken) {
            return Ok(creation);
        }
        // By the same request, perhaps, which has come twice at once.
        if let Some(request) = &request
            && let Some(known) = self.creation_of(request).await?
        {
            return Ok(known);
        }
        if let Some(request) = &request {
            self.refuse_home(id.id(), request).await;
        }
        // Whoever has both is told of the id.
        let has_id = self.at_user(id.id(), |store, _, place| {
            let id = id.clone();
            Box::pin(async move { store.account(place, id).await })
        });
        Ok(if has_id.await?.is_some() { Creation::IdTaken } else { Creation::EmailTaken })
    }

    /// The account with the id that the same request has begun with, if it has; the answer, when the request has one.
    async fn settle_home(
        &self,
        mut account: Account,
        request: &RequestKey,
    ) -> Result<Result<Account, Creation>, StoreError> {
        let key = key_of(request);
        let new = Home { user: account.user.name.id().to_owned(), hash: request.hash.to_vec() };
        let deadline = Instant::now() + BOUND;
        loop {
            let assigned = self.at_claim(&key, |store, place| {
                let (key, new) = (key.clone(), new.clone());
                Box::pin(async move { store.assign(place, key, new).await })
            });
            let Assigned { home, age, is_refused } = assigned.await?;
            if home.hash == new.hash {
                account.user.name = UserName::new(home.user).map_err(StoreError::damaged)?;
                return Ok(Ok(account));
            }
            // Another body came with this id. If it has made an account, or may still make one, this one is refused; else it
            // takes its place.
            if let Some(known) = self.answer_at(&home, request).await? {
                return Ok(Err(known));
            }
            if !is_refused && age < GRACE {
                return Ok(Err(Creation::RequestReused));
            }
            let reassigned = self.at_claim(&key, |store, place| {
                let (key, home, new) = (key.clone(), home.clone(), new.clone());
                Box::pin(async move { store.reassign(place, key, home, new).await })
            });
            if !reassigned.await? && Instant::now() >= deadline {
                let sentence = "others send the same request id with other bodies all the time; try again";
                return Err(StoreError::Unavailable(sentence.to_owned()));
            }
        }
    }

    /// Notes that a request was answered and has made no account, so that its id may come with another body at once. Else that
    /// may come a little later: that it can't be noted is no failure.
    async fn refuse_home(&self, user: &str, request: &RequestKey) {
        let (key, home) = (key_of(request), Home { user: user.to_owned(), hash: request.hash.to_vec() });
        let refused = self.at_claim(&key, |store, place| {
            let (key, home) = (key.clone(), home.clone());
            Box::pin(async move { store.refuse(place, key, home).await })
        });
        if let Err(error) = refused.await {
            tracing::debug!(%error, "it can't be noted that a request has made no account");
        }
    }

    /// Claims the address and creates the account with it.
    async fn make_claimed(&self, account: Account, request: Option<RequestKey>) -> Result<Creation, StoreError> {
        let new = NewAccount { claim: Claim::new(account.user.email.key()), account, request };
        let deadline = Instant::now() + BOUND;
        loop {
            let outcome = match self.make_together(&new).await? {
                Some(outcome) => outcome,
                None => self.make_apart(&new).await?,
            };
            match outcome {
                Creating::Answer(creation) => return Ok(creation),
                Creating::Held(held) => match self.settle(&held).await? {
                    Settled::Taken => return Ok(Creation::EmailTaken),
                    Settled::Gone => {}
                    Settled::Open => wait(deadline).await?,
                },
                Creating::Voided => wait(deadline).await?,
            }
        }
    }

    /// Creates the account and its claim in one transaction; `None` when they don't lie in one shard, and that of the account
    /// answers.
    async fn make_together(&self, new: &NewAccount) -> Result<Option<Creating>, StoreError> {
        let made = self.at_user(new.account.user.name.id(), |store, shard, place| {
            let (shards, new) = (self.shards.clone(), new.clone());
            Box::pin(async move {
                let (other, claim_place) = shards.locate(CLAIMS, &new.claim.key)?;
                if other.id != shard {
                    // A claim that waits for a shard that is away would hold the address as long.
                    store.check(place).await?;
                    return Ok(None);
                }
                let claim = Claim::new(new.claim.key.clone());
                let new = NewAccount { claim, ..new };
                store.create(&[place, claim_place], new, Claiming::Here).await.map(Some)
            })
        });
        made.await
    }

    /// Claims the address in its shard, creates the account in another, and confirms the claim.
    async fn make_apart(&self, new: &NewAccount) -> Result<Creating, StoreError> {
        let id = new.account.user.name.id();
        let claim = match self.try_claim(&new.claim.key, id).await? {
            Taking::Taken(claim) => claim,
            Taking::Held(held) => return Ok(Creating::Held(held)),
        };
        fail::fail_point!("users::claimed", |_| Err(StoreError::Unavailable("a crash point".to_owned())));
        let new = NewAccount { claim: claim.clone(), ..new.clone() };
        let made = self.at_user(id, |store, _, place| {
            let new = new.clone();
            Box::pin(async move { store.create(&[place], new, Claiming::Before).await })
        });
        let made = match made.await {
            Ok(made) => made,
            Err(error) => {
                // Where it isn't known what has come of it, the claim stays: whoever meets it finds out.
                if error.is_without_effect() {
                    self.release(&claim).await;
                }
                return Err(error);
            }
        };
        fail::fail_point!("users::created", |_| Err(StoreError::Unavailable("a crash point".to_owned())));
        if matches!(made, Creating::Answer(Creation::Created(_))) {
            self.confirm(&claim).await;
            fail::fail_point!("users::confirmed", |_| Err(StoreError::Unavailable("a crash point".to_owned())));
        } else {
            self.release(&claim).await;
            fail::fail_point!("users::released", |_| Err(StoreError::Unavailable("a crash point".to_owned())));
        }
        Ok(made)
    }
}

/// The key of a request: whoever knows one can't choose where another lies.
fn key_of(request: &RequestKey) -> String {
    let mut hash = Sha256::new();
    for part in [request.principal.as_str(), request.method, request.id.as_str()] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut key = String::with_capacity(64);
    for byte in hash.finalize() {
        // A String takes whatever is written to it.
        _ = write!(key, "{byte:02x}");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_a_key_of_its_own() {
        let key = |principal: &str, id: &str| {
            key_of(&RequestKey { principal: principal.into(), method: "CreateUser", id: id.into(), hash: [0; 32] })
        };
        assert_eq!(key("a", "b").len(), 64);
        assert_eq!(key("a", "b"), key("a", "b"));
        assert_ne!(key("a", "bc"), key("ab", "c"));
    }
}
