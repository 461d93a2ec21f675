//! Another issuer: a server on this host that publishes keys as a test wants, and signs tokens.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meshwork_users::IssuerConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Whom its tokens are for.
pub const AUDIENCE: &str = "shop";

/// A pair of keys.
pub struct Signer {
    jwk: Jwk,
    key: EncodingKey,
    algorithm: Algorithm,
}

impl Signer {
    /// A new key on P-256.
    pub fn p256(id: &str) -> Self {
        Self::of(id, &rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256)
    }

    /// A new key on P-384.
    pub fn p384(id: &str) -> Self {
        Self::of(id, &rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::ES384)
    }

    fn of(id: &str, kind: &'static rcgen::SignatureAlgorithm, algorithm: Algorithm) -> Self {
        let pair = KeyPair::generate_for(kind).unwrap();
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        Self { jwk, key, algorithm }
    }

    /// The public half, as it is published.
    pub fn public(&self) -> Value {
        serde_json::to_value(&self.jwk).unwrap()
    }

    pub fn id(&self) -> &str {
        self.jwk.common.key_id.as_deref().unwrap()
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id().to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// A token with this header, whatever it says.
    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// How the provider answers.
#[derive(Clone, Default)]
pub enum Mood {
    #[default]
    Answers,
    /// The discovery document is this one.
    Says(Value),
    /// The set of keys is this text.
    Publishes(String),
    /// Everything is elsewhere.
    Redirects(String),
    Fails,
    /// There is no end of the set of keys.
    Hangs,
}

#[derive(Default)]
struct State {
    issuer: String,
    keys: Vec<Value>,
    mood: Mood,
    asked: usize,
}

/// An OpenID Connect provider. It ends when it is dropped.
pub struct Provider {
    pub issuer: String,
    pub signer: Signer,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Provider {
    /// A provider that is asked over plain HTTP.
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// A provider that is asked over TLS; the authority that its certificate is of is written into a file.
    pub async fn start_tls(authority: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(authority, root.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &root).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let issuer = format!("{scheme}://{address}");
        let signer = Signer::p256("first");
        let state = State { issuer: issuer.clone(), keys: vec![signer.public()], ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (shared, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    let answer = service_fn(move |request| answer(shared.clone(), request));
                    // Who goes in the middle is somebody that the test wants to go.
                    _ = match tls {
                        None => http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { issuer, signer, state, server }
    }

    /// From now on these keys are published.
    pub fn publish<'s>(&self, signers: impl IntoIterator<Item = &'s Signer>) {
        self.state.lock().unwrap().keys = signers.into_iter().map(Signer::public).collect();
    }

    pub fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// How often it was asked for anything.
    pub fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    /// Settings by which its tokens are exchanged, with these changes.
    pub fn settings(&self, changes: &Value) -> IssuerConfig {
        let mut settings = json!({ "issuer": self.issuer, "audiences": [AUDIENCE] });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(settings).unwrap()
    }

    /// What a good token says of a subject, with these changes; null takes a claim away.
    pub fn claims(&self, subject: &str, changes: &Value) -> Value {
        let now = now();
        let mut claims = json!({ "iss": self.issuer, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 3600, "role": "staff" });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    /// A good token of a subject.
    pub fn token(&self, subject: &str) -> String {
        self.token_with(subject, &json!({}))
    }

    /// A token of a subject with these changes.
    pub fn token_with(&self, subject: &str, changes: &Value) -> String {
        self.signer.sign(&self.claims(subject, changes))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Whole seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_discovery = request.uri().path() == "/.well-known/openid-configuration";
    let (mood, text) = {
        let mut state = state.lock().unwrap();
        state.asked += 1;
        let text = match &state.mood {
            Mood::Says(document) if is_discovery => document.to_string(),
            Mood::Publishes(text) if !is_discovery => text.clone(),
            _ if is_discovery => {
                json!({ "issuer": state.issuer, "jwks_uri": format!("{}/keys", state.issuer) }).to_string()
            }
            _ => json!({ "keys": state.keys }).to_string(),
        };
        (state.mood.clone(), text)
    };
    // What it is said to be doesn't matter.
    let response = Response::builder().header(header::CONTENT_TYPE, "text/plain");
    let response = match mood {
        Mood::Redirects(to) => response.status(StatusCode::FOUND).header(header::LOCATION, to).body(Full::default()),
        Mood::Fails => response.status(StatusCode::SERVICE_UNAVAILABLE).body(Full::default()),
        Mood::Hangs if !is_discovery => std::future::pending().await,
        _ => response.body(Full::from(text)),
    };
    Ok(response.unwrap())
}
