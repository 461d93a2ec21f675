//! The settings: defaults < file < environment < flags.

mod flag;
mod layers;
mod print;
mod refusal;
mod servers;
mod settings;

pub use layers::{Flags, is_set, load};
pub use print::print;
pub use servers::left_accounts;
pub use settings::{LogFormat, ON_THE_BUS, Settings};
