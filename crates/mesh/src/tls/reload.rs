//! Certificates, keys and roots that change while the process runs.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::TlsError;
use super::material::Material;
use super::source::Sources;
use crate::observe::{Event, Observers};

/// How long reading may take: with a file system that hangs, connections are made with what there is.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is in use, and what is known of the files. They are looked at when a connection is made: no task, nothing to end.
pub(crate) struct Reload<C> {
    sources: Arc<Sources>,
    build: Build<C>,
    observers: Observers,
    config: ArcSwap<C>,
    hasher: RandomState,
    look: Mutex<Look<C>>,
}

/// Checks what was read and makes it usable.
type Build<C> = Arc<dyn Fn(&Material) -> Result<C, TlsError> + Send + Sync>;

/// What is new in the files, if anything is.
type Found<C> = Option<(u64, C)>;

struct Look<C> {
    next: Instant,
    /// The content that is in use.
    used: u64,
    /// What was reported last of a set that can't be used, so that it is reported once.
    reported: Option<String>,
    /// A look that nobody waits for any more; the next one takes it over, so that there is never more than one.
    reading: Option<JoinHandle<Result<Found<C>, TlsError>>>,
}

impl<C: Send + Sync + 'static> Reload<C> {
    /// Reads all of it for the first time. Blocks.
    pub(crate) fn open(
        sources: Sources,
        observers: Observers,
        build: impl Fn(&Material) -> Result<C, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let hasher = RandomState::new();
        let material = Material::read(&sources)?;
        let look =
            Look { next: after(sources.interval), used: material.fingerprint(&hasher), reported: None, reading: None };
        let config = ArcSwap::from_pointee(build(&material)?);
        let look = Mutex::new(look);
        Ok(Self { sources: Arc::new(sources), build: Arc::new(build), observers, config, hasher, look })
    }

    /// What a new connection uses: what the files hold, if they may have changed and can be used.
    pub(crate) async fn current(&self) -> Arc<C> {
        if self.sources.has_files() {
            // Connections that are made at the same time wait for one look, and then use what it found.
            let mut look = self.look.lock().await;
            if Instant::now() >= look.next {
                // Reported already; what was in use stays.
                let _ = self.look(&mut look).await;
            }
        }
        self.config.load_full()
    }

    /// As [`Reload::current`], now.
    pub(crate) async fn now(&self) -> Result<bool, TlsError> {
        let mut look = self.look.lock().await;
        self.look(&mut look).await
    }

    async fn look(&self, look: &mut Look<C>) -> Result<bool, TlsError> {
        let reading = look.reading.get_or_insert_with(|| {
            let (sources, hasher, used) = (Arc::clone(&self.sources), self.hasher.clone(), look.used);
            let build = Arc::clone(&self.build);
            // Reading blocks, and so does checking a key.
            tokio::task::spawn_blocking(move || {
                let material = Material::read(&sources)?;
                let found = material.fingerprint(&hasher);
                Ok(if found == used { None } else { Some((found, build(&material)?)) })
            })
        });
        let read = timeout(PATIENCE, reading).await;
        if read.is_ok() {
            look.reading = None;
        }
        let found = match read {
            Ok(Ok(found)) => found,
            // The runtime that began it has ended; nothing is wrong with the files.
            Ok(Err(error)) if error.is_cancelled() => Ok(None),
            Ok(Err(error)) => Err(TlsError::invalid(&"the certificates", error)),
            Err(_) => Err(TlsError::Slow(PATIENCE)),
        };
        look.next = after(self.sources.interval);
        match found {
            Ok(None) => {
                look.reported = None;
                Ok(false)
            }
            Ok(Some((found, config))) => {
                self.config.store(Arc::new(config));
                (look.used, look.reported) = (found, None);
                tracing::info!("certificates were read again and hold for new connections");
                self.observers.event(&Event::CertificatesReloaded);
                Ok(true)
            }
            Err(error) => {
                let message = error.to_string();
                if look.reported.as_ref() != Some(&message) {
                    tracing::warn!(%error, "new certificates can't be used; the ones before hold on");
                    self.observers.event(&Event::CertificatesRefused { error: &message });
                    look.reported = Some(message);
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
