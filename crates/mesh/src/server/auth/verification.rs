//! The wait for credentials that somebody else has to be asked about: how long a call may wait, and how many may.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;
use tonic::Status;

use super::principal::Principal;
use crate::errors::port::KEYS_UNAVAILABLE;
use crate::server::Domain;
use crate::server::budget::{Account, Budgets, Caller, Resource};

/// How long credentials may take to be verified by default, whatever the call's deadline.
pub(in crate::server) const VERIFIED_WITHIN: Duration = Duration::from_secs(10);

/// A verification that isn't over yet.
pub(super) type Verification = BoxFuture<'static, Result<Option<Principal>, Status>>;

/// What comes of `verification` in the time `within`. The call waits for somebody else, and so may as many as its caller sends:
/// its `bytes` count meanwhile for the requests of `address` that are on their way.
pub(in crate::server) async fn verified(
    verification: Verification,
    within: Duration,
    bytes: usize,
    address: Option<&Account>,
    budgets: &Budgets,
    domain: Domain,
) -> Result<Option<Principal>, Status> {
    let hold = budgets.take(Resource::ArrivingBytes, bytes, Caller { address, principal: None });
    let _hold = hold.map_err(|exceeded| exceeded.status(domain))?;
    match timeout(within, verification).await {
        Ok(principal) => principal,
        Err(_) => {
            let message = format!("the credentials could not be verified within {within:?}; try again");
            Err(KEYS_UNAVAILABLE.status(domain, message, &[]))
        }
    }
}
