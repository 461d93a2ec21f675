//! Tokens of other issuers, exchanged for ours.

mod accounts;
mod keys;
mod provider;
mod refusals;

use meshwork_api::meshwork::users::v1::{ExchangeTokenRequest, ExchangedToken};
use meshwork_users::{Config, IssuerConfig};
use tempfile::TempDir;
use tonic::{Response, Status};

use crate::world::{World, config_in};

/// A service that trusts these issuers.
async fn world(issuers: Vec<IssuerConfig>) -> World {
    world_in(tempfile::tempdir().unwrap(), issuers).await
}

/// A service on what is in `folder` that trusts these issuers.
async fn world_in(folder: TempDir, issuers: Vec<IssuerConfig>) -> World {
    let config = Config { issuers, ..config_in(folder.path()) };
    World::start_as(folder, config).await
}

async fn exchange(world: &World, token: &str) -> Result<ExchangedToken, Status> {
    let request = ExchangeTokenRequest { subject_token: token.to_owned() };
    world.auth.clone().exchange_token(request).await.map(Response::into_inner)
}
