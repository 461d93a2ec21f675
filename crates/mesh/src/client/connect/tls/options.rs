//! The settings of TLS.

use std::path::Path;
use std::time::Duration;

use crate::tls::{Pem, Sources};

/// What a server must show, and what is shown to it.
///
/// Everything is PEM. What comes from files is read again when it changes; see [`TlsOptions::reload_interval`].
///
/// ```no_run
/// use meshwork::Channel;
/// use meshwork::connect::TlsOptions;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = TlsOptions::new()
///     .ca_certificate_file("/etc/meshwork/tls/ca.crt")
///     .identity_files("/etc/meshwork/tls/tls.crt", "/etc/meshwork/tls/tls.key");
/// let channel = Channel::builder().tls(tls).connect_lazy("dns:///users:50051")?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TlsOptions {
    pub(super) sources: Sources,
    domain_name: Option<String>,
}

impl TlsOptions {
    /// No roots, no identity, and the server's name from the target.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts servers whose certificate was issued by one of these roots. Adds to those that are set already.
    ///
    /// ```
    /// # use meshwork::connect::TlsOptions;
    /// # let pem = "";
    /// let tls = TlsOptions::new().ca_certificate(pem);
    /// ```
    pub fn ca_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.sources.roots.push(Pem::given(pem.as_ref(), "the PEM given to `ca_certificate`"));
        self
    }

    /// As [`TlsOptions::ca_certificate`], from a file.
    ///
    /// ```
    /// # use meshwork::connect::TlsOptions;
    /// let tls = TlsOptions::new().ca_certificate_file("/etc/ssl/certs/ca-certificates.crt");
    /// ```
    pub fn ca_certificate_file(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.roots.push(Pem::File(path.as_ref().to_owned()));
        self
    }

    /// Shows this certificate (with its intermediates, if any) to servers that ask for one: mutual TLS.
    ///
    /// ```
    /// # use meshwork::connect::TlsOptions;
    /// # let (certificate, key) = ("", "");
    /// let tls = TlsOptions::new().identity(certificate, key);
    /// ```
    pub fn identity(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.sources.identity = Some((
            Pem::given(certificate.as_ref(), "the certificate given to `identity`"),
            Pem::given(key.as_ref(), "the key given to `identity`"),
        ));
        self
    }

    /// As [`TlsOptions::identity`], from two files.
    ///
    /// ```
    /// # use meshwork::connect::TlsOptions;
    /// let tls = TlsOptions::new().identity_files("/etc/meshwork/tls/tls.crt", "/etc/meshwork/tls/tls.key");
    /// ```
    pub fn identity_files(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.sources.identity = Some((Pem::File(certificate.as_ref().to_owned()), Pem::File(key.as_ref().to_owned())));
        self
    }

    /// The name that the certificate of every server must hold; else that of the target, or of the endpoint where it has
    /// one of its own.
    ///
    /// ```
    /// # use meshwork::connect::TlsOptions;
    /// let tls = TlsOptions::new().domain_name("users.example.com");
    /// ```
    pub fn domain_name(mut self, name: impl Into<String>) -> Self {
        self.domain_name = Some(name.into());
        self
    }

    /// How often the files are looked at, at most; 10 s. They are looked at when a connection is made, by their
    /// content, so that it does not matter how they are replaced.
    ///
    /// New roots, certificates and keys hold for new connections. They are used only if all of them can be: if they
    /// parse, the key is that of the certificate, and the certificate is valid today.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use meshwork::connect::TlsOptions;
    /// let tls = TlsOptions::new().reload_interval(Duration::from_secs(60));
    /// ```
    pub fn reload_interval(mut self, interval: Duration) -> Self {
        self.sources.interval = interval;
        self
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.domain_name.as_deref()
    }
}
