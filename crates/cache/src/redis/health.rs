//! What is known of the link to Redis: its state, its last sign of life, and why it was lost.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::failures::Failure;
use crate::remote::{LinkState, Listener};

/// A link that showed no life for so long is not relied upon (CA-7).
const SILENCE: Duration = Duration::from_millis(500);
/// So many reads in a row that failed are more than a bad moment.
const FAILED_READS: u32 = 3;
/// The log says at most once in this time that the link is lost, however often it is.
const SAY_EVERY: Duration = Duration::from_secs(60);

const DOWN: u8 = 0;
const CATCHING_UP: u8 = 1;
const UP: u8 = 2;

/// The state that all who use the link share.
pub(super) struct Health {
    since: Instant,
    state: AtomicU8,
    /// When the last beat that was answered had been sent, in µs since `since`: what others wrote before has been told.
    last_beat: AtomicU64,
    /// How often the link was lost; who catches up compares it at the end.
    losses: AtomicU64,
    failed_reads: AtomicU32,
    /// Whether the server that answers is to be left.
    leave: AtomicBool,
    /// Whether it was the cache that wanted no more reads when the link was up for the last time.
    is_asked: AtomicBool,
    problem: Mutex<Problem>,
    listener: OnceLock<Weak<dyn Listener>>,
    lost: Notify,
}

#[derive(Default)]
struct Problem {
    last: Option<String>,
    warned: Option<Instant>,
    /// Whether the last that the log said is that it is lost.
    is_said_lost: bool,
    /// When the log last said that it is up.
    said_up: Option<Instant>,
}

impl Health {
    pub fn new() -> Self {
        Self {
            since: Instant::now(),
            state: AtomicU8::new(DOWN),
            last_beat: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            failed_reads: AtomicU32::new(0),
            leave: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
            problem: Mutex::default(),
            listener: OnceLock::new(),
            lost: Notify::new(),
        }
    }

    /// Whom a loss is told to; false when there is one already.
    pub fn tell(&self, listener: Weak<dyn Listener>) -> bool {
        self.listener.set(listener).is_ok()
    }

    /// The state, by what the last beat still proves: a task that stalls keeps nothing alive.
    pub fn state(&self) -> LinkState {
        match self.state.load(Ordering::Acquire) {
            UP if self.silent_for() <= SILENCE => LinkState::Up,
            CATCHING_UP => LinkState::CatchingUp,
            _ => LinkState::Down,
        }
    }

    /// Whether it was lost, and nobody catches up yet.
    pub fn is_down(&self) -> bool {
        self.state.load(Ordering::Acquire) == DOWN
    }

