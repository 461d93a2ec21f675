//! Connections to a server that shows a certificate.

use meshwork_sql::{Error, Kind, Postgres, PostgresOptions};
use meshwork_testkit::Postgres as TestServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::Row as _;

#[tokio::test]
async fn who_answers_is_verified() {
    let (server, folder) = (TestServer::with_tls(), tempfile::tempdir().unwrap());
    let url = server.database();
    // Whether TLS was used.
    let open = async |url: &str, parameters: String| {
        let db = Postgres::open(&PostgresOptions::new(format!("{url}?{parameters}")), &[]).await?;
        let own =
            sqlx::query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetch_one(db.reader()).await?;
        Ok::<_, Error>(own.get::<bool, _>(0))
    };
    let issuer = format!("sslrootcert={}", server.ca_certificate().display());
    assert!(open(&url, format!("sslmode=verify-full&{issuer}")).await.unwrap());
    assert!(open(&url, "sslmode=prefer".to_owned()).await.unwrap());
    assert!(!open(&url, "sslmode=disable".to_owned()).await.unwrap());

    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let stranger = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let file = folder.path().join("stranger.crt");
    std::fs::write(&file, stranger.pem()).unwrap();
    let stranger = format!("sslrootcert={}", file.display());
    // The certificate is for the address, and not for the name that leads there too.
    let named = url.replace("127.0.0.1", "localhost");
    assert!(open(&named, format!("sslmode=verify-ca&{issuer}")).await.unwrap());
    for (what, url, parameters) in [
        ("another issuer", &url, format!("sslmode=verify-full&{stranger}")),
        ("another issuer, whatever the name", &url, format!("sslmode=verify-ca&{stranger}")),
        ("an issuer that the world doesn't know", &url, "sslmode=verify-full".to_owned()),
        ("another name", &named, format!("sslmode=verify-full&{issuer}")),
    ] {
        let Err(error) = open(url, parameters).await else { panic!("{what} was believed") };
        assert_eq!(error.kind(), Kind::Unavailable, "{what}: {error}");
    }
}
