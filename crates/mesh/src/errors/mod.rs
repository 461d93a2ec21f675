//! Errors as gRPC has them: kinds in a table, and statuses with their standard details (AIP-193).
//!
//! A server says in a table which errors it gives, each an [`ErrorKind`]; [`ErrorKind::status`] makes the status of a
//! call. What a server of the mesh answers with by itself is in [`port::TABLE`].
//!
//! ```
//! use meshwork::errors::{ErrorKind, echo, faults};
//! use tonic::Code;
//!
//! const ORDER_NOT_FOUND: ErrorKind = ErrorKind::new("ORDER_NOT_FOUND", Code::NotFound, "There is no such order.");
//!
//! let name = echo("orders/7").to_string();
//! let status = ORDER_NOT_FOUND.status("orders.example.com", format_args!("there is no {name}"), &[("order", &name)]);
//! assert_eq!((status.code(), status.message()), (Code::NotFound, "there is no orders/7"));
//! assert!(faults(&[&ORDER_NOT_FOUND]).is_empty());
//! ```
//!
//! A status made here is smaller than the 8 KiB of header fields that gRPC asks peers to take, whatever goes into it.
//! Texts of callers are shown by [`echo()`], those of any other length by [`bounded()`].

mod bounded;
mod details;
mod echo;
mod kind;
pub mod port;
#[cfg(test)]
mod tests;

pub use self::bounded::bounded;
pub use self::details::MAX_MESSAGE;
pub(crate) use self::details::{error_info, status};
pub use self::echo::{Echo, MAX_ECHO, echo};
pub use self::kind::{ErrorKind, faults};
