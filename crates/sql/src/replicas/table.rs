//! What is known of the servers of a group: which one is written to, and which are read from.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Answer, Identity};
use super::freshness::{Choice, Freshness, choose};
use super::history::History;
use super::position::WalPosition;

/// How many good answers in a row a replica gives before it is read from.
const GOOD: u32 = 3;
/// After how long without an answer a server counts as silent: twice the time between two questions.
const SILENCE: Duration = Duration::from_secs(1);
/// Connections made within this time after a switch are made anew too: one may have been on its way meanwhile.
const MARGIN: Duration = Duration::from_secs(1);
/// How long the primary's past is known, beyond the longest lag that is allowed.
const PAST: Duration = Duration::from_secs(60);

/// What is known of the servers, shared by the pools, the probes and the reads.
pub(crate) struct Table {
    /// `HOST:PORT` of each.
    names: Vec<String>,
    /// Whether the URL of each names the database that the first one's does: others don't say which database the group is of.
    namesakes: Vec<bool>,
    max_lag: Duration,
    max_lag_bytes: u64,
    known: Mutex<Known>,
}

struct Known {
    /// The system and the database; those of the first server in the list that has answered.
    identity: Option<Identity>,
    /// The highest timeline that any of them has told.
    timeline: u32,
    /// The server that is written to.
    primary: usize,
    /// Its timeline; 0 until it has answered as a primary.
    primary_timeline: u32,
    /// When writes were sent elsewhere last: older connections are not written to.
    switched: Option<Instant>,
    history: History,
    standings: Vec<Standing>,
    /// How far each replica that is read from had replayed when it was asked last, by server.
    selected: Vec<Option<WalPosition>>,
}

/// One server, as its last answers show it.
#[derive(Clone, Default)]
struct Standing {
    /// Good answers in a row.
    good: u32,
    /// When the server was started that has answered.
    started: Option<i64>,
    /// When it answered last.
    heard: Option<Instant>,
    has_failed: bool,
    lag: Option<(u64, Duration)>,
    problem: Option<String>,
    /// What makes it none of the group, as it was told last.
    foreign: Option<&'static str>,
}

/// A server as [`Table::standing`] tells it.
pub(crate) struct Told {
    /// Whether it is read from as a replica.
    pub selected: bool,
    /// How many bytes and since when it is behind.
    pub lag: Option<(u64, Duration)>,
    /// Why it isn't read from.
    pub problem: Option<String>,
}

impl Table {
    pub fn new(names: Vec<String>, namesakes: Vec<bool>, max_lag: Duration, max_lag_bytes: u64) -> Self {
        let servers = names.len();
        let known = Known {
            identity: None,
            timeline: 0,
            primary: 0,
            primary_timeline: 0,
            switched: None,
            history: History::new(max_lag.saturating_add(PAST)),
            standings: vec![Standing::default(); servers],
            selected: vec![None; servers],
        };
        Self { names, namesakes, max_lag, max_lag_bytes, known: Mutex::new(known) }
    }

    /// `HOST:PORT` of each server.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Takes the system and the database of a primary that was found among all servers for those of the group.
    pub fn settle(&self, identity: Identity) {
        self.known().identity = Some(identity);
    }

    /// Notes the answer of a server; whether writes go to it from now on.
    pub fn answered(&self, server: usize, answer: Answer, now: Instant) -> bool {
        let mut known = self.known();
        let known = &mut *known;
        known.standings[server].heard = Some(now);
        known.standings[server].started = Some(answer.started);
        if known.identity.is_none() && self.namesakes[server] {
            let mut before = known.standings[..server].iter().zip(&self.namesakes);
            if before.all(|(standing, is_namesake)| standing.has_failed || !is_namesake) {
                known.identity = Some(answer.identity());
            }
        }
        let foreign = match known.identity {
            Some(identity) => foreign(identity, &answer),
            None => Some("the servers before it in the list have not answered yet"),
        };
        let told = std::mem::replace(&mut known.standings[server].foreign, foreign);
        if let Some(problem) = foreign
            && known.identity.is_some()
            && told != foreign
            && known.selected[server].is_none()
        {
            tracing::warn!(server = %self.names[server], %problem, "a server of the list is not used");
        }
        let (switched, judged) = if let Some(problem) = foreign {
            (false, Err(problem.to_owned()))
        } else {
            known.heed_timeline(answer.position.timeline, now);
            if answer.standby {
                let judged = self.judge(known, answer.position, now);
                known.standings[server].lag = known.history.lag(now, answer.position.lsn);
                (false, judged)
            } else {
                known.standings[server].lag = None;
                known.judge_primary(server, answer.position, now)
            }
        };
        match judged {
            Ok(()) if answer.standby => {
                if known.good(server, answer.position) {
                    tracing::info!(server = %self.names[server], "a replica is read from");
                }
            }
            Ok(()) => known.standings[server].problem = None,
            Err(problem) => self.deselect(known, server, problem),
        }
        if !answer.standby {
            // What isn't in recovery is no replica, even if nothing is wrong with it.
            known.selected[server] = None;
            known.standings[server].good = 0;
        }
        switched
    }

