//! How many calls of one kind may be in flight: of a method, or of some methods on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    fn who_gets_no_place_reads_the_limit() {
        let status = MethodCalls::new(0).status(Domain::default());
        assert_eq!(status.code(), Code::Unavailable);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["limit"], "0");
        assert_eq!(details.retry_info().unwrap().retry_delay, OVERLOADED.retry_after);
    }
}
