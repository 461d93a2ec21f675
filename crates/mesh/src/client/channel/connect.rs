//! How a channel begins: with settings of its own, or with the defaults.

use super::{BuildError, Builder, Channel, ConnectError};

impl Channel {
    /// Settings of a channel, all with defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A channel to `target` with default settings; it resolves and connects at its first call.
    ///
    /// ```no_run
    /// # #[tokio::main] async fn main() -> Result<(), meshwork::BuildError> {
    /// let channel = meshwork::Channel::connect_lazy("dns:///users:50051")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the target can't be understood.
    pub fn connect_lazy(target: &str) -> Result<Self, BuildError> {
        Self::builder().connect_lazy(target)
    }

    /// A channel to `target` with default settings, once it has a connection.
    ///
    /// # Errors
    /// When the target can't be understood, or no endpoint could be reached.
    pub async fn connect(target: &str) -> Result<Self, ConnectError> {
        Self::builder().connect(target).await
    }
}