    /// Notes that a server can't be used: it is not read from until it has given good answers again.
    pub fn failed(&self, server: usize, problem: String) {
        let mut known = self.known();
        known.standings[server].has_failed = true;
        self.deselect(&mut known, server, problem);
    }

    /// Where a read goes.
    pub fn choose(&self, freshness: Freshness, turn: usize, tried: Option<usize>) -> Choice {
        choose(&self.known().selected, freshness, turn, tried)
    }

    /// Whether a server has not answered for a while.
    pub fn is_silent(&self, server: usize, now: Instant) -> bool {
        self.known().standings[server].heard.is_none_or(|heard| now.saturating_duration_since(heard) > SILENCE)
    }

    /// Whether a server that was started at this time is the one that has answered.
    pub fn is_same(&self, server: usize, started: i64) -> bool {
        self.known().standings[server].started == Some(started)
    }

    /// Whether a connection of this age was made before writes were sent elsewhere.
    pub fn is_outdated(&self, age: Duration, now: Instant) -> bool {
        self.known()
            .switched
            .is_some_and(|switched| age.saturating_add(MARGIN) > now.saturating_duration_since(switched))
    }

    /// Whether the server that has given this answer may be written to.
    pub fn may_write(&self, answer: &Answer) -> Result<(), String> {
        let known = self.known();
        let timeline = answer.position.timeline;
        if answer.standby {
            Err("it is a replica; writes wait for one of the servers to be the primary".to_owned())
        } else if let Some(problem) = known.identity.and_then(|identity| foreign(identity, answer)) {
            Err(problem.to_owned())
        } else if timeline < known.timeline {
            Err(overtaken(timeline, known.timeline))
        } else {
            Ok(())
        }
    }

    /// When writes were sent elsewhere last: connections that are older are not written to.
    pub fn switched(&self) -> Option<Instant> {
        self.known().switched
    }

    /// The server that is written to.
    pub fn primary(&self) -> usize {
        self.known().primary
    }

    /// A server as it stands.
    pub fn standing(&self, server: usize) -> Told {
        let known = self.known();
        let standing = &known.standings[server];
        Told { selected: known.selected[server].is_some(), lag: standing.lag, problem: standing.problem.clone() }
    }

    /// Whether a server in recovery may be read from.
    fn judge(&self, known: &Known, replayed: WalPosition, now: Instant) -> Result<(), String> {
        if known.primary_timeline == 0 || known.primary_timeline < known.timeline {
            return Err("no primary of its timeline has answered yet".to_owned());
        }
        if replayed.timeline != known.timeline {
            let (own, primary) = (replayed.timeline, known.timeline);
            return Err(format!(
                "it has replayed timeline {own}, and the primary writes {primary}: let it follow the primary"
            ));
        }
        let Some((bytes, lag)) = known.history.lag(now, replayed.lsn) else {
            return Err("no primary has answered yet".to_owned());
        };
        if bytes > self.max_lag_bytes {
            return Err(format!("it is {bytes} bytes behind, more than the {} that are allowed", self.max_lag_bytes));
        }
        if lag > self.max_lag {
            return Err(format!("it is {lag:.1?} behind, more than the {:?} that are allowed", self.max_lag));
        }
        Ok(())
    }

