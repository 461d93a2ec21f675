//! From PEM to what rustls works with, and all that is checked on the way.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{self, PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::TlsError;
use super::source::{Pem, Sources};

/// The name of HTTP/2 in ALPN.
pub(crate) const HTTP_2: &[u8] = b"h2";

/// Which end of a connection a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What the files and settings hold.
pub(crate) struct Material {
    roots: Vec<(Pem, Vec<u8>)>,
    identity: Option<[(Pem, Vec<u8>); 2]>,
}

/// A certificate with its intermediates, and its key.
pub(crate) struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    origins: [Pem; 2],
}

impl Identity {
    /// Why rustls doesn't take it.
    pub fn refused(&self) -> impl Fn(Error) -> TlsError + use<> {
        let [certificate, key] = self.origins.clone();
        move |error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::invalid(
                &key,
                format!(
                    "this key is not that of the certificate in {certificate}: write both before they are read, or swap a \
                     link to both"
                ),
            ),
            error => TlsError::invalid(&key, error),
        }
    }
}

/// Given by name: the default of the process belongs to the program, and may be unset or set twice.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Material {
    /// Reads all of it. Blocks.
    pub fn read(sources: &Sources) -> Result<Self, TlsError> {
        let roots = sources.roots.iter().map(read).collect::<Result<_, _>>()?;
        let identity = match &sources.identity {
            Some((certificate, key)) => Some([read(certificate)?, read(key)?]),
            None => None,
        };
        Ok(Self { roots, identity })
    }

    /// A number that changes with the content. The content itself is not kept: it holds a private key.
    pub fn fingerprint(&self, hasher: &RandomState) -> u64 {
        let bytes = |(_, bytes): &(Pem, Vec<u8>)| hasher.hash_one(bytes);
        let roots: Vec<u64> = self.roots.iter().map(bytes).collect();
        hasher.hash_one((roots, self.identity.as_ref().map(|identity| identity.each_ref().map(bytes))))
    }

    /// The roots that the other end's certificate is checked against. What can't be used of a bundle is left out with a
    /// warning, unless nothing would be left of it: bundles are made by others, and hold what they hold.
    pub fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        for bundle in &self.roots {
            add_roots(&mut store, bundle)?;
        }
        if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(store) }
    }

    /// The identity that is shown, checked for `side`; `None` when there is none.
    pub fn identity(&self, side: Side) -> Result<Option<Identity>, TlsError> {
        let Some([certificate, key]) = &self.identity else { return Ok(None) };
        let chain = certificates(certificate)?;
        validity(&certificate.0, &chain, &provider(), side)?;
        let origins = [certificate.0.clone(), key.0.clone()];
        Ok(Some(Identity { chain, key: private_key(key)?, origins }))
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

/// Adds the roots of a bundle.
///
/// A bundle that ends within a certificate is refused as a whole: it is still being written.
fn add_roots(store: &mut RootCertStore, (origin, bytes): &(Pem, Vec<u8>)) -> Result<(), TlsError> {
    let before = store.len();
    let mut first_problem = None;
    for (number, section) in (1_u32..).zip(<(SectionKind, Vec<u8>)>::pem_slice_iter(bytes)) {
        let problem = match section {
            Ok((SectionKind::Certificate, der)) => match store.add(CertificateDer::from(der)) {
                Ok(()) => continue,
                Err(error) => format!("no root: {error}"),
            },
            // Its kind alone: it may be a private key.
            Ok((kind, _)) => {
                tracing::warn!(%origin, number, ?kind, "a section of a CA bundle that is no certificate is left out");
                continue;
            }
            Err(error @ pem::Error::MissingSectionEnd { .. }) => return Err(unreadable(origin, &error)),
            Err(error) => format!("PEM that can't be read: {error}"),
        };
        tracing::warn!(%origin, number, problem, "a certificate of a CA bundle can't be used and is left out");
        first_problem.get_or_insert(problem);
    }
    match first_problem {
        _ if store.len() > before => Ok(()),
        Some(problem) => Err(TlsError::invalid(origin, problem)),
        None => Err(no_certificate(origin)),
    }
}

fn unreadable(origin: &Pem, error: &pem::Error) -> TlsError {
    TlsError::invalid(origin, format!("PEM that can't be read: {error}"))
}

fn no_certificate(origin: &Pem) -> TlsError {
    TlsError::invalid(origin, "holds no certificate (-----BEGIN CERTIFICATE-----)")
}

fn certificates((origin, bytes): &(Pem, Vec<u8>)) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(|error| unreadable(origin, &error))?;
    if certificates.is_empty() {
        return Err(no_certificate(origin));
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

/// Whether each certificate of a chain is valid now, and the first one is for `side`.
///
/// What only the other end can know, whether it trusts the chain, is left to the handshake. rustls has no function for
/// dates alone; but its verifiers look at them before they look for an issuer, so each certificate is verified against
/// itself, and only what is said of the certificate itself counts.
fn validity(
    origin: &Pem,
    chain: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
    side: Side,
) -> Result<(), TlsError> {
    for (index, certificate) in chain.iter().enumerate() {
        let mut anchor = RootCertStore::empty();
        anchor.add(certificate.clone()).map_err(|error| TlsError::invalid(origin, error))?;
        let Err(Error::InvalidCertificate(error)) =
            verify(certificate, anchor, provider, side).map_err(|error| TlsError::invalid(origin, error))?
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
                match side {
                    Side::Client => "the certificate is not for clients (extended key usage)",
                    Side::Server => "the certificate is not for servers (extended key usage)",
                }
            }
            _ => continue,
        };
        return Err(TlsError::invalid(origin, problem));
    }
    Ok(())
}

/// What the other end's verifier would say; the outer error is that there is none.
fn verify(
    certificate: &CertificateDer<'static>,
    anchor: RootCertStore,
    provider: &Arc<CryptoProvider>,
    side: Side,
) -> Result<Result<(), Error>, rustls::server::VerifierBuilderError> {
    Ok(match side {
        Side::Client => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(anchor), Arc::clone(provider)).build()?;
            verifier.verify_client_cert(certificate, &[], UnixTime::now()).map(drop)
        }
        Side::Server => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(anchor), Arc::clone(provider)).build()?;
            // A name that no certificate holds: names come last, and what is wrong with them is not asked here.
            let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
            verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).map(drop)
        }
    })
}
