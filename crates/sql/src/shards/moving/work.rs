//! A move that is being worked at.

use std::time::Duration;

use super::cursor::Keys;
use super::error::MoveError;
use super::journal::Journal;
use super::progress::{MoveProgress, Step};
use super::session::Sessions;
use super::spec::MoveOptions;
use super::tables::Table;
use super::unsettled::Unsettled;

/// What each step works with.
pub(super) struct Work<'a> {
    pub sessions: Sessions,
    pub journal: Journal,
    /// Of the move's space, parents first.
    pub tables: Vec<Table>,
    pub options: MoveOptions,
    /// Those of the table that is copied, if its rows are found by other rows.
    pub keys: Option<Keys>,
    /// What of the histories is left to be compared.
    pub unsettled: Unsettled,
    /// How long the fence stood under which the pieces were given.
    pub fenced: Option<Duration>,
    pub listener: &'a mut (dyn FnMut(&MoveProgress) + Send),
}

impl<'a> Work<'a> {
    /// A move that nobody has worked at in this process.
    pub fn new(
        sessions: Sessions,
        journal: Journal,
        tables: Vec<Table>,
        options: MoveOptions,
        listener: &'a mut (dyn FnMut(&MoveProgress) + Send),
    ) -> Self {
        Self { sessions, journal, tables, options, keys: None, unsettled: Unsettled::default(), fenced: None, listener }
    }

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
