//! The keys at hand, and how they are fetched.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use jsonwebtoken::jwk::JwkSet;
use tokio::sync::watch;
use tokio::time::Instant;

use super::KeySource;
use super::key::Key;
use super::rules::Rules;
use crate::attempts::Attempts;

/// The keys at hand, by their ids.
type KeySet = HashMap<String, Arc<Key>>;

/// The keys of one source. Once fetched they outlive an outage of it.
pub(super) struct Keys {
    source: Arc<dyn KeySource>,
    rules: Rules,
    timeout: Duration,
    current: ArcSwap<KeySet>,
    fetches: Attempts<Fetch>,
    loaded: watch::Sender<bool>,
}

/// What came of a fetch.
#[derive(Clone, Copy)]
struct Fetch {
    succeeded: bool,
    ended: Instant,
}

impl Keys {
    pub(super) fn new(source: Arc<dyn KeySource>, rules: Rules, timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            source,
            rules,
            timeout,
            current: ArcSwap::default(),
            fetches: Attempts::default(),
            loaded: watch::Sender::new(false),
        })
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Key>> {
        self.current.load().get(id).cloned()
    }

    pub(super) fn is_loaded(&self) -> bool {
        *self.loaded.borrow()
    }

    /// Waits until there are keys.
    pub(super) async fn loaded(&self) {
        // The sender is ours, so that the wait can't fail.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// Fetches the keys, unless a fetch has ended within `floor`. All who come while one is under way wait for that one; it
    /// goes on when they have gone. Whether the last fetch brought keys.
    pub(super) async fn refresh(self: &Arc<Self>, floor: Duration) -> bool {
        let begin = || Arc::clone(self).fetch();
        self.fetches.outcome(|last| last.ended.elapsed() < floor, begin).await.succeeded
    }

    async fn fetch(self: Arc<Self>) -> Fetch {
        // A source that panics must not take with it all who wait.
        let fetched = AssertUnwindSafe(tokio::time::timeout(self.timeout, self.source.fetch())).catch_unwind().await;
        let fetched = match fetched {
            Ok(Ok(Ok(set))) => self.publish(&set),
            Ok(Ok(Err(problem))) => Err(problem),
            Ok(Err(_)) => Err(format!("no answer within {} s", self.timeout.as_secs_f64())),
            Err(_) => Err("the source of the keys has panicked".to_owned()),
        };
        match &fetched {
            Err(problem) if self.is_loaded() => {
                tracing::warn!(problem, "the keys that verify tokens can't be fetched; those at hand stay");
            }
            // At a start the source may come later; this is tried again and again.
            Err(problem) => tracing::debug!(problem, "the keys that verify tokens can't be fetched yet"),
            Ok(()) => {}
        }
        Fetch { succeeded: fetched.is_ok(), ended: Instant::now() }
    }

    /// Puts `set` in place of the keys at hand. A set without a usable key is taken for a fault of the source.
    fn publish(&self, set: &JwkSet) -> Result<(), String> {
        let old = self.current.load_full();
        let mut new = KeySet::new();
        for jwk in &set.keys {
            let Some(id) = &jwk.common.key_id else { continue };
            let key = match old.get(id).filter(|key| key.jwk == *jwk) {
                Some(key) => Arc::clone(key),
                None => {
                    let Some((decoding, validation)) = self.rules.of_key(jwk) else {
                        tracing::debug!(id, "a key that verifies tokens can't be used; it is left out");
                        continue;
                    };
                    Arc::new(Key::new(jwk.clone(), decoding, validation))
                }
            };
            new.insert(id.clone(), key);
        }
        if new.is_empty() {
            return Err("none of the published keys can be used".to_owned());
        }
        let new = Arc::new(new);
        self.current.store(Arc::clone(&new));
        for (id, key) in old.iter() {
            if !new.get(id).is_some_and(|now| Arc::ptr_eq(now, key)) {
                tracing::info!(id, "a key that verifies tokens was withdrawn");
                key.withdraw();
            }
        }
        self.loaded.send_replace(true);
        Ok(())
    }
}
