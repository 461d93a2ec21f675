//! The chassis: what every service of the back end needs to be a service.
//!
//! | module | what it is for |
//! |---|---|
//! | [`server`] | a gRPC port with health, reflection, authorisation and a bounded stop |
//! | [`start`] | waiting until stores are there and at this release |
//! | [`bus`] | the event bus that the settings name |
//! | [`checks`] | what a service depends on, and how far behind it is, for its health |
//! | [`auth`] | who calls: verified tokens in, tokens of the service role out |
//! | [`client`] | channels to other services, and the policy of calls between services |
//! | [`metrics`] | what is measured of the calls that a service answers and makes |
//! | [`errors`] | the errors that services share; a service's table has them beside its own |
//! | [`request`] | what identifies a request that may come again |
//! | [`money`] | amounts, as requests carry them and services count them |
//! | [`events`] | events for services that miss some, and those that could not be handled |
//! | [`retention`] | removing what has done its work |
//! | [`cache`] | what is remembered of the database, in the process and in Redis |
//! | [`consistency`] | reading one's own writes |
//! | [`config`], [`clock`] | settings and time |
//!
//! Pages, masks, filters, etags and the checks of fields are those of `meshwork_aip`.

#[cfg(feature = "ablation")]
pub mod ablation;
pub mod auth;
pub mod bus;
pub mod cache;
pub mod checks;
pub mod client;
pub mod clock;
pub mod config;
pub mod consistency;
pub mod errors;
pub mod events;
pub mod metrics;
pub mod money;
pub mod request;
pub mod retention;
pub mod server;
pub mod start;

/// The most bytes of a request's message, unpacked, that a method of the shop takes: an order of 100 lines has some 10 KiB. Fields that
/// are empty cost a caller two bytes, next to none where they are packed, and a service a hundred times as much.
pub const MAX_REQUEST: usize = 256 << 10;

/// A tonic server that takes requests in gzip and zstd, of at most [`MAX_REQUEST`] bytes, and answers in them where the caller takes
/// them.
#[macro_export]
macro_rules! compressed {
    ($server:expr) => {{
        use $crate::tonic::codec::CompressionEncoding::{Gzip, Zstd};
        $server
            .max_decoding_message_size($crate::MAX_REQUEST)
            .accept_compressed(Gzip)
            .accept_compressed(Zstd)
            .send_compressed(Gzip)
            .send_compressed(Zstd)
    }};
}

#[doc(hidden)]
pub use tonic;

pub use auth::{Principal, Role};
pub use client::ClientConfig;
pub use clock::{Clock, SystemClock};
pub use meshwork::server::Background;
pub use meshwork::server::health::Health;
pub use metrics::ServiceMetrics;
pub use server::{ServeError, ServerConfig};
pub use tokio_util::sync::CancellationToken;
