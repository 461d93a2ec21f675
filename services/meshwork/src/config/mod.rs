//! The settings: defaults < file < environment < flags.

mod layers;
mod print;
mod refusal;
mod settings;

pub use layers::{Flags, is_set, load};
pub use print::print;
pub use settings::{LogFormat, ON_THE_BUS, Settings};
