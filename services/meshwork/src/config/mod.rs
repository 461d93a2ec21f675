//! The settings: defaults < file < environment < flags.

mod layers;
mod print;
mod settings;

pub use layers::{Flags, load};
pub use print::print;
pub use settings::{LogFormat, Settings};
