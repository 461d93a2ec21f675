//! A mail server for tests: it keeps what it takes, and fails as it is told. Its clients may be other processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod script;
mod session;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

pub use self::script::{At, Encryption, Options, TakenMail, TriedLogin};
use self::script::{Rule, Sessions};

/// How long mails may be waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mail server on a free port of the loopback interface. It ends, with all connections, when it is dropped.
pub struct Smtp {
    address: SocketAddr,
    shared: Arc<Sessions>,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Smtp {
    /// Starts a server on a thread of its own, so that a test may use it whatever its runtime.
    ///
    /// # Panics
    /// When it can't start.
    pub fn start(options: Options) -> Self {
        let (acceptor, ca) = certificates();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), ca).unwrap();
        let shared = Arc::new(Sessions {
            options,
            acceptor,
            rules: Mutex::default(),
            delay: Mutex::default(),
            dropped_answers: Mutex::default(),
            logins: Mutex::default(),
            connections: Mutex::default(),
            mails: watch::Sender::new(Vec::new()),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, served) => {}
                }
            });
        });
        Self { address, shared, folder, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL with the right login, if one is needed.
    pub fn url(&self) -> String {
        let Options { encryption, login, .. } = &self.shared.options;
        let login = login.as_ref().map(|(user, password)| format!("{user}:{password}@")).unwrap_or_default();
        let (scheme, tls) = match encryption {
            Encryption::None => ("smtp", "?tls=none"),
            Encryption::StartTls => ("smtp", "?tls=required"),
            Encryption::Implicit => ("smtps", ""),
        };
        format!("{scheme}://{login}{}{tls}", self.address)
    }

    /// A PEM file with the certificate of who signed its own. It is gone when the server is.
    pub fn ca_file(&self) -> PathBuf {
        self.path().join("ca.crt")
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Lets it give `answer`, such as `450 4.2.0 Later` (lines end in CRLF but the last), `times` times for `recipient`; for everybody when that is empty,
    /// as it must be before the recipient is known. What was told first goes first.
    pub fn answer(&self, at: At, recipient: &str, answer: &str, times: usize) {
        let (recipient, answer) = (recipient.to_owned(), answer.to_owned());
        self.shared.rules.lock().unwrap().push(Rule { at, recipient, answer, left: times });
    }

    /// Lets it wait so long before each answer from now on.
    pub fn slow_down(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// Lets it take the next `count` mails and hang up before it says so.
    pub fn drop_answers(&self, count: usize) {
        *self.shared.dropped_answers.lock().unwrap() = count;
    }

    /// The mails that it has taken, oldest first.
    pub fn mails(&self) -> Vec<TakenMail> {
        self.shared.mails.borrow().clone()
    }

    /// Waits until it has taken at least `count` mails, and returns all.
    ///
    /// # Panics
    /// When they don't come within 30 seconds.
    pub async fn wait_for(&self, count: usize) -> Vec<TakenMail> {
        let mut mails = self.shared.mails.subscribe();
        let waited = tokio::time::timeout(PATIENCE, mails.wait_for(|mails| mails.len() >= count)).await;
        match waited {
            Ok(mails) => mails.unwrap().clone(),
            Err(_) => panic!("{} of {count} mails came within {PATIENCE:?}", self.mails().len()),
        }
    }

    /// The logins that were tried.
    pub fn logins(&self) -> Vec<TriedLogin> {
        self.shared.logins.lock().unwrap().clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Sessions>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        *shared.connections.lock().unwrap() += 1;
        let shared = shared.clone();
        // A client that goes away ends its session alone.
        tokio::spawn(async move { session::run(stream, &shared).await });
    }
}

/// What encrypts connections, and the certificate of who signed for it in PEM.
fn certificates() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "the tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), ca.pem())
}
