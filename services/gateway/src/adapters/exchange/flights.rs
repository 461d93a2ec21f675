//! One exchange of a credential at a time: who comes meanwhile, from the same network, waits for what becomes of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use meshwork::server::auth::Principal;
use tonic::Status;

use super::cache::Fingerprint;

/// What becomes of an exchange.
pub(super) type Outcome = Result<Principal, Status>;

/// An exchange that goes on as long as somebody waits for it.
pub(super) type Flight = Shared<BoxFuture<'static, Outcome>>;

type Key = (Fingerprint, Option<IpAddr>);

/// Those that go on, each with its number.
type Going = HashMap<Key, (u64, WeakShared<BoxFuture<'static, Outcome>>)>;

/// The exchanges that go on. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Flights {
    going: Arc<Mutex<Going>>,
    next: Arc<AtomicU64>,
}

impl Flights {
    /// The exchange of `key` that goes on, or else the one that `begin` makes.
    ///
    /// # Errors
    /// When `begin` makes none.
    pub(super) fn join(
        &self,
        key: Key,
        begin: impl FnOnce() -> Result<BoxFuture<'static, Outcome>, Status>,
    ) -> Result<Flight, Status> {
        let mut going = self.going();
        if let Some(flight) = going.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return Ok(flight);
        }
        let begun = begin()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let landing = Landing { flights: self.clone(), key, number };
        let flight = async move {
            let _landing = landing;
            begun.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            going.insert(key, (number, weak));
        }
        Ok(flight)
    }

    fn going(&self) -> MutexGuard<'_, Going> {
        // Each change behind the lock is one step.
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes an exchange out that has ended, or that nobody waits for any more.
struct Landing {
    flights: Flights,
    key: Key,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut going = self.flights.going();
        // Another may have begun in its place.
        if going.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            going.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn key(text: &str) -> Key {
        (Fingerprint::of(text), None)
    }

    fn endless() -> Result<BoxFuture<'static, Outcome>, Status> {
        Ok(pending().boxed())
    }

    #[test]
    fn who_comes_meanwhile_waits_for_the_same_exchange() {
        let flights = Flights::default();
        let first = flights.join(key("a"), endless).unwrap();
        let second = flights.join(key("a"), || panic!("it goes on")).unwrap();
        assert!(first.ptr_eq(&second));
        assert!(!first.ptr_eq(&flights.join(key("b"), endless).unwrap()));
    }

    #[test]
    fn an_exchange_that_has_ended_or_that_nobody_waits_for_leaves_nothing_behind() {
        let flights = Flights::default();
        drop(flights.join(key("a"), endless).unwrap());
        let ended = flights.join(key("b"), || Ok(ready(Err(Status::unavailable("no"))).boxed())).unwrap();
        assert!(ended.now_or_never().unwrap().is_err());
        flights.join(key("c"), || Err(Status::unavailable("no place"))).map(drop).unwrap_err();
        assert!(flights.going().is_empty());
    }
}
