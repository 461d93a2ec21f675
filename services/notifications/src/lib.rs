//! The notifications service: turns events of orders and users into e-mails, and tells what was sent.
//!
//! ```text
//! bus ─▶ inbox + notification PENDING, in one transaction ─▶ SENDING ─▶ mail system ─▶ SENT
//!                                       ▲                     │    │
//!                                       ├── 1 s … 5 min later ┘    └─▶ FAILED, when it can never be sent or wasn't in time
//!                                       └── a lease that is over: its instance has crashed
//! ```
//!
//! There is at most one notification per event, template and recipient, and several instances may send them. A crash may send
//! a letter again, under the same Message-ID.
//!
//! | room | holds |
//! |---|---|
//! | [`domain`] | notifications and their states, occasions and the letters that go with them |
//! | [`app`] | the use cases: note an event, send what is due, send again, delete what is old, list, get |
//! | [`ports`] | what they need: a store, recipients, a mail system, a clock |
//! | [`adapters`] | gRPC, SQLite and PostgreSQL, SMTP, `.eml` files, the consumer of events |

pub mod adapters;
pub mod app;
mod config;
pub mod domain;
pub mod ports;
mod serve;
#[cfg(feature = "testing")]
pub mod testing;

pub use adapters::stores::places;
pub use config::{Config, SmtpConfig};
pub use serve::{migrate, serve};
