//! Real handshakes over pipes in memory. Certificates are made as needed.

mod calls;
mod refused;
mod rotation;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::observe::Event;

/// An issuer of certificates.
struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
struct Pair {
    certificate: String,
    key: String,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, name: &str) -> Pair {
        self.issue_with(name, |_| {})
    }

    fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn expired(&self, name: &str) -> Pair {
        self.issue_with(name, |params| params.not_after = date_time_ymd(2020, 1, 1))
    }
}

impl Pair {
    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    fn write(&self, folder: &Path) {
        std::fs::write(folder.join("tls.crt"), &self.certificate).unwrap();
        std::fs::write(folder.join("tls.key"), &self.key).unwrap();
    }
}

/// The settings of a server; with `clients`, it wants a certificate of that issuer.
fn server_config(pair: &Pair, clients: Option<&Ca>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(vec![pair.der()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Connects to whoever holds the other end, whatever the address.
#[derive(Clone)]
struct Pipes(mpsc::UnboundedSender<DuplexStream>);

#[async_trait]
impl Connector for Pipes {
    async fn connect(&self, _: &Address) -> io::Result<Box<dyn Io>> {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        self.0.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(ours))
    }
}

fn pipes() -> (Arc<Pipes>, mpsc::UnboundedReceiver<DuplexStream>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Arc::new(Pipes(sender)), receiver)
}

/// What a server saw of one connection.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    client: Option<CertificateDer<'static>>,
    server_name: Option<String>,
    kind: Option<HandshakeKind>,
}

impl Seen {
    fn of<T>(stream: &TlsStream<T>) -> Self {
        let connection = stream.get_ref().1;
        Self {
            client: connection.peer_certificates().map(|chain| chain[0].clone().into_owned()),
            server_name: connection.server_name().map(str::to_owned),
            kind: connection.handshake_kind(),
        }
    }
}

/// A server that sends back what it gets.
struct Echo {
    connector: Arc<Pipes>,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Echo {
    fn start(config: ServerConfig) -> Self {
        let (connector, mut incoming) = pipes();
        let config = Arc::new(Mutex::new(Arc::new(config)));
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (current, told) = (Arc::clone(&config), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Some(stream) = incoming.recv().await {
                let acceptor = TlsAcceptor::from(Arc::clone(&current.lock().unwrap()));
                let told = Arc::clone(&told);
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    told.lock().unwrap().push(Seen::of(&stream));
                    let mut byte = [0];
                    while stream.read(&mut byte).await? > 0 {
                        stream.write_all(&byte).await?;
                        stream.flush().await?;
                    }
                    io::Result::Ok(())
                });
            }
        });
        Self { connector, config, seen }
    }

    fn becomes(&self, config: ServerConfig) {
        *self.config.lock().unwrap() = Arc::new(config);
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn tls(&self, options: TlsOptions) -> Tls {
        Tls::new(self.connector.clone(), options, "users.test", Observers::default()).unwrap()
    }
}

fn address() -> Address {
    Address::Tcp("127.0.0.1:1".parse().unwrap())
}

/// Sends a byte and waits for it to come back.
async fn ping(io: &mut Box<dyn Io>) -> io::Result<()> {
    io.write_all(b"x").await?;
    io.flush().await?;
    io.read_exact(&mut [0]).await.map(drop)
}

/// Connects, and makes sure that the server has it too.
async fn connect(tls: &Tls) -> io::Result<Box<dyn Io>> {
    let mut io = tls.connect(&address()).await?;
    ping(&mut io).await?;
    Ok(io)
}

/// Observers that keep what they are told of certificates.
fn told() -> (Observers, Arc<Mutex<Vec<String>>>) {
    let events = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&events);
    let observers = Observers::new(move |event: &Event<'_>| match event {
        Event::CertificatesReloaded => kept.lock().unwrap().push("reloaded".to_owned()),
        Event::CertificatesRefused { error } => kept.lock().unwrap().push((*error).to_owned()),
        _ => {}
    });
    (observers, events)
}