    fn deselect(&self, known: &mut Known, server: usize, problem: String) {
        if known.selected[server].take().is_some() {
            tracing::warn!(server = %self.names[server], %problem, "a replica is not read from any more");
        }
        let standing = &mut known.standings[server];
        standing.good = 0;
        standing.problem = Some(problem);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in here panics between two changes that belong together.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// A timeline that nobody has told before means that a replica was promoted, whether or not the new primary is in reach: the
    /// old one is not written to any more.
    fn heed_timeline(&mut self, timeline: u32, now: Instant) {
        if timeline > self.timeline {
            if self.timeline != 0 {
                tracing::warn!(timeline, "a replica was promoted");
                self.switched = Some(now);
                // Whether the others follow it is known by their next answers.
                for (position, standing) in self.selected.iter_mut().zip(&mut self.standings) {
                    if position.take().is_some() {
                        standing.good = 0;
                        standing.problem =
                            Some("a replica was promoted, and it has not told yet that it follows".to_owned());
                    }
                }
            }
            self.timeline = timeline;
        }
    }

    /// What a server that isn't in recovery is: whether writes go to it from now on, and what is wrong with it.
    fn judge_primary(&mut self, server: usize, written: WalPosition, now: Instant) -> (bool, Result<(), String>) {
        let timeline = written.timeline;
        if timeline < self.timeline {
            return (false, Err(overtaken(timeline, self.timeline)));
        }
        if timeline == self.primary_timeline && server != self.primary {
            let problem = "it is a second primary of the same timeline: make one of them a replica of the other";
            return (false, Err(problem.to_owned()));
        }
        let switched = server != self.primary;
        if timeline != self.primary_timeline {
            // Positions of another timeline say nothing of this one.
            self.history.clear();
        }
        (self.primary, self.primary_timeline) = (server, timeline);
        if switched {
            self.switched = Some(now);
        }
        self.history.add(now, written.lsn);
        (switched, Ok(()))
    }

    /// Notes a good answer of a replica; whether it is read from from now on.
    fn good(&mut self, server: usize, position: WalPosition) -> bool {
        let standing = &mut self.standings[server];
        standing.good = standing.good.saturating_add(1);
        if standing.good < GOOD {
            return false;
        }
        standing.problem = None;
        self.selected[server].replace(position).is_none()
    }
}

/// What makes a server none of the group that has this identity.
fn foreign(identity: Identity, answer: &Answer) -> Option<&'static str> {
    if answer.position.system != identity.system {
        Some("it is of another database system: it must be a streaming replica of the others")
    } else if answer.database != identity.database {
        Some("it is another database of the same server; look at its URL")
    } else {
        None
    }
}

