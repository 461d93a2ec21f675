//! Why there is no connection.

use std::fmt;
use std::io;

use crate::client::endpoint::Address;

/// Why a server can't be used: each address that was tried, with what went wrong there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectError {
    /// In the order in which the addresses are tried.
    failures: Vec<(Address, String)>,
}

impl ConnectError {
    pub(super) fn new(failures: Vec<(Address, String)>) -> Self {
        Self { failures }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failures.is_empty() {
            return f.write_str("the endpoint has no addresses");
        }
        for (index, (address, reason)) in self.failures.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{address}: {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectError {}

/// The reason in words, without the number of the system's error.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => error.to_string(),
    }
}
