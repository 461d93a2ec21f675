//! All caches of a process, and the remote tier that they share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::kind::{Kind, MAX_KEY};
use crate::link::Link;
use crate::local::{Cells, kind_tag};
use crate::observer::Observer;
use crate::options::TiersOptions;
use crate::remote::{LinkState, Listener, Mark, Remote, Unreachable};
use crate::stats::{Stats, count};

/// For how long the cause of a tag's new version is remembered, and how many are.
const CAUSES_FOR: Duration = Duration::from_mins(1);
const MAX_CAUSES: u64 = 10_000;

/// The tiers that the caches of a process share. Clones are the same.
#[derive(Clone)]
pub struct Tiers(Arc<Inner>);

struct Inner {
    observer: Option<Arc<dyn Observer>>,
    link: Arc<Link>,
    cells: Cells,
    kinds: RwLock<Vec<Arc<dyn Kind>>>,
    replays: Mutex<Vec<Arc<dyn Replay>>>,
    /// The causes for which tags were given new versions a moment ago, as `TAG CAUSE`, with the number of losses of before.
    causes: moka::sync::Cache<String, u64>,
    /// How often changes may have been missed: what the remote tier was told before, it may have lost.
    losses: AtomicU64,
    /// Whether the link came up since it was lost.
    was_up: AtomicBool,
    outages: AtomicU64,
}

/// Invalidates again what was committed while the remote tier was away: by those who have died before they could tell it.
#[async_trait]
pub trait Replay: Send + Sync + 'static {
    /// Called each time the remote tier is back, before anything is read from it.
    ///
    /// # Errors
    /// A sentence; it is tried again.
    async fn replay(&self) -> Result<(), String>;
}

impl Tiers {
    /// The local tier alone. What other processes change is seen within 1 s (CA-7).
    pub fn in_process(options: TiersOptions) -> Self {
        Self::new(options, None)
    }

    /// The local tier with a remote one behind it. Caches work from the start; the remote tier is used once it is up.
    pub fn with_remote(options: TiersOptions, remote: Arc<dyn Remote>) -> Self {
        let tiers = Self::new(options, Some(Arc::clone(&remote)));
        let listener: Arc<dyn Listener> = Arc::<Inner>::clone(&tiers.0);
        remote.attach(Arc::downgrade(&listener));
        tiers
    }

    fn new(options: TiersOptions, remote: Option<Arc<dyn Remote>>) -> Self {
        Self(Arc::new(Inner {
            observer: options.observer,
            link: Arc::new(Link::new(remote)),
            cells: Cells::default(),
            kinds: RwLock::default(),
            replays: Mutex::default(),
            causes: moka::sync::Cache::builder().max_capacity(MAX_CAUSES).time_to_live(CAUSES_FOR).build(),
            losses: AtomicU64::new(0),
            was_up: AtomicBool::new(false),
            outages: AtomicU64::new(0),
        }))
    }

    /// Invalidates what is cached under a key and older than `version`, as [`Cache::invalidate`](crate::Cache::invalidate) does:
    /// for who follows a log. `false`: there is no such kind in this process.
    pub async fn invalidate(&self, kind: &str, key: &str, version: Option<u64>) -> bool {
        let kinds = self.0.named(kind);
        for kind in &kinds {
            self.invalidate_in(kind, key, version, None).await;
        }
        !kinds.is_empty()
    }

