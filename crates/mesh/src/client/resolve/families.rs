//! The two families of a name's addresses (RFC 8305, section 3): asked for at the same time, and what is there doesn't wait
//! long for the other.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long addresses of one family wait for those of the other: the Resolution Delay of RFC 8305.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// How long a lookup goes on that came too late for its resolution. Then the server counts as silent.
const LATE: Duration = Duration::from_millis(1500);

/// When to look again for a family that gave no answer: at first, doubled each time, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// The families in the order of all pairs here, with what their records are called.
const FAMILIES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

type Lookup = BoxFuture<'static, FamilyAnswer>;

/// What the lookup of one family came to.
#[derive(Clone, Debug)]
enum FamilyAnswer {
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: Duration,
    },
    /// The server says that there are none: NODATA or NXDOMAIN.
    Absent {
        is_nx_domain: bool,
    },
    /// No answer, or an error instead of one.
    Failed(Arc<str>),
}

/// Why a name has no addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// There is no such name.
    NxDomain,
    /// The name has no addresses.
    NoRecords,
    /// At least one family couldn't be looked up. What each came to, for people.
    Failed(String),
}

/// The last good answer of each family of a host, and the lookup that is still under way.
#[derive(Debug, Default)]
pub(super) struct Families {
    last: Arc<Mutex<LastAnswers>>,
    /// The lookup that came too late for the last resolution; it ends with the next one.
    late: Mutex<JoinSet<()>>,
}

/// What each family said last, all of one name.
#[derive(Debug, Default)]
struct LastAnswers {
    name: Option<Name>,
    families: [LastAnswer; 2],
}

/// What a family said last.
#[derive(Debug, Default)]
struct LastAnswer {
    addresses: Vec<IpAddr>,
    expires: Option<Instant>,
    /// Whether the lookup before was answered, be it too late for its resolution.
    is_answered: bool,
    /// Looks in a row that were to be followed by another one soon.
    silent: u32,
}

/// The answers of both families; `None` for one that is late.
struct Answers {
    families: [Option<FamilyAnswer>; 2],
    late: Option<(usize, Lookup)>,
}

impl Families {
    /// The addresses of the first of `names` that has any, and for how long they are good.
    ///
    /// A family that is late or fails doesn't take away the other, and keeps its last good addresses.
    pub async fn resolve(
        &self,
        resolver: &TokioResolver,
        names: Vec<Name>,
    ) -> Result<(Vec<IpAddr>, Option<Duration>), Unresolved> {
        // What was late last time is asked for anew.
        *lock(&self.late) = JoinSet::new();
        let mut unresolved = Unresolved::NoRecords;
        for name in names {
            let lookups = FAMILIES.map(|family| lookup(resolver.clone(), name.clone(), family).boxed());
            let Answers { families, late } = answers(lookups).await;
            if has_addresses(&families) || lock(&self.last).stand_in(&name, &families) {
                let found = lock(&self.last).update(&name, families, Instant::now());
                if let Some((family, lookup)) = late {
                    self.await_late(name, family, lookup);
                }
                return Ok(found);
            }
            match families {
                [
                    Some(FamilyAnswer::Absent { is_nx_domain: one }),
                    Some(FamilyAnswer::Absent { is_nx_domain: other }),
                ] => {
                    lock(&self.last).forget(&name);
                    if !matches!(unresolved, Unresolved::Failed(_)) {
                        unresolved = if one && other { Unresolved::NxDomain } else { Unresolved::NoRecords };
                    }
                }
                families => unresolved = Unresolved::Failed(described(&families)),
            }
        }
        Err(unresolved)
    }

    /// Goes on with a lookup that came too late: the next resolution uses what it finds.
    fn await_late(&self, name: Name, family: usize, lookup: Lookup) {
        let last = Arc::clone(&self.last);
        lock(&self.late).spawn(async move {
            // Silence is noted already.
            if let Ok(answer) = timeout(LATE, lookup).await {
                let mut last = lock(&last);
                if last.name.as_ref() == Some(&name)
                    && let Some(last) = last.families.get_mut(family)
                {
                    last.update(Some(answer), Instant::now());
                }
            }
        });
    }
}

impl LastAnswers {
    /// Whether last good addresses stand in for a family of `name` that failed, while the other has none.
    fn stand_in(&self, name: &Name, answers: &[Option<FamilyAnswer>; 2]) -> bool {
        let failed = |answer: &Option<FamilyAnswer>| matches!(answer, Some(FamilyAnswer::Failed(_)));
        self.name.as_ref() == Some(name)
            && !answers.iter().all(failed)
            && self.families.iter().zip(answers).any(|(last, answer)| failed(answer) && !last.addresses.is_empty())
    }

