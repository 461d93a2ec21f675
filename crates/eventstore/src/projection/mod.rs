//! Projections: what is made of a store's events and can be made again.
//!
//! A projection has *versions*, each with its own rows, checkpoints and parked streams. One of them is live: it is what
//! queries read, and what the [`Projector`] follows the store with. A *rebuild* makes another version beside it from the
//! first commit, holds the two against each other row by row, and makes the new one live in one transaction (ES-6). The
//! version that was live before is kept until another is, so that one can go back to it.
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | versions, progress, reports, errors |
//! | [`store`] | the port: what keeps the versions |
//! | [`projector`] | following the store |
//! | [`rebuild`] | rebuild, rollback, retry |
//! | [`compare`] | two versions row by row |

mod compare;
mod model;
mod projector;
mod rebuild;
mod store;

pub use model::{
    Difference, ParkedStream, PartitionStatus, Phase, ProjectionError, ProjectionProgress, ProjectionReport,
    ProjectionStatus, VersionState, VersionStatus,
};
pub use projector::{Projector, ProjectorHook};
pub use rebuild::Projections;
pub use store::{Applied, ApplyMode, Page, ProjectionStore, Retried, RowPair, Side, Taken};
