//! TLS and mutual TLS, by real handshakes over TCP: certificates that rotate, and certificates that are no good.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use meshwork::connect::TlsOptions;
use meshwork::server::{Listener, Peer, Server, ServerTlsOptions};
use meshwork::{Channel, policy};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tower::layer::layer_fn;
use tower::util::MapRequest;

use crate::support::{Echo, SLEEP, UNARY, unary};

const GATEWAY: &str = "spiffe://example.com/gateway";

/// An issuer of certificates.
struct Ca(CertifiedIssuer<'static, KeyPair>);

struct Pair {
    certificate: String,
    key: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue_with(&self, names: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn server(&self, name: &str) -> Pair {
        self.issue_with(vec![SanType::DnsName(name.try_into().unwrap())], |_| {})
    }

    fn client(&self, id: &str) -> Pair {
        self.issue_with(vec![SanType::URI(id.try_into().unwrap())], |_| {})
    }
}

fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 1);
}

/// The files of a server, and the server.
struct World {
    folder: tempfile::TempDir,
    address: SocketAddr,
    stop: CancellationToken,
}

impl World {
    fn write(folder: &Path, pair: &Pair, client_ca: &str) {
        for (name, text) in [("tls.crt", &pair.certificate), ("tls.key", &pair.key), ("ca.crt", &client_ca.to_owned())]
        {
            // As mounted secrets are replaced: at once.
            std::fs::write(folder.join("new"), text).unwrap();
            std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
        }
    }

    fn options(folder: &Path) -> ServerTlsOptions {
        ServerTlsOptions::new()
            .identity_files(folder.join("tls.crt"), folder.join("tls.key"))
            .client_ca_certificate_file(folder.join("ca.crt"))
            .reload_interval(Duration::ZERO)
    }

    async fn start(pair: &Pair, client_ca: &str) -> Self {
        Self::start_with(pair, client_ca, |options| options).await
    }

    async fn start_with(
        pair: &Pair,
        client_ca: &str,
        change: impl FnOnce(ServerTlsOptions) -> ServerTlsOptions,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::write(folder.path(), pair, client_ca);
        let listener = Listener::tcp("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        // The handler answers with the peer's name instead of what it was sent.
        let named = layer_fn(|routes| {
            MapRequest::new(routes, |mut request: http::Request<tonic::body::Body>| {
                let peer = request.extensions().get::<Peer>().unwrap();
                let name = peer.identity().map_or("nobody", |identity| identity.as_str()).to_owned();
                assert_eq!(peer.certificates().is_empty(), name == "nobody");
                assert!(peer.address().is_some());
                if request.uri().path() == UNARY {
                    request = request.map(|_| message(&name));
                }
                request
            })
        });
        let tls = change(Self::options(folder.path()));
        let server = Server::builder().tls(tls).add_service(Echo::default()).layer(named);
        tokio::spawn(server.serve_with_shutdown(listener, stop.clone().cancelled_owned()));
        Self { folder, address, stop }
    }

    /// A channel of its own, with a connection of its own.
    fn channel(&self, server_ca: &str, identity: Option<&Pair>) -> Channel {
        let mut tls = TlsOptions::new().ca_certificate(server_ca).domain_name("server.example.com");
        if let Some(Pair { certificate, key }) = identity {
            tls = tls.identity(certificate, key);
        }
        let target = format!("static:///{}", self.address);
        let policy = policy::Policy::builder().build();
        Channel::builder().policy(policy).tls(tls).connect_lazy(&target).unwrap()
    }

    /// Who the server says that a client is.
    async fn ask(&self, server_ca: &str, identity: Option<&Pair>) -> Result<String, Status> {
        let channel = self.channel(server_ca, identity);
        tokio::time::timeout(Duration::from_secs(30), unary(&channel, UNARY, "who am I?"))
            .await
            .unwrap_or_else(|_| Err(Status::unavailable("in vain")))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A string as the body of a call.
fn message(text: &str) -> tonic::body::Body {
    use prost::Message as _;
    let message = text.to_owned().encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    tonic::body::Body::new(http_body_util::Full::new(bytes::Bytes::from(frame)))
}

#[track_caller]
fn assert_refused(answer: Result<String, Status>) {
    assert_eq!(answer.as_ref().map_err(Status::code), Err(Code::Unavailable), "{answer:?}");
}

#[tokio::test]
async fn mutual_tls_names_the_peer_to_the_handler() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let world = World::start(&ours.server("server.example.com"), &theirs.pem()).await;
    let gateway = theirs.client(GATEWAY);
    assert_eq!(world.ask(&ours.pem(), Some(&gateway)).await.unwrap(), GATEWAY);
}

#[tokio::test]
async fn clients_without_a_good_certificate_make_no_call() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let world = World::start(&ours.server("server.example.com"), &theirs.pem()).await;
    assert_refused(world.ask(&ours.pem(), None).await);
    assert_refused(world.ask(&ours.pem(), Some(&Ca::new().client(GATEWAY))).await);
    // The client itself refuses an expired identity; as PEM of another kind of client it would be the server that does.
    let old = theirs.issue_with(vec![SanType::URI(GATEWAY.try_into().unwrap())], expired);
    let tls = TlsOptions::new().ca_certificate(ours.pem()).identity(&old.certificate, &old.key);
    assert!(Channel::builder().tls(tls).connect_lazy(&format!("static:///{}", world.address)).is_err());
    assert!(raw_handshake(&world, &ours.pem(), &old).await.is_err());
    assert_eq!(world.ask(&ours.pem(), Some(&theirs.client(GATEWAY))).await.unwrap(), GATEWAY);
}

/// A handshake by rustls alone, which shows what it is told; and one byte, since TLS 1.3 refuses after the client is done.
async fn raw_handshake(world: &World, server_ca: &str, identity: &Pair) -> std::io::Result<()> {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server_ca.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let io = tokio::net::TcpStream::connect(world.address).await?;
    let name = "server.example.com".try_into().unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, io).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    stream.read_u8().await.map(drop)
}

