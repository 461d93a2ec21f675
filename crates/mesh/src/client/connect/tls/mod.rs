//! TLS and mutual TLS over any connector.

mod options;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use http::uri::Authority;
pub use options::TlsOptions;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::Connector;
use crate::client::endpoint::Address;
use crate::observe::Observers;
pub use crate::tls::TlsError;
use crate::tls::{HTTP_2, HandshakeError, Material, Reload, Side, provider};
use crate::transport::Io;

/// Speaks TLS over the streams of another connector, and nothing but HTTP/2 over TLS.
///
/// Files are read again when they change: a new connection takes what is new, an existing one stays as it is.
pub struct Tls {
    inner: Arc<dyn Connector>,
    name: ServerName<'static>,
    /// Whether it is the name of every server, by [`TlsOptions::domain_name`].
    same_name: bool,
    reload: Reload<ClientConfig>,
}

impl Tls {
    /// TLS over `inner`, to a server that is called `host` unless the options say otherwise.
    ///
    /// `observers` learn of certificates that were read again, or refused.
    ///
    /// # Errors
    /// When roots or identity are missing or can't be used, or when `host` is no name of a server.
    pub fn new(
        inner: Arc<dyn Connector>,
        options: TlsOptions,
        host: &str,
        observers: Observers,
    ) -> Result<Self, TlsError> {
        let name = server_name(options.name().unwrap_or(host))?;
        let same_name = options.name().is_some();
        Ok(Self { inner, name, same_name, reload: Reload::open(options.sources, observers, config)? })
    }

    /// Looks at the files now, whatever the interval: true when there was something new, which holds from now on.
    ///
    /// # Errors
    /// When what is new can't be used; what was in use before stays.
    pub async fn reload(&self) -> Result<bool, TlsError> {
        self.reload.now().await
    }

    async fn handshake(&self, io: Box<dyn Io>, name: ServerName<'static>) -> io::Result<Box<dyn Io>> {
        let config = self.reload.current().await;
        let stream = TlsConnector::from(config)
            .connect(name.clone(), io)
            .await
            .map_err(|error| HandshakeError::explain(&name, error))?;
        if stream.get_ref().1.alpn_protocol() != Some(HTTP_2) {
            return Err(HandshakeError::no_http2(&name));
        }
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Connector for Tls {
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Io>> {
        let io = self.inner.connect(address).await?;
        self.handshake(io, self.name.clone()).await
    }

    /// The certificate must hold the name of `authority`, unless [`TlsOptions::domain_name`] says another.
    async fn connect_as(&self, address: &Address, authority: &Authority) -> io::Result<Box<dyn Io>> {
        let name = if self.same_name {
            self.name.clone()
        } else {
            server_name(authority.host()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?
        };
        let io = self.inner.connect_as(address, authority).await?;
        self.handshake(io, name).await
    }
}

/// The name that a certificate must hold.
fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    // An authority has its IPv6 addresses in brackets, a certificate has not.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// Checks all of it and makes it usable.
fn config(material: &Material) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::invalid(&"TLS", error))?
        .with_root_certificates(material.roots()?);
    let mut config = match material.identity(Side::Client)? {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let refused = identity.refused();
            builder.with_client_auth_cert(identity.chain, identity.key).map_err(refused)?
        }
    };
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    // A resumed session would go on with the identity it began with, whatever has replaced it since.
    config.resumption = Resumption::disabled();
    Ok(config)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}
