//! Certificates of servers that tests start.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A certificate for 127.0.0.1 with what belongs to it, all as PEM.
pub struct Certificate {
    /// Who has issued it, whom clients are to trust.
    pub issuer: String,
    /// The server's certificate.
    pub certificate: String,
    /// The server's private key.
    pub key: String,
}

/// Issues a certificate for 127.0.0.1, by an authority of its own.
///
/// # Panics
/// When the keys can't be made.
pub fn certify() -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "An issuer for tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Certificate { issuer: issuer.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
}
