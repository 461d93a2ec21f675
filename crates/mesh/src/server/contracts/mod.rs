//! Contracts of a server that change while it runs: whom methods admit, what they stream, and what reflection shows of them.
//!
//! A set is checked when it is given, and offered by a server beside what it was built with. For each server that offers it the
//! plans and the reflection services are made anew; a call takes the plans of the moment once, when it begins.

mod bounds;
mod builder;
mod checked;
mod error;
mod file;
mod handle;
mod offer;
mod set;
mod symbols;

pub use self::error::InvalidContracts;
pub use self::handle::Contracts;
pub(super) use self::offer::Offer;
pub use self::set::ContractSet;
