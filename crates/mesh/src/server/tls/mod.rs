//! TLS and mutual TLS of a server.

mod identity;
mod options;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;

use self::options::Allowed;
pub use self::options::{ClientAuth, ServerTlsOptions};
use super::PeerIdentity;
use crate::observe::Observers;
use crate::tls::{HTTP_2, Material, Reload, Side, TlsError, provider};
use crate::transport::Io;

/// TLS over accepted connections, for an accept loop of one's own; [`Builder::tls`](super::Builder::tls) has one.
///
/// Files are read again when they change: a new connection takes what is new, an existing one stays as it is.
pub struct ServerTls {
    reload: Reload<ServerConfig>,
    allowed: Option<Allowed>,
    http1: bool,
}

/// What HTTP/1.1 is called in TLS (ALPN).
const HTTP_1: &[u8] = b"http/1.1";

/// A stream with TLS, whom the client's certificate names, and its certificates, its own first.
pub type TlsHandshake = (Box<dyn Io>, Option<PeerIdentity>, Vec<CertificateDer<'static>>);

impl ServerTls {
    /// TLS by `options`. Reads files, and blocks meanwhile.
    ///
    /// # Errors
    /// When the identity or the client's roots are missing or can't be used.
    pub fn new(options: ServerTlsOptions) -> Result<Self, TlsError> {
        let http1 = options.offers_http1();
        let (sources, auth, allowed) = options.into_parts()?;
        let reload = Reload::open(sources, Observers::default(), move |material| config(material, auth, http1))?;
        Ok(Self { reload, allowed, http1 })
    }

    /// Shakes hands. How long that may take is for the caller to say.
    ///
    /// # Errors
    /// When the handshake fails, the client speaks no HTTP/2, its certificate is no SPIFFE SVID although it seems to be one, or
    /// it is not allowed to connect.
    pub async fn accept(&self, io: Box<dyn Io>) -> io::Result<TlsHandshake> {
        let config = self.reload.current().await;
        let stream = TlsAcceptor::from(config).accept(io).await?;
        let (_, session) = stream.get_ref();
        // Clients of HTTP/1 need not name a protocol; what they speak, their first bytes tell.
        if !self.http1 && session.alpn_protocol() != Some(HTTP_2) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks no HTTP/2 (ALPN h2)"));
        }
        let certificates: Vec<_> =
            session.peer_certificates().unwrap_or_default().iter().map(|one| one.clone().into_owned()).collect();
        let identity = match certificates.first() {
            Some(certificate) => identity::of(certificate).map_err(|problem| {
                io::Error::new(io::ErrorKind::InvalidData, format!("the client's certificate {problem}"))
            })?,
            None => None,
        };
        if let Some(allowed) = &self.allowed
            && !allowed.contains(identity.as_ref())
        {
            let who = identity.as_ref().map_or("a peer without a name", PeerIdentity::as_str);
            tracing::warn!(peer = who, "a peer that is not on the list of allowed peers was refused");
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{who} is not on the list of allowed peers"),
            ));
        }
        Ok((Box::new(stream), identity, certificates))
    }

    /// Looks at the files now, whatever the interval: true when there was something new, which holds from now on.
    ///
    /// # Errors
    /// When what is new can't be used; what was in use before stays.
    pub async fn reload(&self) -> Result<bool, TlsError> {
        self.reload.now().await
    }
}

/// Checks all of it and makes it usable.
fn config(material: &Material, auth: ClientAuth, http1: bool) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::invalid(&"TLS", error))?;
    let builder = if auth == ClientAuth::None {
        builder.with_no_client_auth()
    } else {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(material.roots()?), provider());
        let verifier = if auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
        let verifier = verifier.build().map_err(|error| TlsError::invalid(&"the client's roots", error))?;
        builder.with_client_cert_verifier(verifier)
    };
    let identity = material.identity(Side::Server)?.ok_or(TlsError::NoIdentity)?;
    let refused = identity.refused();
    let mut config = builder.with_single_cert(identity.chain, identity.key).map_err(refused)?;
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    if http1 {
        config.alpn_protocols.push(HTTP_1.to_vec());
    }
    // A resumed session would go on with the certificates it began with, whatever has replaced them since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}
