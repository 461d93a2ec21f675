//! Mutual TLS with certificates in files, and an identity that is replaced while the channel is in use.
//!
//! `cargo run -p meshwork --example mtls`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use meshwork::Channel;
use meshwork::connect::TlsOptions;
use meshwork::observe::Event;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ca = Ca::new()?;
    fs::write(folder.path().join("ca.crt"), ca.0.pem())?;
    ca.issue("client-1", folder.path())?;
    let address = serve(&ca).await?;

    let tls = TlsOptions::new()
        .ca_certificate_file(folder.path().join("ca.crt"))
        .identity_files(folder.path().join("tls.crt"), folder.path().join("tls.key"))
        .domain_name("users.example")
        // Looked at whenever a connection is made; 10 s unless set.
        .reload_interval(Duration::ZERO);
    let builder = Channel::builder().tls(tls).observer(|event: &Event<'_>| {
        if let Event::CertificatesReloaded | Event::CertificatesRefused { .. } = event {
            println!("client: {event:?}");
        }
    });
    let target = format!("static:///{address}");

    let first = builder.clone().connect(&target).await?;
    check("the first identity", first.clone()).await;

    // Nothing has to be restarted: a new connection shows the new identity, the one that stands goes on.
    ca.issue("client-2", folder.path())?;
    let second = builder.connect(&target).await?;
    check("the second identity", second.clone()).await;
    check("the connection made before", first).await;

    let nobody = TlsOptions::new().ca_certificate_file(folder.path().join("ca.crt")).domain_name("users.example");
    check("no identity", Channel::builder().tls(nobody).connect_lazy(&target)?).await;
    Ok(())
}

async fn check(with: &str, channel: Channel) {
    match HealthClient::new(channel).check(HealthCheckRequest::default()).await {
        Ok(_) => println!("client: a call with {with} succeeds"),
        Err(status) => println!("client: a call with {with} fails: {:?}: {}", status.code(), status.message()),
    }
}

/// Issues the certificates of the example. In life, a certificate authority does.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "An example");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    fn issue(&self, name: &str, folder: &Path) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &self.0)?;
        fs::write(folder.join("tls.crt"), certificate.pem())?;
        fs::write(folder.join("tls.key"), key.serialize_pem())?;
        Ok(())
    }
}

/// A tonic server with the health service, which wants certificates of `ca`.
async fn serve(ca: &Ca) -> Result<SocketAddr> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.0.der().clone())?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["users.example".to_owned()])?.signed_by(&key, &ca.0)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone()], key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec()];

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (accepted, incoming) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            match acceptor.accept(stream).await {
                Ok(stream) => {
                    println!("server: a client connected");
                    let _ = accepted.send(io::Result::Ok(Incoming(stream))).await;
                }
                Err(error) => println!("server: a client was refused: {error}"),
            }
        }
    });
    let (_reporter, service) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
    });
    Ok(address)
}

/// A TLS stream as tonic's server takes it.
struct Incoming(TlsStream<TcpStream>);

impl tonic::transport::server::Connected for Incoming {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