    /// Invalidates everything that has a tag, with one write (CA-6). With a `cause`, such as `products/lamp@7`, a repetition within
    /// a minute does nothing, unless the link was lost in between.
    pub async fn invalidate_tag(&self, tag: &str, cause: Option<&str>) {
        let noted = cause.map(|cause| format!("{tag} {cause}"));
        let losses = self.0.losses.load(Ordering::Acquire);
        if noted.as_ref().is_some_and(|noted| self.0.causes.get(noted) == Some(losses)) {
            return;
        }
        self.0.cells.advance(tag);
        let inner = Arc::clone(&self.0);
        let (tag, cause) = (tag.to_owned(), cause.map(str::to_owned));
        let write = async move {
            let is_done = inner.link.bump(&tag, cause.as_deref()).await;
            // Once more: who read the tag's version or an entry in between has heard the old one, and nobody tells us of our writes.
            inner.cells.advance(&tag);
            if let (true, Some(noted)) = (is_done, noted) {
                inner.causes.insert(noted, losses);
            }
        };
        self.carry_out(write, None).await;
    }

    /// Invalidates everything of a kind (CA-6).
    pub async fn invalidate_kind(&self, kind: &str) {
        self.invalidate_tag(&kind_tag(kind), None).await;
    }

    /// The kinds that are cached in this process, in the order of their making.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.0.kind_names()
    }

    /// What has happened since the start.
    pub fn stats(&self) -> Stats {
        let kinds = self.0.kinds.read().unwrap_or_else(PoisonError::into_inner).clone();
        Stats {
            link: self.state(),
            tracking: self.link().is_tracking(),
            problem: self.link().remote().and_then(|remote| remote.problem()),
            outages: self.0.outages.load(Ordering::Relaxed),
            queued: self.link().queued(),
            kinds: kinds.iter().map(|kind| kind.stats()).collect(),
        }
    }

    /// The link to the remote tier; `None` when there is no such tier.
    pub fn state(&self) -> Option<LinkState> {
        self.link().remote().map(|remote| remote.state())
    }

    /// For health checks: whether both tiers work. Requests succeed either way.
    ///
    /// # Errors
    /// A sentence, while there is a remote tier that isn't used.
    pub fn check(&self) -> Result<(), String> {
        let Some(remote) = self.link().remote() else { return Ok(()) };
        let problem = || remote.problem().unwrap_or_else(|| "it has not been reached yet".to_owned());
        match remote.state() {
            LinkState::Up => Ok(()),
            LinkState::CatchingUp => {
                Err(format!("the shared cache is brought up to date, and not used yet: {}", problem()))
            }
            LinkState::Down => Err(format!(
                "the shared cache is away: {}; reads go to the database within their bound, look whether Redis runs",
                problem()
            )),
        }
    }

    /// Has `replay` called each time the remote tier is back; several are called in the order of their coming. If it is there
    /// already, it isn't read from until `replay` was called.
    pub fn on_reconnect(&self, replay: Arc<dyn Replay>) {
        self.0.replays.lock().unwrap_or_else(PoisonError::into_inner).push(replay);
        let Some(remote) = self.link().remote() else { return };
        // That is no outage.
        if self.0.was_up.swap(false, Ordering::AcqRel) {
            self.0.observe(LinkState::Down);
        }
        // Also while it is down: should it come up in this moment, it has not seen the hook.
        remote.distrust("what was committed before this process followed it must be made up for first");
    }

    /// How far what a source has committed was surely invalidated in the remote tier; `None` without one.
    ///
    /// # Errors
    /// When the remote tier doesn't answer.
    pub async fn marks(&self, source: &str) -> Result<Option<Vec<Mark>>, Unreachable> {
        match self.link().remote() {
            Some(remote) => remote.marks(source).await.map(Some),
            None => Ok(None),
        }
    }

    /// Notes that what a partition of a source has committed up to a mark was invalidated. It never goes back.
    ///
    /// # Errors
    /// When the remote tier doesn't answer.
    pub async fn advance(&self, source: &str, mark: Mark) -> Result<(), Unreachable> {
        match self.link().remote() {
            Some(remote) => remote.advance(source, mark).await,
            None => Ok(()),
        }
    }

    /// Deletes the marks of a source whose history is another one now: they would only go up.
    ///
    /// # Errors
    /// When the remote tier doesn't answer.
    pub async fn reset_marks(&self, source: &str) -> Result<(), Unreachable> {
        match self.link().remote() {
            Some(remote) => remote.reset_marks(source).await,
            None => Ok(()),
        }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.0.link
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.0.cells
    }

    pub(crate) fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.0.observer.clone()
    }

    /// Adds the local tier of a cache.
    pub(crate) fn add(&self, kind: Arc<dyn Kind>) {
        let name = kind.name();
        if !self.0.named(name).is_empty() {
            tracing::error!(kind = name, "two caches of one kind share nothing but Redis; make one, and clone it");
        }
        let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(is_fit) {
            tracing::error!(kind = name, "a kind's name has 1 to 32 small letters, digits and hyphens; rename it");
        }
        self.0.kinds.write().unwrap_or_else(PoisonError::into_inner).push(kind);
    }

    /// Invalidates a key of one local tier and in the remote one.
    pub(crate) async fn invalidate_in(
        &self,
        kind: &Arc<dyn Kind>,
        key: &str,
        version: Option<u64>,
        patience: Option<Duration>,
    ) {
        if key.len() > MAX_KEY {
            return;
        }
        count(&kind.counters().invalidations);
        kind.invalidate(key, version);
        let (kind, link, key) = (Arc::clone(kind), Arc::clone(self.link()), key.to_owned());
        let write = async move {
            link.tombstone(kind.name(), &key, version).await;
            // Once more: who read the remote tier in between has what lay there before, and nobody tells us of our writes.
            kind.invalidate(&key, version);
        };
        self.carry_out(write, patience).await;
    }

    /// Runs a write to the remote tier to its end, though the caller be cancelled meanwhile, or be no more patient: the write has
    /// a bound of its own. Nothing is done when there is no remote tier.
    pub(crate) async fn carry_out(&self, write: impl Future<Output = ()> + Send + 'static, patience: Option<Duration>) {
        if self.link().remote().is_none() {
            return write.await;
        }
        let write = tokio::spawn(write);
        let written = match patience {
            None => write.await,
            Some(patience) => timeout(patience, write).await.unwrap_or(Ok(())),
        };
        if let Err(error) = written {
            tracing::error!(%error, "a write to the shared cache broke off; report it");
        }
    }
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers").field("kinds", &self.kinds()).field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Inner {
    fn named(&self, name: &str) -> Vec<Arc<dyn Kind>> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().filter(|kind| kind.name() == name).cloned().collect()
    }

    fn kind_names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for kind in self.kinds.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if !names.contains(&kind.name()) {
                names.push(kind.name());
            }
        }
        names
    }

    fn observe(&self, state: LinkState) {
        if let Some(observer) = &self.observer {
            observer.link(state);
        }
    }
}

#[async_trait]
impl Listener for Inner {
    fn changed_key(&self, kind: &str, key: &str) {
        for kind in self.named(kind) {
            kind.invalidate(key, None);
        }
    }

    fn changed_tag(&self, tag: &str) {
        self.cells.advance(tag);
    }

    fn lost(&self, problem: &str) {
        self.losses.fetch_add(1, Ordering::AcqRel);
        self.cells.advance_all();
        if self.was_up.swap(false, Ordering::AcqRel) {
            self.outages.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(problem, "the local tier was dropped");
            self.observe(LinkState::Down);
        }
    }

    async fn recover(&self) -> Result<(), String> {
        self.observe(LinkState::CatchingUp);
        let kinds = self.kind_names();
        self.link.drain(&kinds).await?;
        let replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // At once: one whose source hangs takes its time.
        let replays: Vec<_> = replays.iter().map(|replay| replay.replay()).collect();
        for replayed in join_all(replays).await {
            replayed?;
        }
        // What the replays could not write.
        self.link.drain(&kinds).await
    }

    fn recovered(&self) {
        self.was_up.store(true, Ordering::Release);
        self.observe(LinkState::Up);
    }

    fn forget(&self) {
        self.link.owe_everything();
    }
}
