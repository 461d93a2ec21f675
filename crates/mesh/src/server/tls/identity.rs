//! Whom a certificate names.

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::server::PeerIdentity;

/// What a SPIFFE ID begins with.
const SPIFFE: &str = "spiffe://";

/// The SPIFFE ID of a certificate (a URI SAN), or else its first DNS SAN; `None` when it has neither.
///
/// # Errors
/// When it can't be read, or is no X.509-SVID although it has a SPIFFE ID: such a certificate has one URI SAN and no more.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Option<PeerIdentity>, String> {
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|error| format!("can't be read: {error}"))?;
    let names =
        certificate.subject_alternative_name().map_err(|error| format!("has names that can't be read: {error}"))?;
    let Some(names) = names else { return Ok(None) };
    let (mut uris, mut dns) = (Vec::new(), None);
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::DNSName(name) => dns = dns.or(Some(*name)),
            _ => {}
        }
    }
    match uris.iter().find(|uri| uri.starts_with(SPIFFE)) {
        Some(_) if uris.len() > 1 => Err("has a SPIFFE ID beside another URI".to_owned()),
        Some(id) => Ok(Some(PeerIdentity::new(*id))),
        None => Ok(dns.map(PeerIdentity::new)),
    }
}