    /// The name has no addresses any more.
    fn forget(&mut self, name: &Name) {
        if self.name.as_ref() == Some(name) {
            *self = Self::default();
        }
    }

    /// Takes the answers; all addresses that hold now, and for how long.
    fn update(
        &mut self,
        name: &Name,
        answers: [Option<FamilyAnswer>; 2],
        now: Instant,
    ) -> (Vec<IpAddr>, Option<Duration>) {
        // With a search list another name may answer now: its servers aren't mixed with those of the one before.
        if self.name.as_ref() != Some(name) {
            *self = Self { name: Some(name.clone()), ..Self::default() };
        }
        let mut addresses = Vec::new();
        let mut ttl: Option<Duration> = None;
        for (last, answer) in self.families.iter_mut().zip(answers) {
            let good_for = last.update(answer, now);
            addresses.extend_from_slice(&last.addresses);
            ttl = ttl.into_iter().chain(good_for).min();
        }
        (addresses, ttl)
    }
}

impl LastAnswer {
    /// Takes an answer, `None` when it is late; for how long what holds now is good, if this family says anything of it.
    fn update(&mut self, answer: Option<FamilyAnswer>, now: Instant) -> Option<Duration> {
        match answer {
            Some(FamilyAnswer::Addresses { addresses, ttl }) => {
                *self = Self { addresses, expires: now.checked_add(ttl), is_answered: true, silent: 0 };
                Some(ttl)
            }
            Some(FamilyAnswer::Absent { .. }) => {
                *self = Self { is_answered: true, ..Self::default() };
                None
            }
            // It answers, only not in time: what it said last is good for as long as it said.
            None if self.is_answered => {
                self.is_answered = false;
                self.expires.map(|expires| expires.saturating_duration_since(now))
            }
            Some(FamilyAnswer::Failed(_)) | None => {
                self.is_answered = false;
                self.silent = self.silent.saturating_add(1);
                let doublings = (self.silent - 1).min(16);
                Some(AGAIN.0.saturating_mul(1 << doublings).min(AGAIN.1))
            }
        }
    }
}

/// Looks up one family of a name.
async fn lookup(resolver: TokioResolver, name: Name, family: RecordType) -> FamilyAnswer {
    match resolver.lookup(name, family).await {
        Ok(lookup) => {
            let records = lookup.answers();
            let addresses: Vec<_> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
            if addresses.is_empty() {
                return FamilyAnswer::Absent { is_nx_domain: false };
            }
            let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
            FamilyAnswer::Addresses { addresses, ttl: Duration::from_secs(u64::from(ttl)) }
        }
        Err(error) if error.is_no_records_found() => FamilyAnswer::Absent { is_nx_domain: error.is_nx_domain() },
        Err(error) => FamilyAnswer::Failed(error.to_string().into()),
    }
}

/// Waits for both answers, but not long for the second when the first has addresses.
async fn answers([one, other]: [Lookup; 2]) -> Answers {
    let (first, place, mut rest) = match select(one, other).await {
        Either::Left((answer, rest)) => (answer, 0, rest),
        Either::Right((answer, rest)) => (answer, 1, rest),
    };
    let second = if matches!(first, FamilyAnswer::Addresses { .. }) {
        timeout(RESOLUTION_DELAY, &mut rest).await.ok()
    } else {
        Some((&mut rest).await)
    };
    let late = second.is_none().then_some((1 - place, rest));
    let families = if place == 0 { [Some(first), second] } else { [second, Some(first)] };
    Answers { families, late }
}

fn has_addresses(answers: &[Option<FamilyAnswer>; 2]) -> bool {
    answers.iter().flatten().any(|answer| matches!(answer, FamilyAnswer::Addresses { .. }))
}

/// What each family came to, for people.
fn described(answers: &[Option<FamilyAnswer>; 2]) -> String {
    let described = FAMILIES.iter().zip(answers).map(|(family, answer)| match answer {
        Some(FamilyAnswer::Failed(problem)) => format!("{family}: {problem}"),
        Some(FamilyAnswer::Absent { is_nx_domain: true }) => format!("{family}: NXDOMAIN"),
        Some(FamilyAnswer::Absent { .. }) => format!("{family}: no records"),
        Some(FamilyAnswer::Addresses { .. }) => format!("{family}: addresses"),
        None => format!("{family}: late"),
    });
    described.collect::<Vec<_>>().join("; ")
}

/// Nothing is left half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
