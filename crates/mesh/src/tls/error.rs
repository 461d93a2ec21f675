//! What can be wrong with certificates, and how a handshake fails.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error};
use rustls_pki_types::ServerName;

/// Roots, certificates or keys that can't be used. The message names the file and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// There is nothing that the server's certificate could be checked against.
    #[error(
        "no root certificate is set, so no server can be trusted: set `TlsOptions::ca_certificate` or \
         `ca_certificate_file` (the system's own are often in /etc/ssl/certs/ca-certificates.crt)"
    )]
    NoRoots,
    /// A server has nothing to show.
    #[error("no certificate is set: set `ServerTlsOptions::identity` or `identity_files`")]
    NoIdentity,
    /// A list of peers without anything that would tell who they are.
    #[error("`ServerTlsOptions::allowed_peers` needs `client_ca_certificate`: nobody else's word counts")]
    NoClientRoots,
    /// A file can't be read.
    #[error("{path} can't be read: {error}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        error: Arc<io::Error>,
    },
    /// Something was read, but can't be used.
    #[error("{origin}: {problem}")]
    Invalid {
        /// The file, or the setter that the bytes were given to.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The files took too long to read.
    #[error("the certificate files could not be read within {0:?}")]
    Slow(std::time::Duration),
    /// No certificate can be for such a name.
    #[error("{0:?} is neither a DNS name nor an IP address: set `TlsOptions::domain_name`")]
    Name(String),
}

impl TlsError {
    pub(crate) fn invalid(origin: &impl ToString, problem: impl ToString) -> Self {
        Self::Invalid { origin: origin.to_string(), problem: problem.to_string() }
    }
}

/// A handshake that failed; it becomes the reason for which an endpoint can't be reached.
#[derive(Debug, thiserror::Error)]
#[error("TLS handshake with {name}: {problem}{hint}")]
pub(crate) struct HandshakeError {
    name: String,
    problem: String,
    hint: &'static str,
    source: Option<io::Error>,
}

impl HandshakeError {
    pub(crate) fn explain(name: &ServerName<'_>, error: io::Error) -> io::Error {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let problem = match tls {
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the server ended the connection; it may speak no TLS".to_owned()
            }
            _ => error.to_string(),
        };
        let hint = tls.map_or("", hint);
        let kind = error.kind();
        io::Error::new(kind, Self { name: name.to_str().into_owned(), problem, hint, source: Some(error) })
    }

    pub(crate) fn no_http2(name: &ServerName<'_>) -> io::Error {
        let error = Self {
            name: name.to_str().into_owned(),
            problem: "the server did not choose HTTP/2 (ALPN h2), which gRPC needs".to_owned(),
            hint: "",
            source: None,
        };
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// What to do about the failures that people meet.
fn hint(error: &Error) -> &'static str {
    match error {
        // Roots that share a name and not a key are found by that name, and then the signature is wrong.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "; none of the trusted roots issued the server's certificate: see `TlsOptions::ca_certificate`"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "; set `TlsOptions::domain_name` if the server goes by another name",
        Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => {
            "; the server may want a client certificate: see `TlsOptions::identity`"
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => "; the server does not speak HTTP/2",
        Error::InvalidMessage(_) => "; the server may speak no TLS",
        _ => "",
    }
}
