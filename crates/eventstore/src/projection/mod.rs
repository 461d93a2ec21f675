//! Projections: what is made of a store's events and can be made again.
//!
//! A projection has *versions*, each with its own rows, checkpoints and parked streams. One of them is live: it is what
//! queries read, and what the [`Projector`] follows the store with. A *rebuild* makes another version beside it from the
//! first commit, holds the two against each other row by row, and makes the new one live in one transaction (ES-6). The
//! version that was live before is kept until another is, so that one can go back to it.
//!
//! A checkpoint names the commit that was applied last. A store that doesn't hold it where it was, as one that was put back to
//! an older copy, is not followed: the version *has diverged* from it, and stands still until the right store is there again, or
//! a rebuild that accepts differences has made another version of the store there is.
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | versions, progress, reports, errors |
//! | [`store`] | the port: what keeps the versions |
//! | [`overlap`] | reading on behind a checkpoint, and seeing whether the store still holds what was applied |
//! | [`projector`] | following the store |
//! | [`rebuild`] | rebuild, rollback, retry |
//! | [`compare`] | two versions row by row |

mod compare;
mod model;
mod overlap;
mod projector;
mod rebuild;
mod store;

pub use model::{
    Difference, ParkedStream, PartitionStatus, Phase, ProjectionError, ProjectionProgress, ProjectionReport,
    ProjectionStatus, VersionState, VersionStatus,
};
pub use projector::{Projector, ProjectorHook};
pub use rebuild::Projections;
pub use store::{Applied, ApplyMode, Checkpoint, Page, ProjectionStore, Retried, RowPair, Side, Taken};
