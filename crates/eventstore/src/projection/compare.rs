//! Two versions of a projection, row by row, while both may change.
//!
//! A row can be compared when both versions have applied the last commit that changed it in either; the others are looked
//! at again a moment later.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::rebuild::Build;
use super::store::Page;
use super::{Difference, ProjectionError};
use crate::partition_of;

/// How many rows are read at once.
const PAGE: usize = 1_000;
/// How many differences are told of.
const TOLD: usize = 20;
/// How long rows that change all the time are looked at again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait before they are.
const PAUSE: Duration = Duration::from_millis(20);

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) rows: u64,
    pub(super) differing: u64,
    pub(super) differences: Vec<Difference>,
    moving: BTreeSet<String>,
}

impl Comparison {
    /// Takes the rows of a page. In partitions in which the live version has diverged from the store, its positions say nothing
    /// of the other's, and its rows don't change: they are compared as they are.
    fn take(&mut self, page: Page, partitions: u16, diverged: &BTreeSet<u16>) {
        for row in page.rows {
            if page.parked.contains(&row.key) {
                continue;
            }
            let partition = partition_of(&row.key, partitions);
            let both = page.both.get(usize::from(partition)).copied().unwrap_or_default();
            let changed = row.live.iter().chain(&row.built).map(|side| side.n).max().unwrap_or_default();
            if changed > both && !diverged.contains(&partition) {
                self.moving.insert(row.key);
                continue;
            }
            self.rows += 1;
            let (live, built) = (row.live.map(|side| side.content), row.built.map(|side| side.content));
            if live != built {
                self.differing += 1;
                if self.differences.len() < TOLD {
                    self.differences.push(Difference { key: row.key, live, built });
                }
            }
        }
    }
}

impl Build<'_> {
    /// Compares all rows of the version with those of the live one, and brings it up to date in between.
    pub(super) async fn compare(&mut self) -> Result<Comparison, ProjectionError> {
        let (store, live, built) = (self.projections.projection.clone(), self.live, self.version);
        let partitions = self.projections.store.partitions();
        let mut comparison = Comparison::default();
        let mut after = Some(String::new());
        while let Some(key) = after {
            let page = store.page(live, built, &key, PAGE, partitions).await?;
            after = page.next.clone();
            comparison.take(page, partitions, &self.diverged);
            self.compared(&comparison);
            self.catch_up_quietly().await?;
        }
        let deadline = Instant::now() + PATIENCE;
        while !comparison.moving.is_empty() {
            if Instant::now() >= deadline {
                return Err(ProjectionError::Moving(comparison.moving.len()));
            }
            tokio::time::sleep(PAUSE).await;
            self.catch_up_quietly().await?;
            let moving: Vec<_> = std::mem::take(&mut comparison.moving).into_iter().collect();
            for keys in moving.chunks(PAGE) {
                let page = store.rows(live, built, keys, partitions).await?;
                comparison.take(page, partitions, &self.diverged);
            }
            self.compared(&comparison);
        }
        Ok(comparison)
    }

    fn compared(&mut self, comparison: &Comparison) {
        self.progress.compared = comparison.rows;
        self.progress.differing = comparison.differing;
        self.told.send_replace(self.progress);
    }
}
