//! Attacks on the shop, one after the other, while a rightful second caller goes on calling: none of its calls may fail, and
//! the shop's memory may not grow. The table of attacks is [`attacks::ATTACKS`].

mod asks;
mod attacks;
mod connections;
mod deadlines;
mod frames;
mod http_bodies;
mod http_floods;
mod http_withheld;
mod malformed;
mod numbers;
mod oversized;
mod raw;
mod second;
mod streams;
mod tally;
mod unusual;
pub(crate) mod wire;
mod withheld;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::attacks::{ATTACKS, Attack};
use self::second::{Called, SecondCaller};
use self::tally::Tally;
use self::world::{Scene, World};

/// How much the shop's memory may grow, in MiB.
const MEMORY: f64 = 100.0;
/// What an attack must have added before the growth is called its own.
const SHARE: f64 = 20.0;
/// How long the second caller goes on after an attack: circuits that opened late count too.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// How long the shop may take to recover from an attack that succeeded before the next one begins.
const RECOVERY: Duration = Duration::from_secs(45);
/// How long the second caller calls before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// How many sign-ins are made at once before anything is measured: what hashing passwords needs is no growth.
const WARM_UP_SIGN_INS: u8 = 24;

/// Which attacks are run: with those that are known to succeed, and by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Whether attacks that belong to later issues are run too.
    pub(crate) known: bool,
    /// Part of the names of the attacks to run; empty: all.
    pub(crate) named: String,
}

impl Choice {
    fn takes(&self, attack: &Attack) -> bool {
        (self.known || !attack.known) && attack.name.contains(&self.named)
    }
}

/// How an attack went.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    /// The row of the findings.
    pub(crate) row: &'static str,
    /// Whether it may succeed still.
    pub(crate) known: bool,
    /// The second caller's calls.
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// What the attacker was answered.
    pub(crate) answers: BTreeMap<String, u64>,
    /// The memory above that of the start, at most and after the attack.
    pub(crate) peak_mib: f64,
    pub(crate) after_mib: f64,
    /// Why the attack has succeeded.
    pub(crate) success: Option<String>,
}

impl Outcome {
    /// The head of the table whose lines [`Outcome::line`] gives.
    pub(crate) fn heading() -> String {
        format!(
            "{:<42} {:<9} {:>5} {:>6} {:>7} {:>7} {:>8} {:>8} {:>8} {:>9}  {}",
            "attack", "row", "calls", "failed", "p50 ms", "p99 ms", "ok", "refused", "peak MiB", "after MiB", "verdict"
        )
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let ok: u64 = ["OK", "HTTP 200"].iter().filter_map(|ok| self.answers.get(*ok)).sum();
        let refused = self.answers.values().sum::<u64>() - ok;
        let row = if self.known { format!("({})", self.row) } else { self.row.to_owned() };
        let verdict = self.success.as_ref().map_or_else(|| "held".to_owned(), |why| format!("SUCCEEDED: {why}"));
        let mut line = format!(
            "{:<42} {row:<9} {:>5} {:>6} {:>7.1} {:>7.1} {ok:>8} {refused:>8} {:>8.1} {:>9.1}  {verdict}",
            self.name, self.calls, self.failed, self.p50_ms, self.p99_ms, self.peak_mib, self.after_mib
        );
        let answers: Vec<_> = self.answers.iter().map(|(what, count)| format!("{what} {count}")).collect();
        line.push_str(&format!("  [{}]", answers.join(", ")));
        line
    }
}

/// Runs the attacks of `choice` on a new shop; `tell` gets each line as it is known.
pub(crate) async fn run(choice: &Choice, tell: fn(&str)) -> Vec<Outcome> {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(World::open(folder.path()).await);
    let second = SecondCaller::begin(&world);
    let began = Instant::now();
    let memory = Memory::watch(&world);
    warm_up(&world).await;
    tokio::time::sleep(WARM_UP).await;
    let start = memory.peak();
    drop(memory);
    let early = verdict(&second.between(began, Instant::now()), 0.0, 0.0);
    assert!(early.is_none(), "before any attack: {early:?}\n{}", world.log());

    tell(&format!("the shop takes up to {start:.1} MiB before the attacks"));
    tell(&Outcome::heading());
    let mut outcomes = Vec::new();
    for attack in ATTACKS.iter().filter(|attack| choice.takes(attack)) {
        let outcome = run_one(&world, &second, attack, start).await;
        tell(&outcome.line());
        if outcome.success.is_some() {
            recover(&second).await;
        }
        outcomes.push(outcome);
    }
    // What each attack leaves may be little, and too much together.
    let last = rest(&world, &second, start).await;
    tell(&last.line());
    outcomes.push(last);
    outcomes
}

/// Has the shop do what takes most memory in rightful use.
async fn warm_up(world: &Arc<World>) {
    let mut calls = tokio::task::JoinSet::new();
    for (at, account) in (0..WARM_UP_SIGN_INS).zip(world.accounts().to_vec()) {
        let world = Arc::clone(world);
        calls.spawn(async move {
            let from = std::net::Ipv4Addr::new(127, 1, 0, 200 + at);
            let wire = wire::Wire::open(from, world.gateway).await.unwrap();
            wire.call(wire::head_of(world::method::SIGN_IN, None, None), &world::sign_in(&account.email)).await
        });
    }
    // Whether the service has time for all of them isn't the question.
    while calls.join_next().await.is_some() {}
}