    fn silent_for(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_micros(self.last_beat.load(Ordering::Acquire)))
    }

    /// The last reason why it was not up.
    pub fn problem(&self) -> Option<String> {
        self.noted().last.clone()
    }

    /// A beat that was sent then has been answered, and all that was told before the answer has been passed on.
    pub fn beat(&self, sent: Instant) {
        let sent = u64::try_from(sent.duration_since(self.since).as_micros()).unwrap_or(u64::MAX);
        self.last_beat.fetch_max(sent, Ordering::AcqRel);
    }

    /// The link can't be relied upon any more. Nobody finds it up from now on, and the local tier is dropped.
    pub fn lose(&self, problem: &str) {
        self.lose_by(problem, false);
    }

    fn lose_by(&self, problem: &str, is_asked: bool) {
        let was_up = {
            let mut noted = self.noted();
            let was = self.state.swap(DOWN, Ordering::AcqRel);
            self.losses.fetch_add(1, Ordering::AcqRel);
            if was == UP {
                self.is_asked.store(is_asked, Ordering::Release);
            }
            noted.last = Some(problem.to_owned());
            if noted.warned.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                noted.warned = Some(Instant::now());
                noted.is_said_lost = true;
                tracing::warn!("cache: Redis is not used, and the sources of truth are asked instead: {problem}");
            }
            was == UP
        };
        if was_up && let Some(listener) = self.listener() {
            listener.lost(problem);
        }
    }

    /// As [`Health::lose`], where it would be no news that nothing works while the link is down.
    pub fn interrupt(&self, problem: &str) {
        if !self.is_down() {
            self.lose(problem);
        }
    }

    /// As [`Health::interrupt`], by the cache, for reasons of its own. The link's task looks after it at once.
    pub fn distrust(&self, problem: &str) {
        self.interrupt_from_outside(problem, true);
    }

    /// Whether the link was lost by that.
    pub fn is_distrusted(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    fn interrupt_from_outside(&self, problem: &str, is_asked: bool) {
        if !self.is_down() {
            self.lose_by(problem, is_asked);
            self.lost.notify_one();
        }
    }

    /// A command failed that nobody repeats.
    pub fn read_failed(&self, failure: &Failure) {
        if failure.leave {
            return self.refused(failure);
        }
        if self.failed_reads.fetch_add(1, Ordering::AcqRel) + 1 >= FAILED_READS {
            self.failed_reads.store(0, Ordering::Release);
            let problem = format!("{FAILED_READS} reads in a row failed, the last one because {}", failure.sentence);
            self.interrupt_from_outside(&problem, false);
        }
    }

    /// A command was answered.
    pub fn read_succeeded(&self) {
        // Most of the time there is nothing to write, and so no cache line to fight for.
        if self.failed_reads.load(Ordering::Relaxed) != 0 {
            self.failed_reads.store(0, Ordering::Release);
        }
    }

    /// The server answered that it can't serve.
    pub fn refused(&self, failure: &Failure) {
        if failure.leave {
            self.leave.store(true, Ordering::Release);
            self.interrupt_from_outside(&failure.sentence, false);
        }
    }

    /// Whether the server is to be left; asked once.
    pub fn must_leave(&self) -> bool {
        self.leave.swap(false, Ordering::AcqRel)
    }

    /// Until somebody distrusts the link.
    pub async fn distrusted(&self) {
        self.lost.notified().await;
    }

    /// Redis answers again. [`Health::recovered`] wants the number.
    pub fn catch_up(&self) -> u64 {
        let _noted = self.noted();
        self.state.store(CATCHING_UP, Ordering::Release);
        self.losses.load(Ordering::Acquire)
    }

    /// What was missed has been made up for: the link is up, unless it was lost meanwhile.
    pub fn recovered(&self, losses: u64) -> bool {
        let mut noted = self.noted();
        let is_undisturbed = self.losses.load(Ordering::Acquire) == losses;
        if is_undisturbed {
            self.failed_reads.store(0, Ordering::Release);
            self.state.store(UP, Ordering::Release);
            let is_news = noted.said_up.is_none_or(|at| at.elapsed() >= SAY_EVERY);
            if std::mem::take(&mut noted.is_said_lost) || is_news {
                noted.said_up = Some(Instant::now());
                tracing::info!("cache: Redis is used, all that was missed has been made up for");
            }
        }
        is_undisturbed
    }

    fn noted(&self) -> MutexGuard<'_, Problem> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listener, while anybody uses the cache.
    pub fn listener(&self) -> Option<Arc<dyn Listener>> {
        self.listener.get().and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    /// Counts how often the local tier was dropped.
    #[derive(Default)]
    struct Drops(AtomicU32);

    #[async_trait]
    impl Listener for Drops {
        fn changed_key(&self, _kind: &str, _key: &str) {}
        fn changed_tag(&self, _tag: &str) {}
        fn lost(&self, _problem: &str) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
        async fn recover(&self) -> Result<(), String> {
            Ok(())
        }
    }

    fn up() -> (Health, Arc<Drops>) {
        let (health, drops) = (Health::new(), Arc::new(Drops::default()));
        let listener: Arc<dyn Listener> = Arc::clone(&drops) as Arc<dyn Listener>;
        assert!(health.tell(Arc::downgrade(&listener)));
        health.beat(Instant::now());
        let losses = health.catch_up();
        assert_eq!(health.state(), LinkState::CatchingUp);
        assert!(health.recovered(losses));
        assert_eq!(health.state(), LinkState::Up);
        (health, drops)
    }

    fn late() -> Failure {
        Failure::late(Duration::from_millis(20))
    }

    #[tokio::test(start_paused = true)]
    async fn ca_7_a_link_that_shows_no_life_for_half_a_second_is_not_up() {
        let (health, _drops) = up();
        tokio::time::advance(SILENCE).await;
        assert_eq!(health.state(), LinkState::Up);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(health.state(), LinkState::Down);
        // By the sending of the beat: what came after may not have been told before the answer.
        health.beat(Instant::now() - Duration::from_millis(400));
        assert_eq!(health.state(), LinkState::Up);
        tokio::time::advance(Duration::from_millis(101)).await;
        assert_eq!(health.state(), LinkState::Down);
    }

    #[tokio::test(start_paused = true)]
    async fn ca_7_a_loss_drops_the_local_tier_once() {
        let (health, drops) = up();
        health.lose("the cable was cut");
        health.lose("it still is");
        assert_eq!((health.state(), drops.0.load(Ordering::Acquire)), (LinkState::Down, 1));
        assert_eq!(health.problem().as_deref(), Some("it still is"));
        health.interrupt("no news");
        health.distrust("no news either");
        assert_eq!(health.problem().as_deref(), Some("it still is"));
    }

    #[tokio::test(start_paused = true)]
    async fn distrust_while_catching_up_wants_another_round() {
        let (health, _drops) = up();
        health.lose("the cable was cut");
        let losses = health.catch_up();
        health.distrust("an invalidation was not written");
        assert!(!health.recovered(losses));
        assert_eq!(health.state(), LinkState::Down);
        let losses = health.catch_up();
        assert!(health.recovered(losses));
        assert_eq!(health.problem().as_deref(), Some("an invalidation was not written"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_goes_up_and_down_is_said_to_be_lost_and_up_once_a_minute() {
        let (health, _drops) = up();
        let said = |health: &Health| {
            let noted = health.noted();
            (noted.warned.unwrap(), noted.said_up.unwrap())
        };
        let goes_up = |health: &Health| assert!(health.recovered(health.catch_up()));
        tokio::time::advance(Duration::from_secs(1)).await;
        health.lose("it is slow");
        goes_up(&health);
        let first = said(&health);
        assert_eq!(first, (Instant::now(), Instant::now()), "the end of what was said is said too");
        for _ in 0..5 {
            tokio::time::advance(Duration::from_secs(11)).await;
            health.lose("it is slow");
            goes_up(&health);
            assert_eq!(said(&health), first);
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        health.lose("it still is");
        assert_eq!(said(&health), (Instant::now(), first.1));
        goes_up(&health);
        assert_eq!(said(&health), (Instant::now(), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_that_the_cache_has_asked_for_is_told_from_others() {
        let (health, _drops) = up();
        health.distrust("somebody has come");
        health.lose("the cable was cut");
        assert!(health.is_distrusted(), "it was down by then");
        assert!(health.recovered(health.catch_up()));
        health.lose("the cable was cut");
        health.distrust("somebody has come");
        assert!(!health.is_distrusted());
    }

    #[tokio::test(start_paused = true)]
    async fn three_failed_reads_in_a_row_distrust_the_link() {
        let (health, drops) = up();
        for _ in 0..5 {
            health.read_failed(&late());
            health.read_failed(&late());
            health.read_succeeded();
        }
        assert_eq!(health.state(), LinkState::Up);
        for _ in 0..3 {
            health.read_failed(&late());
        }
        assert_eq!((health.state(), drops.0.load(Ordering::Acquire)), (LinkState::Down, 1));
        health.distrusted().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_demoted_is_left() {
        let (health, _drops) = up();
        health.refused(&late());
        assert!(!health.must_leave() && health.state() == LinkState::Up);
        let sentence = "it is read-only".to_owned();
        health.refused(&Failure { sentence, leave: true, is_vague: false, is_answer: true });
        assert_eq!(health.state(), LinkState::Down);
        assert!(health.must_leave());
        assert!(!health.must_leave(), "once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_is_held_weakly() {
        let (health, drops) = up();
        assert!(health.listener().is_some());
        drop(drops);
        assert!(health.listener().is_none());
        health.lose("nobody hears it");
    }
}
