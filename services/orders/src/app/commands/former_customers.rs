//! What is known of customers whose accounts are deleted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshwork_api::UserName;
use time::OffsetDateTime;

use crate::ports::Customers;

/// For how long it stands whether a customer's account is deleted.
const STANDS: time::Duration = time::Duration::seconds(5);
/// How long the answer may take. An order doesn't wait longer for it, and is admitted, to be called off later, unless it
/// was known before that the customer is gone.
const PATIENCE: Duration = Duration::from_millis(500);
/// Of how many customers it is remembered, and how many are looked through again.
const MAX_CUSTOMERS: usize = 10_000;
/// After which times the orders of who is gone are looked through again: when lists have come so far that they show what was
/// placed at the same moment, and when tokens of the usual life are over.
const AGAIN: [time::Duration; 2] = [time::Duration::seconds(30), time::Duration::minutes(20)];
/// How long after a deletion that is still done.
const FRESH: time::Duration = time::Duration::days(1);

/// What this instance knows of customers whose accounts are deleted.
///
/// A token is good until its end, so that orders come of who is gone. They are refused as the users service knows it, with a
/// few seconds' delay; while that doesn't answer everybody is admitted who wasn't known to be gone. What comes through is
/// called off when the customer's orders are looked through again: soon, and at last when the account is erased.
#[derive(Debug, Default)]
pub struct FormerCustomers {
    /// Whether customers are gone, and when that was asked.
    answers: Mutex<HashMap<UserName, (bool, OffsetDateTime)>>,
    /// Whose orders are looked through again, and when.
    again: Mutex<Vec<(OffsetDateTime, UserName)>>,
}

impl FormerCustomers {
    /// Whether the account of a customer is deleted, as far as is known.
    pub(super) async fn has(&self, customers: &dyn Customers, customer: &UserName, now: OffsetDateTime) -> bool {
        if let Some(gone) = self.remembered(customer, now) {
            return gone;
        }
        let gone = match tokio::time::timeout(PATIENCE, customers.is_deleted(customer)).await {
            Ok(Ok(gone)) => gone,
            Ok(Err(error)) => {
                tracing::debug!(%error, "it isn't known whether a customer's account is deleted");
                self.was_gone(customer)
            }
            Err(_) => {
                tracing::debug!("it isn't known in time whether a customer's account is deleted");
                self.was_gone(customer)
            }
        };
        self.remember(customer, gone, now);
        gone
    }

    fn remembered(&self, customer: &UserName, now: OffsetDateTime) -> Option<bool> {
        let (gone, at) = self.answers().get(customer).copied()?;
        // A clock that was set back makes no answer stand for ever.
        (at <= now && now - at < STANDS).then_some(gone)
    }

    /// Whether it was known of a customer, however long ago, that their account is deleted: no account comes back.
    fn was_gone(&self, customer: &UserName) -> bool {
        self.answers().get(customer).is_some_and(|(gone, _)| *gone)
    }

    /// Notes whether the account of a customer is deleted.
    pub(super) fn remember(&self, customer: &UserName, gone: bool, now: OffsetDateTime) {
        let mut answers = self.answers();
        if answers.len() >= MAX_CUSTOMERS && !answers.contains_key(customer) {
            answers.retain(|_, (_, at)| *at <= now && now - *at < STANDS);
            if answers.len() >= MAX_CUSTOMERS {
                return;
            }
        }
        answers.insert(customer.clone(), (gone, now));
    }

    /// Has the orders of a customer who was deleted at `deleted` looked through again.
    pub(super) fn look_again(&self, customer: &UserName, deleted: OffsetDateTime, now: OffsetDateTime) {
        if now - deleted > FRESH {
            return;
        }
        let mut again = self.again();
        if again.len() + AGAIN.len() > MAX_CUSTOMERS {
            tracing::warn!("very many customers are gone; not all of their orders are looked through again soon");
            return;
        }
        again.extend(AGAIN.map(|after| (now + after, customer.clone())));
    }

    /// One whose orders are to be looked through by now.
    pub(super) fn due(&self, now: OffsetDateTime) -> Option<UserName> {
        let mut again = self.again();
        let at = again.iter().position(|(due, _)| *due <= now)?;
        Some(again.swap_remove(at).1)
    }

    /// Has the orders of a customer looked through once more who was [due](Self::due): it has failed.
    pub(super) fn put_back(&self, customer: UserName, now: OffsetDateTime) {
        self.again().push((now, customer));
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<UserName, (bool, OffsetDateTime)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn again(&self) -> MutexGuard<'_, Vec<(OffsetDateTime, UserName)>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::ports::CustomersError;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    /// A users service where `gone` is deleted, and which never answers about `slow`.
    #[derive(Default)]
    struct Accounts(AtomicU32);

    #[async_trait]
    impl Customers for Accounts {
        async fn exists(&self, _: &UserName) -> Result<bool, CustomersError> {
            Err(CustomersError("nobody asks".to_owned()))
        }

        async fn is_deleted(&self, customer: &UserName) -> Result<bool, CustomersError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            match customer.id() {
                "slow" => std::future::pending().await,
                "away" => Err(CustomersError("no answer".to_owned())),
                id => Ok(id == "gone"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn d4_who_is_gone_is_asked_for_once_in_a_while_and_nobody_waits_for_it() {
        let (accounts, former) = (Accounts::default(), FormerCustomers::default());
        for (id, gone) in [("anna", false), ("gone", true), ("slow", false), ("away", false)] {
            let name = UserName::new(id).unwrap();
            let asked = accounts.0.load(Ordering::SeqCst);
            for after in [0, 4] {
                assert_eq!(former.has(&accounts, &name, NOW + Duration::from_secs(after)).await, gone, "{id}");
            }
            assert_eq!(accounts.0.load(Ordering::SeqCst), asked + 1, "{id}");
            former.has(&accounts, &name, NOW + STANDS).await;
            assert_eq!(accounts.0.load(Ordering::SeqCst), asked + 2, "{id}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn d4_who_was_known_to_be_gone_is_so_while_the_users_service_does_not_answer() {
        let (accounts, former) = (Accounts::default(), FormerCustomers::default());
        for id in ["slow", "away"] {
            let name = UserName::new(id).unwrap();
            former.remember(&name, true, NOW);
            for after in [1_i32, 2] {
                assert!(former.has(&accounts, &name, NOW + STANDS * after).await, "{id}");
            }
        }
        assert_eq!(accounts.0.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn d4_the_orders_of_who_is_gone_are_looked_through_twice_more() {
        let (former, anna) = (FormerCustomers::default(), UserName::new("anna").unwrap());
        former.look_again(&anna, NOW - time::Duration::days(2), NOW);
        assert_eq!(former.due(NOW + FRESH), None, "that was long ago");
        former.look_again(&anna, NOW, NOW);
        assert_eq!(former.due(NOW + time::Duration::seconds(29)), None);
        for after in AGAIN {
            assert_eq!(former.due(NOW + after), Some(anna.clone()));
            assert_eq!(former.due(NOW + after), None);
        }
    }
}
