use rcgen::{CertificateParams, KeyPair, SanType};

use super::*;

fn certificate(names: impl IntoIterator<Item = SanType>) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names.extend(names);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn named(names: impl IntoIterator<Item = SanType>) -> Result<Option<String>, String> {
    identity::of(&certificate(names)).map(|identity| identity.map(|identity| identity.to_string()))
}

#[test]
fn a_peer_is_its_spiffe_id_or_else_its_first_dns_name() {
    let id = "spiffe://example.com/orders";
    assert_eq!(named([dns("orders.example.com"), uri(id)]), Ok(Some(id.to_owned())));
    assert_eq!(named([dns("a.example.com"), dns("b.example.com")]), Ok(Some("a.example.com".to_owned())));
    assert_eq!(named([uri("https://example.com"), dns("a.example.com")]), Ok(Some("a.example.com".to_owned())));
    assert_eq!(named([]), Ok(None));
}

#[test]
fn a_spiffe_id_beside_another_uri_names_nobody() {
    for other in ["spiffe://example.com/users", "https://example.com"] {
        assert!(named([uri("spiffe://example.com/orders"), uri(other)]).is_err(), "{other}");
    }
}

#[test]
fn a_list_of_peers_means_what_it_says() {
    let (_, _, allowed) = ServerTlsOptions::new()
        .client_ca_certificate("-")
        .allowed_peers(["spiffe://example.com/gateway", "spiffe://example.com/jobs/*", "Ops.example.com"])
        .into_parts()
        .unwrap();
    let allowed = allowed.unwrap();
    let may = |name: &str| allowed.contains(Some(&PeerIdentity::new(name)));
    for name in [
        "spiffe://example.com/gateway",
        "spiffe://example.com/jobs/a",
        "spiffe://example.com/jobs/a/b",
        "ops.example.com",
    ] {
        assert!(may(name), "{name}");
    }
    for name in [
        "spiffe://example.com/gateway2",
        "spiffe://example.com/Gateway",
        "spiffe://example.com/jobs",
        "spiffe://example.com/jobs/",
        "spiffe://other.com/jobs/a",
        "ops.example.com.evil.com",
    ] {
        assert!(!may(name), "{name}");
    }
    assert!(!allowed.contains(None));
}

#[test]
fn what_makes_no_sense_is_said() {
    let missing = |options: ServerTlsOptions| ServerTls::new(options).unwrap_err().to_string();
    assert!(missing(ServerTlsOptions::new()).contains("`ServerTlsOptions::identity`"));
    assert!(missing(ServerTlsOptions::new().allowed_peers(["a"])).contains("`client_ca_certificate`"));
    assert!(missing(ServerTlsOptions::new().client_auth(ClientAuth::Required)).contains("`client_ca_certificate`"));
}
