//! Connections over TLS.

use std::path::Path;

use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use meshwork_events::{Bus, BusError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::server::{Configured, Reached as _};

/// Writes an authority's certificate, and one with its key for the server and for us.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn both_sides_show_their_certificates() {
    let mut nats = Configured::prepare(
        "jetstream { store_dir: store }\n\
         tls { cert_file: server.pem, key_file: server.key, ca_file: ca.pem, verify: true }",
    );
    certificates(nats.folder());
    nats.run().await;
    let file = |name: &str| Some(nats.folder().join(name));
    let right =
        JetStreamOptions { ca: file("ca.pem"), cert: file("client.pem"), key: file("client.key"), ..nats.options() };
    JetStreamBus::connect(right.clone()).await.unwrap().ping().await.unwrap();
    let without = JetStreamOptions { cert: None, key: None, ..right.clone() };
    let stranger = JetStreamOptions { ca: None, url: nats.servers().replace("nats://", "tls://"), ..right };
    for wrong in [without, stranger] {
        let refused = JetStreamBus::connect(wrong).await.unwrap().ping().await;
        assert!(matches!(refused, Err(BusError::Unavailable(_))), "{refused:?}");
    }
}
