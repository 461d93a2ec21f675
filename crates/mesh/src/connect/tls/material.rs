//! From PEM to what rustls works with, and all that is checked on the way.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::TlsError;
use super::options::{Pem, TlsOptions};

/// The name of HTTP/2 in ALPN.
pub(super) const HTTP_2: &[u8] = b"h2";

/// What the files and settings hold.
pub(super) struct Material {
    roots: Vec<(Pem, Vec<u8>)>,
    identity: Option<[(Pem, Vec<u8>); 2]>,
}

impl Material {
    /// Reads all of it. Blocks.
    pub(super) fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let roots = options.roots.iter().map(read).collect::<Result<_, _>>()?;
        let identity = match &options.identity {
            Some((certificate, key)) => Some([read(certificate)?, read(key)?]),
            None => None,
        };
        Ok(Self { roots, identity })
    }

    /// A number that changes with the content. The content itself is not kept: it holds a private key.
    pub(super) fn fingerprint(&self, hasher: &RandomState) -> u64 {
        let bytes = |(_, bytes): &(Pem, Vec<u8>)| hasher.hash_one(bytes);
        let roots: Vec<u64> = self.roots.iter().map(bytes).collect();
        hasher.hash_one((roots, self.identity.as_ref().map(|identity| identity.each_ref().map(bytes))))
    }

    /// Checks all of it and makes it usable.
    pub(super) fn config(self) -> Result<ClientConfig, TlsError> {
        // Given by name: the default of the process belongs to the program, and may be unset or set twice.
        let provider = Arc::new(ring::default_provider());
        let roots = roots(&self.roots)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::invalid(&"TLS", error))?
            .with_root_certificates(roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some([certificate, key]) => {
                let chain = certificates(&certificate)?;
                validity(&certificate.0, &chain, &provider)?;
                let secret = private_key(&key)?;
                builder.with_client_auth_cert(chain, secret).map_err(|error| match error {
                    Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::invalid(
                        &key.0,
                        format!(
                            "this key is not that of the certificate in {}: write both before they are read, or swap a \
                             link to both",
                            certificate.0
                        ),
                    ),
                    error => TlsError::invalid(&key.0, error),
                })?
            }
        };
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        // A resumed session would go on with the identity it began with, whatever has replaced it since.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn read(pem: &Pem) -> Result<(Pem, Vec<u8>), TlsError> {
    let bytes = match pem {
        Pem::Given { bytes, .. } => bytes.to_vec(),
        Pem::File(path) => std::fs::read(path)
            .map_err(|error| TlsError::Read { path: path.display().to_string(), error: Arc::new(error) })?,
    };
    Ok((pem.clone(), bytes))
}

fn roots(from: &[(Pem, Vec<u8>)]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for pem in from {
        for certificate in certificates(pem)? {
            store.add(certificate).map_err(|error| TlsError::invalid(&pem.0, format!("no root: {error}")))?;
        }
    }
    if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(store) }
}

fn certificates((origin, bytes): &(Pem, Vec<u8>)) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::invalid(origin, format!("PEM that can't be read: {error}")))?;
    if certificates.is_empty() {
        return Err(TlsError::invalid(origin, "holds no certificate (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(certificates)
}

fn private_key((origin, bytes): &(Pem, Vec<u8>)) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
        TlsError::invalid(
            origin,
            match error {
                pem::Error::NoItemsFound => {
                    "holds no private key that can be read (-----BEGIN PRIVATE KEY-----, not encrypted)".to_owned()
                }
                // Not the error itself: it may quote the line that it can't read.
                pem::Error::MissingSectionEnd { .. } => "the private key has no end; is it half written?".to_owned(),
                _ => "the private key is no PEM that can be read".to_owned(),
            },
        )
    })
}

/// Whether each certificate of a chain is valid now, and the first one is for clients.
///
/// What only the server can know, whether it trusts the chain, is left to the handshake. rustls has no function for
/// dates alone; but its verifier looks at them before it looks for an issuer, so each certificate is verified against
/// itself, and only what is said of the certificate itself counts.
fn validity(origin: &Pem, chain: &[CertificateDer<'static>], provider: &Arc<CryptoProvider>) -> Result<(), TlsError> {
    for (index, certificate) in chain.iter().enumerate() {
        let mut anchor = RootCertStore::empty();
        anchor.add(certificate.clone()).map_err(|error| TlsError::invalid(origin, error))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(anchor), Arc::clone(provider))
            .build()
            .map_err(|error| TlsError::invalid(origin, error))?;
        let Err(Error::InvalidCertificate(error)) = verifier.verify_client_cert(certificate, &[], UnixTime::now())
        else {
            continue;
        };
        // Without what changes from look to look, such as seconds: the same problem is told once.
        let problem = match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            CertificateError::BadEncoding => "no certificate",
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } if index == 0 => {
                "the certificate is not for clients (extended key usage)"
            }
            _ => continue,
        };
        return Err(TlsError::invalid(origin, problem));
    }
    Ok(())
}
