//! What is refused before any connection is made, and by whom.

use std::fs;

use super::*;

fn open(options: TlsOptions) -> Result<Tls, TlsError> {
    Tls::new(pipes().0, options, "users.test", Observers::default())
}

fn problem(options: TlsOptions) -> String {
    open(options).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn without_roots_the_message_says_what_to_set() {
    let problem = problem(TlsOptions::new());
    assert!(problem.contains("ca_certificate_file"), "{problem}");
}

#[test]
fn roots_that_are_no_pem_are_refused() {
    assert!(
        problem(TlsOptions::new().ca_certificate("nonsense"))
            .contains("given to `ca_certificate`: holds no certificate")
    );
    let half = Ca::new("one").pem()[..100].to_owned();
    assert!(problem(TlsOptions::new().ca_certificate(half)).contains("can't be read"));
    let der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(problem(TlsOptions::new().ca_certificate(der)).contains("no root"));
}

#[test]
fn c24_what_cannot_be_used_of_a_bundle_of_roots_is_left_out() {
    let (one, two) = (Ca::new("one"), Ca::new("two"));
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_base64 = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    let no_section = "-----BEGIN CERTIFICATE---\n";
    let key = one.issue("a.test").key;
    let revoked = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let other = "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n";
    for odd in [no_der, no_base64, no_section, key.as_str(), revoked, other] {
        for bundle in [format!("{odd}{}{}", one.pem(), two.pem()), format!("{}{odd}{}", one.pem(), two.pem())] {
            assert!(open(TlsOptions::new().ca_certificate(&bundle)).is_ok(), "{bundle}");
        }
        open(TlsOptions::new().ca_certificate(odd)).map(|_| ()).unwrap_err();
        let beside = TlsOptions::new().ca_certificate(one.pem()).ca_certificate(odd);
        open(beside).map(|_| ()).unwrap_err();
    }
    let half = format!("{}{}", one.pem(), &two.pem()[..100]);
    assert!(problem(TlsOptions::new().ca_certificate(half)).contains("can't be read"), "it is being written");
}

#[tokio::test]
async fn c24_the_roots_that_are_left_of_a_bundle_are_trusted() {
    let (one, two) = (Ca::new("one"), Ca::new("two"));
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bundle = format!("{}{no_der}{}", one.pem(), two.pem());
    for issuer in [&one, &two] {
        let server = Echo::start(server_config(&issuer.issue("users.test"), None));
        connect(&server.tls(TlsOptions::new().ca_certificate(&bundle))).await.unwrap();
    }
}

#[test]
fn a_missing_file_is_named() {
    let problem = problem(TlsOptions::new().ca_certificate_file("/nowhere/ca.crt"));
    assert!(problem.contains("/nowhere/ca.crt") && problem.contains("No such file"), "{problem}");
}

#[test]
fn a_key_must_be_that_of_its_certificate() {
    let ca = Ca::new("one");
    let (one, two) = (ca.issue("a.test"), ca.issue("b.test"));
    let problem = problem(TlsOptions::new().ca_certificate(ca.pem()).identity(one.certificate, two.key));
    assert!(problem.contains("not that of the certificate"), "{problem}");
}

#[test]
fn an_identity_must_be_valid_today_and_for_clients() {
    let ca = Ca::new("one");
    let options = |pair: Pair| TlsOptions::new().ca_certificate(ca.pem()).identity(pair.certificate, pair.key);
    assert!(problem(options(ca.expired("a.test"))).contains("has expired"));
    let future = ca.issue_with("a.test", |params| params.not_before = date_time_ymd(3000, 1, 1));
    assert!(problem(options(future)).contains("not valid yet"));
    let purpose =
        |purpose: ExtendedKeyUsagePurpose| ca.issue_with("a.test", |params| params.extended_key_usages.push(purpose));
    assert!(problem(options(purpose(ExtendedKeyUsagePurpose::ServerAuth))).contains("not for clients"));
    assert!(open(options(purpose(ExtendedKeyUsagePurpose::ClientAuth))).is_ok());
}

#[test]
fn an_intermediate_that_expired_is_refused_too() {
    let root = Ca::new("root");
    let intermediate = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        Ca(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root.0).unwrap())
    };
    let options = |by: &Ca| {
        let pair = by.issue("a.test");
        TlsOptions::new().ca_certificate(root.pem()).identity(pair.certificate + &by.pem(), pair.key)
    };
    assert!(open(options(&intermediate(|_| {}))).is_ok());
    let expired = intermediate(|params| params.not_after = date_time_ymd(2020, 1, 1));
    assert!(problem(options(&expired)).contains("has expired"));
}

#[test]
fn a_key_that_cannot_be_read_is_refused_without_a_word_of_it() {
    let ca = Ca::new("one");
    let pair = ca.issue("a.test");
    let options = |key: &str| TlsOptions::new().ca_certificate(ca.pem()).identity(&pair.certificate, key);
    assert!(problem(options("")).contains("no private key"));
    let encrypted = pair.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(problem(options(&encrypted)).contains("not encrypted"));
    let secret = pair.key.lines().nth(1).unwrap();
    let half = &pair.key[..pair.key.find("-----END").unwrap()];
    let told = problem(options(half));
    assert!(told.contains("half written") && !told.contains(secret), "{told}");
}

#[test]
fn names_of_servers_are_dns_names_or_addresses() {
    let ca = Ca::new("one").pem();
    let named = |host: &str| Tls::new(pipes().0, TlsOptions::new().ca_certificate(&ca), host, Observers::default());
    assert!(named("users.test").is_ok());
    assert!(named("10.0.0.1").is_ok());
    assert!(named("[::1]").is_ok(), "as an authority holds it");
    assert!(named("no name").map(|_| ()).unwrap_err().to_string().contains("domain_name"));
    let options = TlsOptions::new().ca_certificate(&ca).domain_name("users.test");
    assert!(Tls::new(pipes().0, options, "no name", Observers::default()).is_ok(), "the option goes first");
}

#[test]
fn no_key_shows_in_debug() {
    let pair = Ca::new("one").issue("a.test");
    let options = TlsOptions::new().identity(&pair.certificate, &pair.key).identity_files("/a/tls.crt", "/a/tls.key");
    assert!(format!("{options:?}").contains("/a/tls.key"));
    let shown = format!("{:?}", TlsOptions::new().identity(&pair.certificate, &pair.key));
    assert!(shown.contains(&format!("{} bytes", pair.key.len())) && !shown.contains("PRIVATE"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", &pair.key.as_bytes()[..8])), "{shown}");
}

#[tokio::test]
async fn files_may_be_fine_and_then_refused_when_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    fs::write(&ca, Ca::new("one").pem()).unwrap();
    let tls = open(TlsOptions::new().ca_certificate_file(&ca)).unwrap();
    assert!(!tls.reload().await.unwrap(), "nothing is new");
    fs::remove_file(&ca).unwrap();
    assert!(tls.reload().await.unwrap_err().to_string().contains("ca.crt"));
    fs::write(&ca, Ca::new("two").pem()).unwrap();
    assert!(tls.reload().await.unwrap());
}
