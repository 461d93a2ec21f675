//! The settings of a server that bound what a connection, an address or a wait may cost it.

use std::time::Duration;

use super::builder::{Builder, bounded};
use super::rate::Rate;

impl<L> Builder<L> {
    /// How many bytes of all answers of a connection together may wait for its socket, and one frame of an answer more; 128 KiB.
    /// What a client with large windows doesn't read from its socket piles up so far, and the rest of the answers waits.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_unwritten(1 << 20);
    /// ```
    pub fn max_unwritten(mut self, bytes: usize) -> Self {
        self.settings.options.serve.unwritten = bytes;
        self
    }

    /// How many messages and streams of reflection one address (of IPv6, one /64) may have; 1,000 at once, and 100 a second.
    /// What is above it is answered with RESOURCE_EXHAUSTED.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::{Server, server::rate::Rate};
    /// let server = Server::builder().reflection_rate(Rate::new(100, 10, Duration::from_secs(1))?);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    pub fn reflection_rate(mut self, rate: Rate) -> Self {
        self.settings.reflection_rate = Some(rate);
        self
    }

    /// How long an [`Authenticator`](super::auth::Authenticator) may take to tell who calls, whatever the call's deadline; 10 s.
    /// The call is answered with UNAVAILABLE then.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().verification_timeout(Duration::from_secs(2));
    /// ```
    pub fn verification_timeout(mut self, timeout: Duration) -> Self {
        self.settings.verification_timeout = bounded(timeout);
        self
    }
}
