//! What a server asks of the kernel for its connections.

use super::builder::Builder;

impl<L> Builder<L> {
    /// How many bytes the kernel keeps for a connection of TCP that its client has not read yet (`SO_SNDBUF`); as the system
    /// says, unless it is set: on Linux up to the last number of `net.ipv4.tcp_wmem`, 4 MiB, which a client that reads nothing
    /// can have for each of its connections, beside all that the server itself counts.
    ///
    /// A connection can't be faster than these bytes in one round trip: 256 KiB are 21 Mbit/s at 100 ms. The kernel no longer
    /// adapts them to the path once they are set. Linux doubles them for its own bookkeeping, so that it may keep up to 1.8 times
    /// as much, and takes `net.core.wmem_max` at most, which is 208 KiB on many systems. Unix sockets are left as they are.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().send_buffer_size(256 << 10);
    /// ```
    pub fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.settings.options.kernel_send_buffer = Some(bytes.clamp(1, 1 << 30));
        self
    }
}
