mod dns;
mod refresher;
mod target;

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use super::{Resolution, Resolver};

/// The addresses that were found, in order.
fn addresses(resolution: &Resolution) -> Vec<String> {
    resolution.endpoints.iter().map(ToString::to_string).collect()
}

async fn resolve(resolver: &dyn Resolver) -> Result<(Vec<String>, Option<u64>), String> {
    let resolution = unhurried(resolver.resolve()).await.map_err(|error| error.to_string())?;
    Ok((addresses(&resolution), resolution.ttl.map(|ttl| ttl.as_secs())))
}

/// Runs `work` on a clock that waits for the kernel: a paused one is at the next timer as soon as no task can run, though a
/// datagram is on its way.
async fn unhurried<T>(work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = slow_clock() => match never {},
    }
}

/// Lets 5 ms of paused time pass in 1 ms at least.
async fn slow_clock() -> Infallible {
    loop {
        // While something blocks, paused time stands still.
        let real = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1)));
        real.await.expect("no panic");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
