//! Small JSON documents of other people's servers.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use url::Url;

/// How long a connection may take.
const CONNECT_BOUND: Duration = Duration::from_secs(3);
/// The most bytes of a document.
const MAX_DOCUMENT: usize = 512 * 1024;
/// The most bytes of the head of an answer.
const MAX_HEAD: usize = 64 * 1024;
/// The most characters of an error.
const MAX_ERROR: usize = 300;

/// Fetches documents, each over a connection of its own. It follows no redirect: who may say where keys are is settled.
pub(super) struct Documents(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Documents {
    /// Fetches from servers that the authorities in a file of PEM certificates know; from those that browsers know when the path
    /// is empty.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn new(authorities: &Path) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots(authorities)?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_BOUND));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector.wrap_connector(tcp));
        Ok(Self(client))
    }

    /// The document at a URL. How long it may take is up to the caller.
    ///
    /// # Errors
    /// A sentence about what went wrong, with nothing of the document.
    pub async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<T, String> {
        let request = Request::get(url.as_str()).header(header::ACCEPT, "application/json").body(Empty::new());
        let request = request.map_err(|error| format!("{url} can't be asked for: {error}"))?;
        let response = self.0.request(request).await;
        let response = response.map_err(|error| format!("{url} can't be reached: {}", chain(&error)))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("{url} answers {status}; no redirect is followed"));
        }
        if status != StatusCode::OK {
            return Err(format!("{url} answers {status}"));
        }
        let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await;
        let body = body.map_err(|error| format!("{url} can't be read: {}", chain(&*error)))?.to_bytes();
        // What it has in place of what it should is not shown: it may be anything.
        serde_json::from_slice(&body).map_err(|error| {
            format!("{url} is not the JSON that it should be, by line {} column {}", error.line(), error.column())
        })
    }
}

/// The authorities that servers are known by.
fn roots(file: &Path) -> Result<RootCertStore, String> {
    if file.as_os_str().is_empty() {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    }
    let wrong = |problem: &dyn Error| format!("the authorities in {} can't be used: {problem}", file.display());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        store.add(certificate).map_err(|error| wrong(&error))?;
    }
    if store.is_empty() { Err(format!("{} holds no certificate in PEM", file.display())) } else { Ok(store) }
}

/// An error with its causes, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let text = causes.fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match (text.is_empty(), text.contains(&cause)) {
            (true, _) => cause,
            (false, true) => text,
            (false, false) => format!("{text}: {cause}"),
        }
    });
    text.chars().take(MAX_ERROR).collect()
}
