//! The local tier: the memory of this process.

mod cells;
mod entry;
mod registrations;
#[cfg(test)]
mod registrations_tests;
mod sync;
mod tier;

pub(crate) use cells::{Cells, Stamp, Tags, kind_tag};
pub(crate) use entry::{Entry, Linked, Times};
pub(crate) use registrations::{Joined, Ticket};
pub(crate) use tier::LocalTier;
