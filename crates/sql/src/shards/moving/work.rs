//! A move that is being worked at.

use std::time::Duration;

use super::error::MoveError;
use super::journal::Journal;
use super::progress::{MoveProgress, Step};
use super::session::Sessions;
use super::spec::MoveOptions;
use super::tables::Table;

/// What each step works with.
pub(super) struct Work<'a> {
    pub sessions: Sessions,
    pub journal: Journal,
    /// Of the move's space, parents first.
    pub tables: Vec<Table>,
    pub options: MoveOptions,
    /// How long the fence stood under which the pieces were given.
    pub fenced: Option<Duration>,
    pub listener: &'a mut (dyn FnMut(&MoveProgress) + Send),
}

impl Work<'_> {
    /// Tells how far it is.
    pub fn tell(&mut self, step: Step) {
        let journal = &self.journal;
        let progress = MoveProgress {
            id: journal.id.clone(),
            step,
            copied: journal.copied,
            followed: journal.followed,
            deleted: journal.deleted,
            fences: journal.fences,
        };
        (self.listener)(&progress);
    }

    /// Writes the journal.
    pub async fn save(&mut self) -> Result<(), MoveError> {
        let source = &mut self.sessions.source;
        self.journal.save(&mut source.connection).await.map_err(MoveError::at(&source.name))
    }
}
