mod dns;
mod refresher;
mod target;

use super::{Resolution, Resolver};

/// The addresses that were found, in order.
fn addresses(resolution: &Resolution) -> Vec<String> {
    resolution.endpoints.iter().map(ToString::to_string).collect()
}

async fn resolve(resolver: &dyn Resolver) -> Result<(Vec<String>, Option<u64>), String> {
    let resolution = resolver.resolve().await.map_err(|error| error.to_string())?;
    Ok((addresses(&resolution), resolution.ttl.map(|ttl| ttl.as_secs())))
}
