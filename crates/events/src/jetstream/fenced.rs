//! Which consumers were taken over from us.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::Lane;

/// For how long we leave a consumer to whom has taken it over.
const LEAVE: Duration = Duration::from_secs(10);

/// The consumers whose server did not acknowledge that we were done, and when that was.
#[derive(Debug, Default)]
pub(super) struct Fenced(Mutex<HashMap<(String, String), Instant>>);

impl Fenced {
    /// It was taken over, as far as we know.
    pub(super) fn note(&self, lane: &Lane, consumer: &str) {
        let mut fenced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fenced.retain(|_, since| since.elapsed() < LEAVE);
        fenced.insert(key(lane, consumer), Instant::now());
    }

    /// Whether we may take it over now.
    pub(super) fn may_take_over(&self, lane: &Lane, consumer: &str) -> bool {
        let fenced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fenced.get(&key(lane, consumer)).is_none_or(|since| since.elapsed() >= LEAVE)
    }
}

/// Streams have consumers of the same name.
fn key(lane: &Lane, consumer: &str) -> (String, String) {
    (lane.stream.clone(), consumer.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_over_is_left_for_a_while() {
        let fenced = Fenced::default();
        let orders = Lane { stream: "orders".to_owned(), partition: 3 };
        let users = Lane { stream: "users".to_owned(), ..orders.clone() };
        assert!(fenced.may_take_over(&orders, "products-p03"));
        fenced.note(&orders, "products-p03");
        assert!(!fenced.may_take_over(&orders, "products-p03"));
        assert!(fenced.may_take_over(&orders, "products-p02"));
        assert!(fenced.may_take_over(&users, "products-p03"));
        tokio::time::advance(LEAVE).await;
        assert!(fenced.may_take_over(&orders, "products-p03"));
    }
}
