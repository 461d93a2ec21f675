//! The shards of this service, for who runs them: how they are, what would even them out, and moving pieces while they serve.
//!
//! All of it works on the databases themselves, by the settings of the service, whether or not the service runs. What is begun
//! is in a journal and can be resumed by anybody.

use std::fmt;
use std::str::FromStr;

use meshwork_chassis::ServeError;
use meshwork_sql::shards::moving::{self, MoveError, Mover};
use meshwork_sql::shards::plan::{self, HotCause};
use meshwork_sql::shards::{ShardId, Shards};
use serde::Serialize;

pub use meshwork_sql::shards::moving::{
    MoveProgress, MoveReport, MoveSpec, PendingMove, PiecesOwned, RowsEstimate, ShardStatus, Step,
};

use crate::Config;
use crate::adapters::handover::DrainedOutbox;
use crate::adapters::store::{CLAIMS, MOVED, PostgresStore, USERS};
use crate::adapters::stores;

/// How many ids of each shard a plan is made from at most.
const SAMPLE: i64 = 10_000;

/// How many pieces one move takes at most.
const AT_ONCE: usize = 32;

/// A space of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// The ids of accounts, with all that belongs to them; cut as the settings say.
    Users,
    /// The addresses that are taken, and the ids of requests; always by slots.
    Emails,
}

/// A word is no space of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be users or emails")]
pub struct UnknownSpace;

impl Space {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Users, Self::Emails];

    /// Its number in the maps.
    pub const fn number(self) -> i16 {
        match self {
            Space::Users => USERS,
            Space::Emails => CLAIMS,
        }
    }

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Space::Users => "users",
            Space::Emails => "emails",
        }
    }

    fn of_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|space| space.number() == number)
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Space {
    type Err = UnknownSpace;

    fn from_str(word: &str) -> Result<Self, UnknownSpace> {
        Self::ALL.into_iter().find(|space| space.as_str() == word).ok_or(UnknownSpace)
    }
}

/// Pieces that are to be moved to a shard, whoever owns them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveRequest {
    /// Of which space.
    pub space: Space,
    /// Which pieces, by their numbers: slots, or ranges as [`status`] names them. [`piece_of`] finds that of a key.
    pub pieces: Vec<i32>,
    /// The name of the shard that they are moved to.
    pub to: String,
}

/// What would even out the shards.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// The moves, none when the shards are even. [`run_move`] takes them as they are.
    pub moves: Vec<PlannedMove>,
    /// Where ranges would best be split, by a sample of the ids; empty unless accounts are cut by ranges.
    pub splits: Vec<String>,
    /// Ranges that have many more accounts than others, or that grow at their end.
    pub hot: Vec<HotRange>,
}

/// A move of pieces of one shard to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedMove {
    /// Of which space.
    pub space: Space,
    /// The numbers of the pieces, ascending.
    pub pieces: Vec<i32>,
    /// The name of the shard that has them.
    pub from: String,
    /// The name of the shard that gets them.
    pub to: String,
}

/// A range that stands out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HotRange {
    /// Its first possible id; empty for the first range.
    pub low: String,
    /// The first id behind it; `None` for the last range.
    pub high: Option<String>,
    /// Its part of the newest quarter of the sample, from 0 to 1.
    pub share: f64,
    /// Why, in words for people.
    pub reason: &'static str,
}

impl From<plan::HotRange> for HotRange {
    fn from(hot: plan::HotRange) -> Self {
        let reason = match hot.cause {
            HotCause::Tail => {
                "new ids come behind all others: no split helps; give accounts ids that vary from their beginning"
            }
            HotCause::Crowd => "new ids crowd together here: split the range there again",
        };
        Self { low: hot.low, high: hot.high, share: hot.share, reason }
    }
}

/// How the shards are, sorted by number: their pieces, about how many rows they have, and what is being moved. One that can't be asked
/// says so in its `problem`.
///
/// # Errors
/// When the settings name no database, or those that they name can't be used.
pub async fn status(config: &Config) -> Result<Vec<ShardStatus>, ServeError> {
    let shards = stores::open_shards(config).await?;
    Ok(moving::status(&shards, MOVED).await)
}

/// What would even out the shards that are configured.
///
/// # Errors
/// When the databases can't be reached, or one of them can't be asked for a sample.
pub async fn plan(config: &Config) -> Result<Plan, ServeError> {
    let shards = stores::open_shards(config).await?;
    let map = shards.map();
    let target: Vec<_> = shards.shards().iter().map(|shard| shard.id).collect();
    let mut moves: Vec<PlannedMove> = Vec::new();
    for planned in map.plan(&target) {
        let Some(space) = Space::of_number(planned.space) else { continue };
        let (from, to) = (name_of(&shards, planned.from), name_of(&shards, planned.to));
        match moves.iter_mut().find(|known| known.space == space && known.from == from && known.to == to) {
            Some(known) => known.pieces.push(planned.piece),
            None => moves.push(PlannedMove { space, pieces: vec![planned.piece], from, to }),
        }
    }
    for planned in &mut moves {
        planned.pieces.sort_unstable();
    }
    let mut proposal = Plan { moves, ..Plan::default() };
    if map.is_hashed(USERS) == Some(false) {
        let mut sampled = Vec::new();
        for shard in shards.shards() {
            let sample = shard.part.sample(SAMPLE).await;
            sampled.extend(sample.map_err(|error| {
                ServeError::new(
                    format!("the shard {} can't be asked for a sample of its ids: {error}", shard.name),
                    "see that its server runs and is in reach, and try again",
                )
            })?);
        }
        // As they were made, the oldest first.
        sampled.sort_unstable();
        let ids: Vec<_> = sampled.into_iter().map(|(_, id)| id).collect();
        let proposed = plan::sample(&ids, target.len());
        proposal.splits = proposed.splits;
        proposal.hot = proposed.hot.into_iter().map(HotRange::from).collect();
    }
    Ok(proposal)
}

