//! A call that authorisation has let through.

use std::net::IpAddr;

use meshwork_api::UserName;

use super::TooMany;
use crate::app::App;
use crate::domain::Client;

impl App {
    /// Counts a call for the account that makes it or, without one, for the address that it comes from.
    ///
    /// # Errors
    /// When the client has made too many calls.
    pub fn admit_call(&self, account: Option<UserName>, address: IpAddr) -> Result<(), TooMany> {
        let client = Client::of(account, address);
        self.limits.take(&client).map_err(|wait| TooMany { client, wait })
    }
}
