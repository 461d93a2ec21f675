//! What others wrote, as Redis tells it on the connection that also answers (CA-7).

use fred::types::client::Invalidation;

use super::keys::{Changed, Keys};
use crate::remote::Listener;

/// Passes on which keys and tags were written. Redis tells what our own scripts wrote too, in spite of NOLOOP.
pub(super) fn pass_on(invalidation: &Invalidation, keys: &Keys, listener: &dyn Listener) {
    for name in &invalidation.keys {
        match name.as_str().and_then(|name| keys.changed(name)) {
            Some(Changed::Key { kind, key }) => listener.changed_key(&kind, &key),
            Some(Changed::Tag(tag)) => listener.changed_tag(&tag),
            None => {
                tracing::debug!(?name, "cache: something else writes below the prefix in Redis; give it another one")
            }
        }
    }
}