/// Moves pieces, while the service serves: some of each shard that has them at a time, so that writes wait only for the copy and
/// the comparison of few. Pieces that the shard has already are left where they are.
///
/// # Errors
/// When there is no such shard or piece, or a move can't be carried through: the sentence says what to do; it is resumed by
/// [`resume`].
pub async fn run_move(
    config: &Config,
    request: MoveRequest,
    progress: &mut (dyn FnMut(&MoveProgress) + Send),
) -> Result<Vec<MoveReport>, ServeError> {
    let shards = stores::open_shards(config).await?;
    let to = by_name(&shards, &request.to)?;
    let mut specs: Vec<MoveSpec> = Vec::new();
    for info in shards.map().pieces(request.space.number()).filter(|info| request.pieces.contains(&info.piece)) {
        if info.shard == to {
            continue;
        }
        match specs.iter_mut().find(|spec| spec.from == info.shard && spec.pieces.len() < AT_ONCE) {
            Some(spec) => spec.pieces.push(info.piece),
            None => {
                specs.push(MoveSpec { space: request.space.number(), pieces: vec![info.piece], from: info.shard, to })
            }
        }
    }
    let map = shards.map();
    if let Some(unknown) =
        request.pieces.iter().find(|piece| !map.pieces(request.space.number()).any(|info| info.piece == **piece))
    {
        return Err(ServeError::new(
            format!("there is no piece {unknown} of {}", request.space),
            "`meshwork shards status` names the pieces",
        ));
    }
    let handover = DrainedOutbox::open(config, &shards).await?;
    let mut reports = Vec::new();
    for spec in specs {
        reports.push(carry_through(&shards, &handover, spec, progress).await?);
    }
    Ok(reports)
}

/// Goes on with the moves that were begun and not carried through.
///
/// # Errors
/// As [`run_move`].
pub async fn resume(
    config: &Config,
    progress: &mut (dyn FnMut(&MoveProgress) + Send),
) -> Result<Vec<MoveReport>, ServeError> {
    let shards = stores::open_shards(config).await?;
    let handover = DrainedOutbox::open(config, &shards).await?;
    let mover = Mover::new(&shards, MOVED, &handover);
    let mut reports = Vec::new();
    for PendingMove { from, .. } in mover.pending().await {
        reports.push(mover.resume(from, progress).await.map_err(|error| failed_move(&error))?);
    }
    Ok(reports)
}

/// Gives up the move from a shard, by its name, that isn't at its end: the shard keeps the pieces.
///
/// # Errors
/// When there is no such move, or it has given the pieces already and can only be resumed.
pub async fn abandon(config: &Config, from: &str) -> Result<(), ServeError> {
    let shards = stores::open_shards(config).await?;
    let from = by_name(&shards, from)?;
    let handover = DrainedOutbox::open(config, &shards).await?;
    let abandoned = Mover::new(&shards, MOVED, &handover).abandon(from).await;
    abandoned.map_err(|error| failed_move(&error))
}

/// Splits the range of accounts that holds the id `at` there: both halves stay where they are.
///
/// # Errors
/// When accounts are not cut by ranges, there is a split already, or the range's owner can't be reached.
pub async fn split(config: &Config, at: &str) -> Result<(), ServeError> {
    let shards = stores::open_shards(config).await?;
    moving::split(&shards, USERS, at).await.map_err(|error| failed_move(&error))
}

/// The number of the piece that holds an id, or an address in lower case.
///
/// # Errors
/// When the databases can't be reached.
pub async fn piece_of(config: &Config, space: Space, key: &str) -> Result<i32, ServeError> {
    let shards = stores::open_shards(config).await?;
    let located = shards.map().locate(space.number(), key).ok_or_else(|| {
        ServeError::new(
            format!("the shard map knows nothing of {space}"),
            "run `meshwork migrate`, or start the service once",
        )
    })?;
    Ok(located.place.piece)
}

async fn carry_through(
    shards: &Shards<PostgresStore>,
    handover: &DrainedOutbox,
    spec: MoveSpec,
    progress: &mut (dyn FnMut(&MoveProgress) + Send),
) -> Result<MoveReport, ServeError> {
    Mover::new(shards, MOVED, handover).run(spec, progress).await.map_err(|error| failed_move(&error))
}

/// The number of the shard with this name.
fn by_name(shards: &Shards<PostgresStore>, name: &str) -> Result<ShardId, ServeError> {
    let named = shards.shards().iter().find(|shard| shard.name == name);
    named.map(|shard| shard.id).ok_or_else(|| {
        let names: Vec<_> = shards.shards().iter().map(|shard| shard.name.as_str()).collect();
        ServeError::new(
            format!("there is no shard {name:?}"),
            format!("name one of {}, or add it to `users.shards.databases`", names.join(", ")),
        )
    })
}

fn name_of(shards: &Shards<PostgresStore>, id: ShardId) -> String {
    shards.shard(id).map_or_else(|| format!("shard {id}"), |shard| shard.name.clone())
}

fn failed_move(error: &MoveError) -> ServeError {
    let hint = match error {
        MoveError::Refused(_) | MoveError::Running(_) => {
            "nothing was changed; `meshwork shards status` shows how the shards are"
        }
        _ => "what was begun is kept: `meshwork shards move --resume` goes on with it",
    };
    ServeError::new(error, hint)
}
