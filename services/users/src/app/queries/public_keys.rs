//! The keys that verify access tokens.

use crate::app::App;
use crate::ports::PublicKey;

impl App {
    /// The public keys, the one in use first.
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.tokens.keys()
    }
}
