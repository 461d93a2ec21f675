//! Calls through a channel, to a tonic server behind TLS.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::server::Connected;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::Channel;
use crate::observe::Connectivity;

/// A stream that tonic's server takes.
struct Secure(TlsStream<DuplexStream>);

impl Connected for Secure {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Secure {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secure {
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

/// A tonic server with the standard health service.
fn serve(config: ServerConfig) -> Pipes {
    let (connector, mut incoming) = pipes();
    let (accepted, streams) = mpsc::unbounded_channel();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Some(stream) = incoming.recv().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = accepted.send(io::Result::Ok(Secure(stream)));
            }
        }
    });
    tokio::spawn(async move {
        let (_reporter, service) = tonic_health::server::health_reporter();
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(UnboundedReceiverStream::new(streams)).await
    });
    (*connector).clone()
}

async fn call(connector: Pipes, tls: TlsOptions) -> Result<(), Status> {
    let channel = Channel::builder()
        .connector(connector)
        .tls(tls)
        .origin("users.test")
        .connect_timeout(Duration::from_secs(5))
        .connect_lazy("static:///127.0.0.1:1")
        .unwrap();
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.map(drop)
}

/// The message of a call that must fail as unavailable.
async fn unavailable(connector: Pipes, tls: TlsOptions) -> String {
    let status = call(connector, tls).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    status.message().to_owned()
}

#[tokio::test]
async fn mutual_tls_carries_calls() {
    let ca = Ca::new("one");
    let client = ca.issue("client.test");
    let server = serve(server_config(&ca.issue("users.test"), Some(&ca)));
    let options = TlsOptions::new().ca_certificate(ca.pem()).identity(client.certificate, client.key);
    call(server, options).await.unwrap();
}

#[tokio::test]
async fn one_of_several_roots_is_enough() {
    let (one, two) = (Ca::new("one"), Ca::new("two"));
    let server = serve(server_config(&two.issue("users.test"), None));
    call(server, TlsOptions::new().ca_certificate(one.pem()).ca_certificate(two.pem())).await.unwrap();
}

#[tokio::test]
async fn a_server_of_another_issuer_is_refused() {
    let server = serve(server_config(&Ca::new("theirs").issue("users.test"), None));
    let message = unavailable(server, TlsOptions::new().ca_certificate(Ca::new("ours").pem())).await;
    assert!(message.contains("none of the trusted roots") && message.contains("users.test"), "{message}");
}

#[tokio::test]
async fn a_server_of_another_name_is_refused() {
    let ca = Ca::new("one");
    let server = serve(server_config(&ca.issue("orders.test"), None));
    let message = unavailable(server.clone(), TlsOptions::new().ca_certificate(ca.pem())).await;
    assert!(message.contains("domain_name") && message.contains("orders.test"), "{message}");
    call(server, TlsOptions::new().ca_certificate(ca.pem()).domain_name("orders.test")).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_expired_is_refused() {
    let ca = Ca::new("one");
    let server = serve(server_config(&ca.expired("users.test"), None));
    let message = unavailable(server, TlsOptions::new().ca_certificate(ca.pem())).await;
    assert!(message.contains("expired"), "{message}");
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_says_so() {
    let ca = Ca::new("one");
    let server = serve(server_config(&ca.issue("users.test"), Some(&ca)));
    let message = unavailable(server, TlsOptions::new().ca_certificate(ca.pem())).await;
    assert!(message.contains("CertificateRequired"), "{message}");
}

#[tokio::test]
async fn a_client_of_another_issuer_is_refused() {
    let ca = Ca::new("one");
    let stranger = Ca::new("two").issue("client.test");
    let server = serve(server_config(&ca.issue("users.test"), Some(&ca)));
    let options = TlsOptions::new().ca_certificate(ca.pem()).identity(stranger.certificate, stranger.key);
    let message = unavailable(server, options).await;
    assert!(message.contains("alert"), "{message}");
}

#[tokio::test]
async fn a_server_that_does_not_choose_http_2_is_refused() {
    let ca = Ca::new("one");
    let pair = ca.issue("users.test");
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut config = server_config(&pair, None);
        config.alpn_protocols = protocols;
        let message = unavailable(serve(config), TlsOptions::new().ca_certificate(ca.pem())).await;
        assert!(message.contains("HTTP/2"), "{message}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_of() {
    let (connector, mut incoming) = pipes();
    tokio::spawn(async move {
        while let Some(mut stream) = incoming.recv().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let message = unavailable((*connector).clone(), TlsOptions::new().ca_certificate(Ca::new("one").pem())).await;
    assert!(message.contains("may speak no TLS"), "{message}");
}

#[tokio::test]
async fn the_name_asked_for_is_that_of_the_options() {
    let ca = Ca::new("one");
    let server = Echo::start(server_config(&ca.issue("orders.test"), None));
    connect(&server.tls(TlsOptions::new().ca_certificate(ca.pem()).domain_name("orders.test"))).await.unwrap();
    assert_eq!(server.seen()[0].server_name.as_deref(), Some("orders.test"));
}

/// Connects each address to a server of its own.
struct PipesByAddress(Vec<(Address, Pipes)>);

#[async_trait]
impl Connector for PipesByAddress {
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Io>> {
        let (_, pipes) = self.0.iter().find(|(own, _)| own == address).ok_or(io::ErrorKind::ConnectionRefused)?;
        pipes.connect(address).await
    }
}

#[tokio::test]
async fn c12_each_server_of_a_list_shows_a_certificate_of_its_own_name() {
    const TARGET: &str = "static:///127.0.0.1:1,127.0.0.2:1";
    let ca = Ca::new("one");
    let servers = || {
        let server = |host: &str| {
            let address = Address::Tcp(format!("{host}:1").parse().unwrap());
            (address, serve(server_config(&ca.issue(host), None)))
        };
        PipesByAddress(vec![server("127.0.0.1"), server("127.0.0.2")])
    };
    let builder = || Channel::builder().connector(servers()).tls(TlsOptions::new().ca_certificate(ca.pem()));
    for policy in [r#"{"loadBalancingConfig":[{"round_robin":{}}]}"#, r#"{"loadBalancingConfig":[{"pick_first":{}}]}"#]
    {
        let policy = crate::policy::Policy::parse(policy).unwrap();
        let channel = builder().policy(policy).connect_lazy(TARGET).unwrap();
        for _ in 0..4 {
            HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
        }
        let ready = async {
            while channel.endpoints().iter().any(|endpoint| endpoint.state != Connectivity::Ready) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ready).await.expect("both to be right");
    }
    // The builder's word counts for all: one of the two has no such certificate.
    let channel = builder().origin("127.0.0.2").connect_lazy(TARGET).unwrap();
    channel.wake();
    let failed = async {
        while !channel.endpoints().iter().any(|endpoint| endpoint.state == Connectivity::TransientFailure) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), failed).await.expect("a refusal");
    let failed: Vec<_> = channel.endpoints().into_iter().filter(|one| one.error.is_some()).collect();
    assert_eq!(failed.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["127.0.0.1:1"]);
}

#[test]
fn the_names_of_hosts_and_addresses_are_checked_alike() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ca = Ca::new("one");
        let server = Echo::start(server_config(&ca.issue("::1"), None));
        for (host, right) in [("[::1]", true), ("127.0.0.1", false), ("users.test", false)] {
            let options = TlsOptions::new().ca_certificate(ca.pem());
            let tls = Tls::new(server.connector.clone(), options, host, Observers::default()).unwrap();
            assert_eq!(connect(&tls).await.is_ok(), right, "{host}");
        }
    });
}
