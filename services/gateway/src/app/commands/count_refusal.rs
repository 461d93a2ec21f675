//! A call that authorisation has refused.

use std::net::IpAddr;

use super::TooMany;
use crate::app::App;

impl App {
    /// Counts a refused call for the address that it comes from, where calls without an account are counted: trying
    /// tokens costs as much as calling without one.
    ///
    /// # Errors
    /// When the address has made too many calls.
    pub fn count_refusal(&self, address: IpAddr) -> Result<(), TooMany> {
        self.admit_call(None, address)
    }
}
