//! How many calls of one kind may be in flight: of a method, or of some methods on a connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use tonic::Status;

use crate::errors::port::OVERLOADED;
use crate::server::Domain;

/// Calls of one kind in flight, and how many there may be. Clones share the count.
#[derive(Clone, Debug)]
pub(in crate::server) struct MethodCalls {
    in_flight: Arc<AtomicUsize>,
    limit: usize,
}

impl MethodCalls {
    pub(in crate::server) fn new(limit: usize) -> Self {
        Self { in_flight: Arc::default(), limit }
    }

    /// A place for one more call, unless there are as many as may be.
    pub(in crate::server) fn take(&self) -> Option<MethodPlace> {
        let more = |now: usize| (now < self.limit).then_some(now + 1);
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(MethodPlace(Arc::clone(&self.in_flight)))
    }

    /// The status of a call that got no place: UNAVAILABLE, since another server may have one.
    pub(in crate::server) fn status(&self, domain: Domain) -> Status {
        let limit = self.limit.to_string();
        let message = format!("{limit} calls of this method are in flight, as many as may be; retry in a moment");
        let metadata = [("scope", "method"), ("limit", &*limit)];
        OVERLOADED.status(domain, message, &metadata)
    }
}

/// The counts of a server's methods, by path. Plans that are made later go on with them, so that what is in flight counts for
/// them too.
#[derive(Default)]
pub(in crate::server) struct MethodCounts(Mutex<HashMap<Box<str>, Arc<AtomicUsize>, RandomState>>);

impl MethodCounts {
    /// The calls of what is at `path`, of which there may be `limit` in flight.
    pub(super) fn calls(&self, path: &str, limit: usize) -> MethodCalls {
        // A panic can't leave it half changed.
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let in_flight = counts.entry(path.into()).or_default();
        MethodCalls { in_flight: Arc::clone(in_flight), limit }
    }

    /// Forgets what no plan and no call in flight counts by.
    pub(super) fn forget_unused(&self) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|_, in_flight| Arc::strong_count(in_flight) > 1);
    }
}

/// The place of one call; dropped at its end, it is free again.
#[derive(Debug)]
pub(in crate::server) struct MethodPlace(Arc<AtomicUsize>);

impl Drop for MethodPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    proptest! {
        #[test]
        fn there_are_never_more_calls_than_the_limit(
            limit in 0_usize..5,
            steps in prop::collection::vec(any::<bool>(), 0..50),
        ) {
            let calls = MethodCalls::new(limit);
            let mut places = Vec::new();
            for begins in steps {
                if begins {
                    let place = calls.clone().take();
                    prop_assert_eq!(place.is_some(), places.len() < limit);
                    places.extend(place);
                } else {
                    places.pop();
                }
            }
        }
    }

    #[test]
    fn threads_share_the_places_and_give_all_of_them_back() {
        let calls = MethodCalls::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let place = calls.take();
                        assert!(calls.in_flight.load(Ordering::Acquire) <= 3);
                        drop(place);
                    }
                });
            }
        });
        let places: Vec<_> = std::iter::from_fn(|| calls.take()).collect();
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn a_count_goes_on_as_long_as_a_plan_or_a_call_has_it() {
        let counts = MethodCounts::default();
        let calls = counts.calls("/a/B", 1);
        let place = calls.take().unwrap();
        assert!(counts.calls("/a/C", 1).take().is_some(), "another method");
        drop(calls);
        counts.forget_unused();
        assert_eq!(counts.0.lock().unwrap().len(), 1);
        assert!(counts.calls("/a/B", 1).take().is_none(), "the call is still in flight");
        drop(place);
        assert!(counts.calls("/a/B", 1).take().is_some());
        counts.forget_unused();
        assert!(counts.0.lock().unwrap().is_empty());
    }

    #[test]
    fn who_gets_no_place_reads_the_limit() {
        let status = MethodCalls::new(0).status(Domain::default());
        assert_eq!(status.code(), Code::Unavailable);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["limit"], "0");
        assert_eq!(details.retry_info().unwrap().retry_delay, OVERLOADED.retry_after);
    }
}