fn overtaken(timeline: u32, highest: u32) -> String {
    format!(
        "it is a primary of timeline {timeline}, and another was promoted to {highest} since: make it a replica of that one"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: u64 = 7;
    const STEP: Duration = Duration::from_millis(500);

    fn table() -> Table {
        Table::new(vec![String::new(); 3], vec![true, true, true], Duration::from_secs(2), 1_000)
    }

    fn primary(timeline: u32, lsn: u64) -> Answer {
        Answer { standby: false, position: WalPosition { system: SYSTEM, timeline, lsn }, started: 1, database: 5 }
    }

    fn standby(timeline: u32, lsn: u64) -> Answer {
        Answer { standby: true, ..primary(timeline, lsn) }
    }

    /// Whether a server is read from after it has given this answer.
    fn is_selected(table: &Table, server: usize, answer: Answer, now: Instant) -> bool {
        table.answered(server, answer, now);
        table.standing(server).selected
    }

    #[test]
    fn rr_a_replica_is_read_from_after_three_good_answers_and_not_after_a_bad_one() {
        let (table, now) = (table(), Instant::now());
        assert!(!table.answered(0, primary(1, 100), now));
        let expect = |answer: Answer, selected: bool| {
            assert_eq!(is_selected(&table, 1, answer, now), selected, "{:?}", table.standing(1).problem);
        };
        expect(standby(1, 100), false);
        expect(standby(1, 100), false);
        expect(standby(1, 100), true);
        expect(standby(1, 100), true);
        let foreign = WalPosition { system: 8, timeline: 1, lsn: 100 };
        let other = Answer { database: 6, ..standby(1, 100) };
        for bad in [Answer { position: foreign, ..standby(1, 100) }, other, primary(1, 100)] {
            expect(bad, false);
            expect(standby(1, 100), false);
            expect(standby(1, 100), false);
            expect(standby(1, 100), true);
        }
        table.failed(1, "gone".to_owned());
        assert!(!table.standing(1).selected);
    }

    #[test]
    fn rr_lag_in_bytes_and_in_time_deselects() {
        let (table, start) = (table(), Instant::now());
        table.answered(0, primary(1, 2_000), start);
        for _ in 0..3 {
            is_selected(&table, 1, standby(1, 1_500), start);
        }
        assert!(table.standing(1).selected);
        assert!(is_selected(&table, 1, standby(1, 1_500), start + STEP * 4));
        assert!(!is_selected(&table, 1, standby(1, 1_500), start + STEP * 5));
        for selected in [false, false, true] {
            assert_eq!(is_selected(&table, 1, standby(1, 2_000), start + STEP * 100), selected);
        }
        table.answered(0, primary(1, 3_001), start + STEP * 100);
        assert!(!is_selected(&table, 1, standby(1, 2_000), start + STEP * 100));
    }

    #[test]
    fn rr_a_higher_timeline_is_written_to_and_a_lower_one_never_again() {
        let (table, now) = (table(), Instant::now());
        table.answered(0, primary(1, 100), now);
        assert!(!table.is_outdated(Duration::from_secs(60), now));
        assert!(table.answered(2, primary(2, 90), now));
        assert_eq!(table.primary(), 2);
        assert!(table.is_outdated(Duration::from_secs(60), now));
        assert!(!table.answered(0, primary(1, 500), now));
        assert_eq!(table.primary(), 2);
        assert!(table.may_write(&primary(1, 500)).is_err() && table.may_write(&standby(2, 90)).is_err());
        assert!(table.may_write(&primary(2, 90)).is_ok());
        // Nor is a second one of the same timeline.
        assert!(!table.answered(1, primary(2, 90), now));
        assert_eq!(table.primary(), 2);
        let later = now + Duration::from_secs(10);
        assert!(table.is_outdated(Duration::from_secs(11), later) && !table.is_outdated(Duration::from_secs(5), later));
    }

    #[test]
    fn rr_a_primary_isn_t_written_to_once_a_replica_follows_a_newer_one() {
        let (table, now) = (table(), Instant::now());
        table.answered(0, primary(1, 100), now);
        assert!(table.may_write(&primary(1, 100)).is_ok());
        for _ in 0..3 {
            table.answered(2, standby(1, 100), now);
        }
        assert!(table.standing(2).selected);
        table.answered(1, standby(2, 100), now);
        assert!(table.may_write(&primary(1, 100)).is_err());
        assert!(!table.standing(2).selected);
        assert!(table.is_outdated(Duration::from_secs(60), now));
        assert!(table.answered(2, primary(2, 100), now));
    }

    /// The database system, once it is known.
    fn system_of(table: &Table) -> Option<u64> {
        table.known().identity.map(|identity| identity.system)
    }

    #[test]
    fn the_first_server_in_the_list_says_which_system_it_is() {
        let (table, now) = (table(), Instant::now());
        let foreign = Answer { position: WalPosition { system: 8, timeline: 5, lsn: 1 }, ..primary(1, 1) };
        assert!(!table.answered(1, foreign, now));
        assert_eq!(system_of(&table), None);
        table.answered(0, primary(1, 100), now);
        assert!(!table.answered(1, foreign, now));
        assert_eq!((table.primary(), system_of(&table)), (0, Some(SYSTEM)));
        // Where the first can't be asked, the next one says it.
        let table = self::table();
        table.failed(0, "gone".to_owned());
        assert!(table.answered(1, primary(1, 100), now));
        assert_eq!((table.primary(), system_of(&table)), (1, Some(SYSTEM)));
    }

    #[test]
    fn rr_another_database_of_the_same_server_is_never_written_to() {
        let (table, now) = (table(), Instant::now());
        table.answered(0, primary(1, 100), now);
        let promoted = Answer { database: 6, ..primary(2, 100) };
        assert!(!table.answered(1, promoted, now));
        assert_eq!(table.primary(), 0);
        assert!(table.may_write(&promoted).is_err_and(|problem| problem.contains("look at its URL")));
        assert!(table.may_write(&primary(1, 100)).is_ok());
        // Nor does it say which database is meant, when the first server is away.
        let table = Table::new(vec![String::new(); 3], vec![true, false, true], STEP, 1_000);
        table.failed(0, "gone".to_owned());
        assert!(!table.answered(1, promoted, now));
        assert_eq!(system_of(&table), None);
        assert!(table.answered(2, primary(2, 100), now));
        assert!(!table.answered(1, promoted, now));
        assert_eq!(table.primary(), 2);
    }

    #[test]
    fn silence_and_another_start_are_noticed() {
        let (table, now) = (table(), Instant::now());
        assert!(table.is_silent(0, now));
        table.answered(0, primary(1, 100), now);
        assert!(!table.is_silent(0, now + STEP) && table.is_silent(0, now + STEP * 3));
        assert!(table.is_same(0, 1) && !table.is_same(0, 2));
    }
}
