//! Certificates, keys and roots that change while the process runs.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::TlsError;
use super::material::Material;
use super::options::TlsOptions;
use crate::observe::{Event, Observers};

/// How long reading may take: with a file system that hangs, connections are made with what there is.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is in use, and what is known of the files. They are looked at when a connection is made: no task, nothing to end.
pub(super) struct Reload {
    options: Arc<TlsOptions>,
    observers: Observers,
    config: ArcSwap<ClientConfig>,
    hasher: RandomState,
    look: Mutex<Look>,
}

/// What is new in the files, if anything is.
type Found = Option<(u64, ClientConfig)>;

struct Look {
    next: Instant,
    /// The content that is in use.
    used: u64,
    /// What was told last of a set that can't be used, so that it is told once.
    told: Option<String>,
    /// A look that nobody waits for any more; the next one takes it over, so that there is never more than one.
    reading: Option<JoinHandle<Result<Found, TlsError>>>,
}

impl Reload {
    pub(super) fn open(options: TlsOptions, observers: Observers) -> Result<Self, TlsError> {
        let hasher = RandomState::new();
        let material = Material::read(&options)?;
        let look = Look {
            next: after(options.reload_interval),
            used: material.fingerprint(&hasher),
            told: None,
            reading: None,
        };
        let config = ArcSwap::from_pointee(material.config()?);
        Ok(Self { options: Arc::new(options), observers, config, hasher, look: Mutex::new(look) })
    }

    /// What a new connection uses: what the files hold, if they may have changed and can be used.
    pub(super) async fn current(&self) -> Arc<ClientConfig> {
        if self.options.has_files() {
            // Connections that are made at the same time wait for one look, and then use what it found.
            let mut look = self.look.lock().await;
            if Instant::now() >= look.next {
                // Told already; what was in use stays.
                let _ = self.look(&mut look).await;
            }
        }
        self.config.load_full()
    }

    /// As [`Reload::current`], now.
    pub(super) async fn now(&self) -> Result<bool, TlsError> {
        let mut look = self.look.lock().await;
        self.look(&mut look).await
    }

    async fn look(&self, look: &mut Look) -> Result<bool, TlsError> {
        let reading = look.reading.get_or_insert_with(|| {
            let (options, hasher, used) = (Arc::clone(&self.options), self.hasher.clone(), look.used);
            // Reading blocks, and so does checking a key.
            tokio::task::spawn_blocking(move || {
                let material = Material::read(&options)?;
                let found = material.fingerprint(&hasher);
                Ok(if found == used { None } else { Some((found, material.config()?)) })
            })
        });
        let read = timeout(PATIENCE, reading).await;
        if read.is_ok() {
            look.reading = None;
        }
        let found = match read {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => Err(TlsError::invalid(&"the certificates", error)),
            Err(_) => Err(TlsError::Slow(PATIENCE)),
        };
        look.next = after(self.options.reload_interval);
        match found {
            Ok(None) => {
                look.told = None;
                Ok(false)
            }
            Ok(Some((found, config))) => {
                self.config.store(Arc::new(config));
                (look.used, look.told) = (found, None);
                tracing::info!("certificates were read again and hold for new connections");
                self.observers.event(&Event::CertificatesReloaded);
                Ok(true)
            }
            Err(error) => {
                let message = error.to_string();
                if look.told.as_ref() != Some(&message) {
                    tracing::warn!(%error, "new certificates can't be used; the ones before hold on");
                    self.observers.event(&Event::CertificatesRefused { error: &message });
                    look.told = Some(message);
                }
                Err(error)
            }
        }
    }
}

/// Far ahead when the interval is longer than time itself.
fn after(interval: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(interval).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}
