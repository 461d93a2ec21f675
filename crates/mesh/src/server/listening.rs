//! Where a server listens, and whose word it takes for the addresses of its callers.

use super::accept::Listener;
use super::builder::Builder;
use super::client_address::TrustedProxies;

impl<L> Builder<L> {
    /// Serves this listener too, beside the one that [`serve`](Builder::serve) is given. All of them have one server: its budgets,
    /// its places, its end. One at which nobody can be accepted for a while is in the way of no other.
    ///
    /// ```no_run
    /// use meshwork::Server;
    /// use meshwork::server::Listener;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let local = Listener::unix_with_mode("/run/shop/orders.sock", 0o660)?;
    /// Server::builder().listen(local).serve(Listener::tcp("0.0.0.0:50051").await?).await?;
    /// # Ok(()) }
    /// ```
    pub fn listen(mut self, listener: impl Into<Listener>) -> Self {
        self.settings.listeners.push(listener.into());
        self
    }

    /// Believes the addresses that these proxies name, such as a balancer of HTTP or a [`Proxy`](super::proxy::Proxy) in front of this
    /// server. What is counted by address counts their clients then, call by call: limits by rate, refusals, reflection, the
    /// [`AddressShare`](super::rate::AddressShare), and the [budgets](super::Budgets) of calls, streams, watches and bytes of a
    /// call. Connections, and what is written to one of them in all, count for the connection's own address. Handlers find the
    /// [`ClientAddress`](super::ClientAddress) among the extensions of each request.
    ///
    /// ```
    /// use meshwork::Server;
    /// use meshwork::server::TrustedProxies;
    ///
    /// let balancers = TrustedProxies::new(["10.0.0.0/28"])?.forwarded_for(true);
    /// let server = Server::builder().trusted_proxies(balancers);
    /// # Ok::<_, meshwork::server::InvalidProxy>(())
    /// ```
    pub fn trusted_proxies(mut self, trusted: TrustedProxies) -> Self {
        self.settings.trusted = Some(trusted);
        self
    }
}