/// The names of the attacks that succeeded although they must not, with the reason.
pub(crate) fn successes(outcomes: &[Outcome], known: bool) -> Vec<String> {
    let of_kind = outcomes.iter().filter(|outcome| outcome.known == known);
    of_kind
        .filter_map(|outcome| Some(format!("{} ({}): {}", outcome.name, outcome.row, outcome.success.as_ref()?)))
        .collect()
}

async fn run_one(world: &Arc<World>, second: &SecondCaller, attack: &Attack, start: f64) -> Outcome {
    let began = Instant::now();
    let before = world.resident_mib() - start;
    let until = began + Duration::from_millis(attack.millis);
    let scene = Scene { world: Arc::clone(world), tally: Arc::new(Tally::default()), until };
    let tally = Arc::clone(&scene.tally);
    let memory = Memory::watch(world);
    // An attack ends by itself; this is for one that doesn't.
    let ended = tokio::time::timeout_at(until + Duration::from_secs(2), (attack.run)(scene)).await;
    if ended.is_err() {
        tally.note("cut off");
    }
    tokio::time::sleep(AFTERWARDS).await;
    let over = Instant::now();
    second.settled(over).await;
    let peak = memory.peak() - start;
    let calls = second.between(began, over);
    let after = world.resident_mib() - start;
    let answers = tally.counts();
    let too_much = attack.most.and_then(|(what, most)| {
        let count = answers.get(what).copied().filter(|count| *count > most)?;
        Some(format!("the attacker got: {what} {count}, more than {most}"))
    });
    let other = answers.keys().find(|answer| !attack.allows(answer));
    let other = other.map(|answer| format!("the attacker was answered by {answer}"));
    let success = verdict(&calls, peak, peak - before).or(too_much).or(other);
    outcome(attack.name, attack.row, attack.known, &calls, answers, (peak, after), success)
}

/// The shop after all attacks.
async fn rest(world: &Arc<World>, second: &SecondCaller, start: f64) -> Outcome {
    let began = Instant::now();
    tokio::time::sleep(AFTERWARDS).await;
    let over = Instant::now();
    second.settled(over).await;
    let calls = second.between(began, over);
    let after = world.resident_mib() - start;
    let success = verdict(&calls, after, after);
    outcome("(after all attacks)", "-", false, &calls, BTreeMap::new(), (after, after), success)
}

fn outcome(
    name: &'static str,
    row: &'static str,
    known: bool,
    calls: &[Called],
    answers: BTreeMap<String, u64>,
    (peak_mib, after_mib): (f64, f64),
    success: Option<String>,
) -> Outcome {
    let mut millis: Vec<_> = calls.iter().map(|call| call.took.as_secs_f64() * 1000.0).collect();
    millis.sort_unstable_by(f64::total_cmp);
    let quantile = |per_cent: usize| millis.get((millis.len() * per_cent / 100).min(millis.len().saturating_sub(1)));
    Outcome {
        name,
        row,
        known,
        calls: calls.len(),
        failed: calls.iter().filter(|call| call.failure.is_some()).count(),
        p50_ms: quantile(50).copied().unwrap_or_default(),
        p99_ms: quantile(99).copied().unwrap_or_default(),
        answers,
        peak_mib,
        after_mib,
        success,
    }
}

/// Why an attack has succeeded, if it has.
fn verdict(calls: &[Called], peak: f64, growth: f64) -> Option<String> {
    let failed: Vec<_> = calls.iter().filter_map(|call| Some((call.at, call.failure.as_ref()?))).collect();
    if let Some((_, first)) = failed.iter().min_by_key(|(at, _)| *at) {
        return Some(format!("{} of {} calls failed, first {first}", failed.len(), calls.len()));
    }
    if calls.is_empty() {
        return Some("the second caller made no call".to_owned());
    }
    (peak > MEMORY && growth > SHARE)
        .then(|| format!("{peak:.0} MiB more than at most before the attacks, {growth:.0} by this one"))
}

/// Waits until the second caller's calls have passed for a while, at most [`RECOVERY`].
async fn recover(second: &SecondCaller) {
    let (started, quiet) = (Instant::now(), Duration::from_secs(2));
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let recent = second.between(Instant::now() - quiet, Instant::now());
        let well = started.elapsed() >= quiet && recent.iter().all(|call| call.failure.is_none());
        if (well && !recent.is_empty()) || started.elapsed() > RECOVERY {
            return;
        }
    }
}

/// Samples the shop's memory until it is dropped.
struct Memory {
    peak: Arc<std::sync::Mutex<f64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Memory {
    fn watch(world: &Arc<World>) -> Self {
        let peak = Arc::new(std::sync::Mutex::new(world.resident_mib()));
        let (seen, world) = (Arc::clone(&peak), Arc::clone(world));
        let task = tokio::spawn(async move {
            loop {
                let now = world.resident_mib();
                let most = seen.lock().unwrap().max(now);
                *seen.lock().unwrap() = most;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { peak, task }
    }

    fn peak(&self) -> f64 {
        *self.peak.lock().unwrap()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.task.abort();
    }
}