#[tokio::test]
async fn an_expired_client_certificate_is_the_only_thing_wrong_with_it() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let world = World::start(&ours.server("server.example.com"), &theirs.pem()).await;
    // The server's SETTINGS come where the certificate is good.
    raw_handshake(&world, &ours.pem(), &theirs.client(GATEWAY)).await.unwrap();
    let old = theirs.issue_with(vec![SanType::URI(GATEWAY.try_into().unwrap())], expired);
    raw_handshake(&world, &ours.pem(), &old).await.unwrap_err();
}

#[tokio::test]
async fn servers_of_another_issuer_or_name_are_not_trusted() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let gateway = theirs.client(GATEWAY);
    let world = World::start(&ours.server("server.example.com"), &theirs.pem()).await;
    assert_refused(world.ask(&Ca::new().pem(), Some(&gateway)).await);
    let other = World::start(&ours.server("other.example.com"), &theirs.pem()).await;
    assert_refused(other.ask(&ours.pem(), Some(&gateway)).await);
}

#[tokio::test]
async fn only_peers_on_the_list_may_connect() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let listed = |options: ServerTlsOptions| options.allowed_peers([GATEWAY, "spiffe://example.com/jobs/*"]);
    let world = World::start_with(&ours.server("server.example.com"), &theirs.pem(), listed).await;
    for id in [GATEWAY, "spiffe://example.com/jobs/nightly"] {
        assert_eq!(world.ask(&ours.pem(), Some(&theirs.client(id))).await.unwrap(), id);
    }
    assert_refused(world.ask(&ours.pem(), Some(&theirs.client("spiffe://example.com/orders"))).await);
    let nameless = theirs.issue_with(Vec::new(), |_| {});
    assert_refused(world.ask(&ours.pem(), Some(&nameless)).await);
}

#[tokio::test]
async fn new_certificates_hold_for_new_connections_and_old_ones_live() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let world = World::start(&ours.server("server.example.com"), &theirs.pem()).await;
    let gateway = theirs.client(GATEWAY);
    let old = world.channel(&ours.pem(), Some(&gateway));
    assert_eq!(unary(&old, UNARY, "").await.unwrap(), GATEWAY);
    let call = tokio::spawn({
        let old = old.clone();
        async move { unary(&old, SLEEP, "500").await }
    });
    // Another issuer on both sides.
    let (ours_new, theirs_new) = (Ca::new(), Ca::new());
    World::write(world.folder.path(), &ours_new.server("server.example.com"), &theirs_new.pem());
    let jobs = theirs_new.client("spiffe://example.com/jobs/a");
    assert_eq!(world.ask(&ours_new.pem(), Some(&jobs)).await.unwrap(), "spiffe://example.com/jobs/a");
    assert_refused(world.ask(&ours_new.pem(), Some(&gateway)).await);
    assert_refused(world.ask(&ours.pem(), Some(&jobs)).await);
    // The old connection goes on, with the call that was under way and with new ones.
    call.await.unwrap().unwrap();
    assert_eq!(unary(&old, UNARY, "").await.unwrap(), GATEWAY);
}

#[tokio::test]
async fn certificates_that_can_not_serve_leave_the_ones_before() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let world = World::start(&ours.server("server.example.com"), &theirs.pem()).await;
    let (gateway, good) = (theirs.client(GATEWAY), ours.server("server.example.com"));
    let half = Pair { certificate: good.certificate.clone(), key: good.key[..good.key.len() / 2].to_owned() };
    let mixed = Pair { certificate: good.certificate.clone(), key: ours.server("server.example.com").key };
    let old = ours.issue_with(vec![SanType::DnsName("server.example.com".try_into().unwrap())], expired);
    let empty = Pair { certificate: String::new(), key: good.key.clone() };
    // It has read what it starts with.
    assert_eq!(world.ask(&ours.pem(), Some(&gateway)).await.unwrap(), GATEWAY);
    for (pair, what) in [(half, "half a key"), (mixed, "another's key"), (old, "expired"), (empty, "no certificate")] {
        World::write(world.folder.path(), &pair, &theirs.pem());
        assert_eq!(world.ask(&ours.pem(), Some(&gateway)).await.unwrap(), GATEWAY, "{what}");
        // At a start there is nothing before.
        let options = World::options(world.folder.path());
        assert!(meshwork::server::ServerTls::new(options).is_err(), "{what}");
    }
}
