//! The settings of a server's TLS.

use std::path::Path;
use std::time::Duration;

use crate::server::PeerIdentity;
use crate::tls::{Pem, Sources, TlsError};

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked for one.
    None,
    /// They may; one that is shown must be good.
    Optional,
    /// They must: mutual TLS.
    Required,
}

/// What a server shows, and what it asks of its clients.
///
/// Everything is PEM. What comes from files is read again when it changes; see [`ServerTlsOptions::reload_interval`].
///
/// ```no_run
/// use meshwork::server::{Server, ServerTlsOptions};
///
/// let tls = ServerTlsOptions::new()
///     .identity_files("/etc/meshwork/tls/tls.crt", "/etc/meshwork/tls/tls.key")
///     .client_ca_certificate_file("/etc/meshwork/tls/ca.crt")
///     .allowed_peers(["spiffe://example.com/gateway", "spiffe://example.com/jobs/*"]);
/// let server = Server::builder().tls(tls);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ServerTlsOptions {
    sources: Sources,
    auth: Option<ClientAuth>,
    allowed: Option<Vec<String>>,
    http1: bool,
}

impl ServerTlsOptions {
    /// No identity yet, and no certificates of clients.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows this certificate (with its intermediates, if any).
    ///
    /// ```
    /// # use meshwork::server::ServerTlsOptions;
    /// # let (certificate, key) = ("", "");
    /// let tls = ServerTlsOptions::new().identity(certificate, key);
    /// ```
    pub fn identity(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.sources.identity = Some((
            Pem::given(certificate.as_ref(), "the certificate given to `identity`"),
            Pem::given(key.as_ref(), "the key given to `identity`"),
        ));
        self
    }

    /// As [`ServerTlsOptions::identity`], from two files.
    ///
    /// ```
    /// # use meshwork::server::ServerTlsOptions;
    /// let tls = ServerTlsOptions::new().identity_files("/etc/meshwork/tls/tls.crt", "/etc/meshwork/tls/tls.key");
    /// ```
    pub fn identity_files(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.sources.identity = Some((Pem::File(certificate.as_ref().to_owned()), Pem::File(key.as_ref().to_owned())));
        self
    }

    /// Trusts clients whose certificate was issued by one of these roots, and, unless [`ServerTlsOptions::client_auth`] says
    /// otherwise, serves nobody else: mutual TLS. Adds to those that are set already.
    ///
    /// ```
    /// # use meshwork::server::ServerTlsOptions;
    /// # let pem = "";
    /// let tls = ServerTlsOptions::new().client_ca_certificate(pem);
    /// ```
    pub fn client_ca_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.sources.roots.push(Pem::given(pem.as_ref(), "the PEM given to `client_ca_certificate`"));
        self
    }

    /// As [`ServerTlsOptions::client_ca_certificate`], from a file.
    ///
    /// ```
    /// # use meshwork::server::ServerTlsOptions;
    /// let tls = ServerTlsOptions::new().client_ca_certificate_file("/etc/meshwork/tls/ca.crt");
    /// ```
    pub fn client_ca_certificate_file(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.roots.push(Pem::File(path.as_ref().to_owned()));
        self
    }

    /// Whether clients show certificates. Required once there is a root for them, else none.
    ///
    /// ```
    /// # use meshwork::server::{ClientAuth, ServerTlsOptions};
    /// let tls = ServerTlsOptions::new().client_ca_certificate_file("ca.crt").client_auth(ClientAuth::Optional);
    /// ```
    pub fn client_auth(mut self, auth: ClientAuth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Who may connect at all: SPIFFE IDs or DNS names, as they stand in certificates. A SPIFFE ID that ends in `/*` allows all
    /// below its path. Others are refused before they make a call, and so is who names nobody. Without a list everybody may
    /// connect whom the roots vouch for.
    ///
    /// ```
    /// # use meshwork::server::ServerTlsOptions;
    /// let tls = ServerTlsOptions::new().allowed_peers(["spiffe://example.com/gateway"]);
    /// ```
    pub fn allowed_peers<P: Into<String>>(mut self, peers: impl IntoIterator<Item = P>) -> Self {
        self.allowed = Some(peers.into_iter().map(Into::into).collect());
        self
    }

    /// How often the files are looked at, at most; 10 s. They are looked at when a connection is made, by their content, so
    /// that it does not matter how they are replaced.
    ///
    /// What is new is used only if all of it can be: if it parses, the key is that of the certificate, and the certificate is
    /// for servers and valid today. Connections that stand stay as they are.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::server::ServerTlsOptions;
    /// let tls = ServerTlsOptions::new().reload_interval(Duration::from_secs(60));
    /// ```
    pub fn reload_interval(mut self, interval: Duration) -> Self {
        self.sources.interval = interval;
        self
    }

    /// Whether HTTP/1.1 is offered beside HTTP/2 (ALPN `http/1.1`).
    pub(in crate::server) fn http1(mut self, on: bool) -> Self {
        self.http1 = on;
        self
    }

    pub(super) fn offers_http1(&self) -> bool {
        self.http1
    }

    pub(super) fn into_parts(self) -> Result<(Sources, ClientAuth, Option<Allowed>), TlsError> {
        let has_roots = !self.sources.roots.is_empty();
        let auth = self.auth.unwrap_or(if has_roots { ClientAuth::Required } else { ClientAuth::None });
        if self.allowed.is_some() && auth == ClientAuth::None || auth != ClientAuth::None && !has_roots {
            return Err(TlsError::NoClientRoots);
        }
        Ok((self.sources, auth, self.allowed.map(Allowed)))
    }
}

/// Who may connect.
#[derive(Debug)]
pub(super) struct Allowed(Vec<String>);

impl Allowed {
    /// Whether `peer` may.
    pub fn contains(&self, peer: Option<&PeerIdentity>) -> bool {
        let Some(peer) = peer else { return false };
        self.0.iter().any(|allowed| match allowed.strip_suffix('*') {
            // Below the path: the slash is part of what is left.
            Some(path) if path.starts_with("spiffe://") && path.ends_with('/') => {
                peer.as_str().strip_prefix(path).is_some_and(|rest| !rest.is_empty())
            }
            // DNS names have no case.
            _ if !peer.is_spiffe() => peer.as_str().eq_ignore_ascii_case(allowed),
            _ => peer.as_str() == allowed,
        })
    }
}
