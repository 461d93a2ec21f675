//! What the tests of several packages stand on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod certificate;
mod fault_proxy;
mod gateway;
pub mod h2spec;
pub mod issuer;
pub mod mongo;
pub mod nats;
pub mod postgres;
mod process;
pub mod redis;
pub mod smtp;
mod status;
pub mod up;

pub use certificate::{Certificate, certify};
pub use fault_proxy::FaultProxy;
pub use gateway::Gateway;
pub use issuer::Issuer;
pub use mongo::Mongo;
pub use nats::Nats;
pub use postgres::Postgres;
pub use process::freeze;
pub use redis::{Redis, RedisCluster};
pub use smtp::Smtp;
pub use status::assert_small;
pub use up::Up;
