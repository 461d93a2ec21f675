//! Streams that are held open.

use std::time::Duration;

use meshwork_api::meshwork::orders::v1::WatchOrderRequest;
use tokio::task::JoinSet;

use super::tally::name;
use super::wire::{Started, framed, head_of, next, send_all};
use super::world::{Scene, method};

/// How many watches each account asks for.
const WATCHES: usize = 120;

/// Forty accounts, each with as many watches as it is let: it asks for thousands of them in all.
pub(crate) async fn watches(scene: Scene) {
    let mut holders = JoinSet::new();
    for account in scene.world.accounts().to_vec() {
        let (scene, from) = (scene.clone(), scene.world.address());
        holders.spawn(async move {
            while scene.lasts() {
                let Some(wire) = scene.wire(from).await else { continue };
                let mut streams = JoinSet::new();
                for _ in 0..WATCHES {
                    let (scene, wire, account) = (scene.clone(), wire.clone(), account.clone());
                    streams.spawn(async move {
                        let request = WatchOrderRequest { name: account.order, ..WatchOrderRequest::default() };
                        let head = head_of(method::WATCH_ORDER, Some(&account.token), None);
                        let held = async {
                            let mut started = wire.start(head, false).await?;
                            send_all(&mut started.body, framed(&request), true).await?;
                            follow(&scene, started).await
                        };
                        hold(&scene, held).await;
                    });
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                while streams.join_next().await.is_some() {}
                scene.within(tokio::time::sleep(Duration::from_millis(500))).await;
            }
        });
    }
    while holders.join_next().await.is_some() {}
}

/// Reflection streams without a message, from one address without an account.
pub(crate) async fn reflection(scene: Scene) {
    let from = scene.world.address();
    while scene.lasts() {
        let Some(wire) = scene.wire(from).await else { continue };
        let mut streams = JoinSet::new();
        for _ in 0..200 {
            let (scene, wire) = (scene.clone(), wire.clone());
            streams.spawn(async move {
                let held = async {
                    let started = wire.start(head_of(method::REFLECTION, None, None), false).await?;
                    follow(&scene, started).await
                };
                hold(&scene, held).await;
            });
        }
        while streams.join_next().await.is_some() {}
        scene.within(tokio::time::sleep(Duration::from_millis(300))).await;
    }
}

/// Reads a stream for as long as the attack lasts.
pub(crate) async fn follow(scene: &Scene, started: Started) -> Result<(), h2::Error> {
    // The sending half stays: letting it go would end the stream.
    let Started { answer, body: _body } = started;
    let response = answer.await?;
    if let Some(status) = response.headers().get("grpc-status") {
        scene.tally.note(name(tonic::Code::from_bytes(status.as_bytes())));
        return Ok(());
    }
    scene.tally.note("OK");
    let mut stream = response.into_body();
    while let Some(data) = next(&mut stream).await {
        data?;
    }
    if let Some(status) = stream.trailers().await?.as_ref().and_then(|trailers| trailers.get("grpc-status")) {
        scene.tally.note(&format!("later {}", name(tonic::Code::from_bytes(status.as_bytes()))));
    }
    Ok(())
}

/// Holds a stream until the attack is over or the shop ends it.
pub(crate) async fn hold(scene: &Scene, stream: impl Future<Output = Result<(), h2::Error>>) {
    match scene.within(stream).await {
        None => scene.tally.note("held to the end"),
        Some(Err(error)) if error.is_go_away() => scene.tally.note("goaway"),
        Some(Err(_)) => scene.tally.note("reset"),
        Some(Ok(())) => {}
    }
}
