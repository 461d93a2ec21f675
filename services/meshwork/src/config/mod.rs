//! The settings: defaults < file < environment < flags.

mod flag;
mod layers;
mod origin;
mod print;
mod refusal;
mod servers;
mod settings;

pub use layers::{Flags, load};
pub use origin::is_set;
pub use print::print;
pub use servers::left_accounts;
pub use settings::{LogFormat, ON_THE_BUS, Settings};
