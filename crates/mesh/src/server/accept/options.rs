//! What holds for every connection of a server.

use std::time::Duration;

use crate::random::Random;
use crate::transport::ServeOptions;

/// What holds for each connection.
#[derive(Clone, Debug)]
pub(in crate::server) struct ConnectionOptions {
    /// How HTTP/2 is spoken.
    pub serve: ServeOptions,
    /// The age at which a connection is told to go (gRFC A9). `None`: never.
    pub age: Option<Duration>,
    /// How long calls may go on after that. `None`: to their own end.
    pub age_grace: Option<Duration>,
    /// How long a connection may have no call (gRFC A9). `None`: as long as it likes.
    pub idle: Option<Duration>,
    /// How long it may take to set up TLS and HTTP/2.
    pub handshake: Duration,
    /// Spreads the ages.
    pub random: Random,
    /// How long a client may take to read what was written to it.
    pub slow_reader: Duration,
    /// How many bytes of what a client has not read the kernel keeps for a connection of TCP. `None`: as the system says.
    pub kernel_send_buffer: Option<usize>,
}
