//! Pieces move between databases that serve meanwhile: nothing is lost or doubled, wherever the mover is killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod agreement;
mod ends;
mod histories;
mod kills;
mod load;
mod ranges;
mod tables;
mod worlds;
