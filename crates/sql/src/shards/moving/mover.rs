//! Who moves pieces.

use tokio::time::Instant;

use super::error::MoveError;
use super::journal::{Journal, Phase, unfinished};
use super::owned::{all_owned, lock_shared};
use super::pieces::Parts;
use super::prepare::withdraw;
use super::progress::{MoveProgress, MoveReport, PendingMove};
use super::run::{remove_triggers, run, take_down};
use super::session::{STATEMENT, Session, Sessions, transaction};
use super::spec::{Handover, MoveOptions, MoveSpec, MovedTable};
use super::status::pending_at;
use super::tables;
use super::work::Work;
use crate::Error;
use crate::shards::{Shard, ShardId, Shards, StoredMap, store};

/// Moves pieces between the databases of a service.
///
/// One move at a time leaves a shard; others may go on elsewhere. A move whose future is dropped, whose process is killed or that
/// has failed is resumed by [`Mover::run`] with the same spec, or by [`Mover::resume`].
pub struct Mover<'a, T> {
    shards: &'a Shards<T>,
    tables: &'static [MovedTable],
    handover: &'a dyn Handover,
    options: MoveOptions,
}

/// Who listens to the progress of a move.
type Listener<'a> = &'a mut (dyn FnMut(&MoveProgress) + Send);

impl<'a, T: Send + Sync + 'static> Mover<'a, T> {
    /// A mover of these tables, parents first.
    pub fn new(shards: &'a Shards<T>, tables: &'static [MovedTable], handover: &'a dyn Handover) -> Self {
        Self { shards, tables, handover, options: MoveOptions::default() }
    }

    /// With other options.
    #[must_use]
    pub fn options(mut self, options: MoveOptions) -> Self {
        self.options = options;
        self
    }

    /// Moves pieces; resumes a move of the same pieces that isn't at its end.
    ///
    /// # Errors
    /// [`MoveError::Refused`] when it can't be made so, [`MoveError::Pending`] while another move from there isn't at its end,
    /// [`MoveError::Running`] while another process is at it. With the others, it can be resumed.
    pub async fn run(
        &self,
        spec: MoveSpec,
        progress: &mut (dyn FnMut(&MoveProgress) + Send),
    ) -> Result<MoveReport, MoveError> {
        let began = Instant::now();
        if spec.from == spec.to {
            return Err(MoveError::Refused(format!("shard {} is both its beginning and its end", spec.from)));
        }
        let to = self.shard(spec.to)?;
        // The new owner may be younger than the map of the old one.
        if let Err(error) = self.shards.refresh().await {
            tracing::warn!(%error, "the shard maps could not be read again before a move");
        }
        let (mut source, stored) = self.source(spec.from).await?;
        let known = unfinished(&mut source.connection).await.map_err(MoveError::at(&source.name))?;
        let (journal, sessions) = match known {
            Some(journal) => {
                let mut wanted = spec.pieces.clone();
                wanted.sort_unstable();
                let is_it = journal.parts.space == spec.space && journal.to == spec.to;
                if !is_it || journal.parts.pieces() != wanted {
                    return Err(MoveError::Pending(format!(
                        "the move {} of pieces {} from shard {:?} to {:?} is not at its end",
                        journal.id,
                        journal.parts.shown(),
                        source.name,
                        journal.to_name
                    )));
                }
                (journal, self.destination(source, spec.to).await?)
            }
            None => {
                let parts = Parts::of(&stored.map, spec.space, &spec.pieces, spec.from).map_err(MoveError::Refused)?;
                let mut sessions = self.destination(source, spec.to).await?;
                // Before anything is written: the tables are there, and alike.
                tables::of(&mut sessions, self.tables, &parts).await?;
                let journal = Journal::new(parts, to.id, &to.name);
                begin(&mut sessions.source, &journal).await?;
                (journal, sessions)
            }
        };
        fail::fail_point!("moving::journaled", |_| Err(MoveError::Stopped));
        self.go(sessions, journal, began, progress).await
    }

    /// Resumes the move from a shard.
    ///
    /// # Errors
    /// As [`Mover::run`]; [`MoveError::Refused`] when there is none.
    pub async fn resume(
        &self,
        from: ShardId,
        progress: &mut (dyn FnMut(&MoveProgress) + Send),
    ) -> Result<MoveReport, MoveError> {
        let began = Instant::now();
        let (sessions, journal) = self.known(from).await?;
        self.go(sessions, journal, began, progress).await
    }

    /// Gives a move up whose pieces haven't been given yet: what was copied is deleted, and the old owner keeps them.
    ///
    /// # Errors
    /// As [`Mover::resume`]; [`MoveError::Refused`] when the pieces were given, so that it can only be resumed.
    pub async fn abandon(&self, from: ShardId) -> Result<(), MoveError> {
        let (mut sessions, journal) = self.known(from).await?;
        if journal.phase == Phase::Given {
            return Err(MoveError::Refused(format!(
                "shard {:?} has given the pieces to {:?} already; resume the move",
                sessions.source.name, journal.to_name
            )));
        }
        let tables = tables::of(&mut sessions, self.tables, &journal.parts).await?;
        let mut ignore = |_: &MoveProgress| {};
        let mut work = Work::new(sessions, journal, tables, self.options, &mut ignore);
        take_down(&mut work).await;
        remove_triggers(&mut work).await?;
        withdraw(&mut work).await?;
        work.journal.phase = Phase::Abandoned;
        work.save().await
    }

    /// The moves that aren't at their end. A shard that is out of reach is passed over, with a line in the log.
    pub async fn pending(&self) -> Vec<PendingMove> {
        let mut pending = Vec::new();
        for shard in self.shards.shards() {
            match pending_at(shard).await {
                Ok(found) => pending.extend(found),
                Err(error) => {
                    tracing::warn!(shard = shard.name, %error, "whether a move is pending can't be read");
                }
            }
        }
        pending
    }

    fn shard(&self, id: ShardId) -> Result<&'a Shard<T>, MoveError> {
        let shard = self.shards.shard(id).ok_or_else(|| {
            MoveError::Refused(format!("shard {id} isn't configured; add it to the configuration, and migrate it"))
        })?;
        shard.check().map_err(MoveError::at(&shard.name))?;
        Ok(&**shard)
    }

    /// The old owner, under the lock of its mover.
    async fn source(&self, from: ShardId) -> Result<(Session, StoredMap), MoveError> {
        let mut source = Session::open(self.shard(from)?).await?;
        source.lock_as_source().await?;
        let stored = identify(&mut source).await?;
        Ok((source, stored))
    }

    /// Both, under the locks of the mover between them.
    async fn destination(&self, source: Session, to: ShardId) -> Result<Sessions, MoveError> {
        let mut destination = Session::open(self.shard(to)?).await?;
        destination.lock_as_destination(source.shard).await?;
        identify(&mut destination).await?;
        Ok(Sessions { source, destination })
    }

    /// A move that isn't at its end.
    async fn known(&self, from: ShardId) -> Result<(Sessions, Journal), MoveError> {
        let (mut source, _) = self.source(from).await?;
        let known = unfinished(&mut source.connection).await.map_err(MoveError::at(&source.name))?;
        let Some(journal) = known else {
            return Err(MoveError::Refused(format!("no move from shard {:?} waits for its end", source.name)));
        };
        Ok((self.destination(source, journal.to).await?, journal))
    }

    async fn go(
        &self,
        mut sessions: Sessions,
        journal: Journal,
        began: Instant,
        listener: Listener<'_>,
    ) -> Result<MoveReport, MoveError> {
        let tables = tables::of(&mut sessions, self.tables, &journal.parts).await?;
        let mut work = Work::new(sessions, journal, tables, self.options, listener);
        run(self.shards, &mut work, self.handover).await?;
        let Work { sessions, journal, fenced, .. } = work;
        Ok(MoveReport {
            id: journal.id,
            space: journal.parts.space,
            pieces: journal.parts.pieces(),
            from: sessions.source.shard,
            to: journal.to,
            copied: journal.copied,
            followed: journal.followed,
            deleted: journal.deleted,
            fences: journal.fences,
            fenced,
            took: began.elapsed(),
        })
    }
}

