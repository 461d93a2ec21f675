//! `meshwork audit`: whether a running shop keeps what it promises.
//!
//! [`gather`](gather::gather) asks a shop for all that it shows and keeps, [`judge`](judge::judge) holds it against each other
//! and against what clients were told. A shop at rest has nothing under way: until it is, what is wrong is looked at again.

mod evidence;
mod fold;
mod gather;
mod judge;
mod print;
mod requests;
mod verdict;
mod wait;

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Code;

use self::requests::Requests;
use self::verdict::{Finding, Verdict};
use self::wait::Wait;
use crate::admin::{self, Admin, Unanswered};
use crate::cli::{AdminArgs, AuditArgs};
use crate::failure::Failure;
use crate::state::{local_port, staff_credentials};

/// How long to wait before a shop is looked at again.
const AGAIN: Duration = Duration::from_millis(500);
/// For how long a session begins another look, and how often one look signs in again: much less than a token lives, which is 290 s
/// unless the settings of users say otherwise.
const SESSION: Duration = Duration::from_secs(60);
/// The exit code when a shop can't be judged.
const UNJUDGED: u8 = 2;

/// Carries out `meshwork audit`.
///
/// # Errors
/// When an invariant is violated, or the shop can't be judged.
pub async fn run(args: AuditArgs) -> Result<(), Failure> {
    let unjudged = |failure: Failure| failure.exiting(UNJUDGED);
    let history = args.history.as_deref().map(Requests::read).transpose().map_err(unjudged)?;
    let AuditArgs { settle, admin: at, .. } = args;
    // Without an account there is nothing to wait for.
    staff_credentials(at.staff_credentials.as_deref(), local_port(at.target.trim_end_matches('/')))
        .map_err(unjudged)?;
    let (verdicts, after) = settled(&at, settle, history.as_ref()).await.map_err(unjudged)?;
    admin::print(at.output, &print::json(&verdicts, after), &print::text(&verdicts));
    match violated(&verdicts) {
        0 => Ok(()),
        1 => Err(failed("an invariant is violated")),
        violated => Err(failed(&format!("{violated} invariants are violated"))),
    }
}

fn failed(sentence: &str) -> Failure {
    Failure::new(
        sentence,
        "if the shop was at rest, the examples name what to look at; `meshwork deadletters list` and the logs say more",
    )
}

/// How many invariants are violated.
fn violated(verdicts: &[Verdict]) -> usize {
    verdicts.iter().filter(|verdict| verdict.finding() == Finding::Violated).count()
}

/// The last verdicts, and after how long: once nothing is violated, or when the time is over. A service may be away meanwhile;
/// an account that is refused is refused again.
async fn settled(
    at: &AdminArgs,
    settle: Duration,
    history: Option<&Requests>,
) -> Result<(Vec<Verdict>, Duration), Failure> {
    let begin = Instant::now();
    let (mut session, mut wait): (Option<(Admin, Instant)>, _) = (None, Wait::default());
    loop {
        let is_last = begin.elapsed() >= settle;
        let why = match looked_at(at, &mut session, history).await {
            Ok(verdicts) if is_last || violated(&verdicts) == 0 => return Ok((verdicts, begin.elapsed())),
            Err(unseen) if is_last || unseen.is_final => return Err(unseen.failure),
            Ok(verdicts) => wait::violated(&verdicts),
            Err(unseen) => wait::unseen(&unseen.failure),
        };
        wait.tell(why, settle.saturating_sub(begin.elapsed()));
        sleep(AGAIN).await;
    }
}

/// One look at the shop.
async fn looked_at(
    at: &AdminArgs,
    session: &mut Option<(Admin, Instant)>,
    history: Option<&Requests>,
) -> Result<Vec<Verdict>, Unanswered> {
    let (admin, since) = match session.take() {
        Some((admin, since)) if since.elapsed() < SESSION => (admin, since),
        _ => (Admin::sign_in(at).await?, Instant::now()),
    };
    let gathered = tokio::select! {
        gathered = gather::gather(&admin) => gathered,
        never = admin.renew(at, SESSION) => match never {},
    };
    match gathered {
        Ok(evidence) => {
            *session = Some((admin, since));
            Ok(judge::judge(&evidence, history))
        }
        // The session has ended before its time, and there may be another.
        Err(status) if status.code() == Code::Unauthenticated => Err(Unanswered { is_final: false, ..status.into() }),
        Err(status) => {
            *session = Some((admin, since));
            Err(status.into())
        }
    }
}