/// What the database says of itself. It must be the shard that it is taken for.
async fn identify(session: &mut Session) -> Result<StoredMap, MoveError> {
    let stored = store::read(&mut session.connection).await.map_err(MoveError::at(&session.name))?;
    let Some(stored) = stored else {
        return Err(MoveError::Refused(format!("shard {:?} has no shard map yet; try again later", session.name)));
    };
    if stored.shard != session.shard {
        return Err(MoveError::Refused(format!(
            "the database that is configured as shard {:?} says that it is {:?}; put its URL where it belongs",
            session.name, stored.name
        )));
    }
    Ok(stored)
}

/// Writes a new move into the journal.
async fn begin(source: &mut Session, journal: &Journal) -> Result<(), MoveError> {
    let written = async {
        let mut transaction = transaction(&mut source.connection, STATEMENT).await?;
        // A piece that is being split waits, or is split before.
        lock_shared(&mut transaction, &journal.parts).await?;
        let is_owned = all_owned(&mut transaction, &journal.parts).await?;
        if is_owned {
            journal.insert(&mut transaction).await?;
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok::<_, Error>(is_owned)
    };
    if written.await.map_err(MoveError::at(&source.name))? {
        return Ok(());
    }
    Err(MoveError::Refused(format!(
        "shard {:?} doesn't own all of the pieces {} as its map says; look at the state of the shards",
        source.name,
        journal.parts.shown()
    )))
}
