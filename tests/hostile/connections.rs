//! Connections without calls.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::wire::connect;
use super::world::Scene;

/// Connections that are dropped as soon as they are there, 100 a second: at once, after the preface, in its middle, after
/// something that isn't HTTP/2, and after a call's beginning.
pub(crate) async fn churn(scene: Scene) {
    let from: Vec<Ipv4Addr> = (0..4).map(|_| scene.world.address()).collect();
    let mut opened = JoinSet::new();
    let mut turn = 0_usize;
    while scene.lasts() {
        let (scene, from) = (scene.clone(), from[turn % from.len()]);
        let said: &[u8] = match turn % 6 {
            0 => b"",
            1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            2 => b"PRI * HTTP",
            3 => b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n",
            4 => b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x20\x01\x04\0\0\0\x01",
        };
        opened.spawn(async move {
            match connect(from, scene.world.gateway).await {
                Ok(mut stream) => {
                    stream.write_all(said).await.ok();
                    scene.tally.note("opened");
                }
                Err(_) => scene.tally.note("no connection"),
            }
        });
        while opened.try_join_next().is_some() {}
        turn += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// 200 connections that never speak, from one address.
pub(crate) async fn silent(scene: Scene) {
    let from = scene.world.address();
    idle(&scene, &[from], 200, b"").await;
}

/// Opens `count` connections, says `said` on each, and holds them to the end.
pub(crate) async fn idle(scene: &Scene, from: &[Ipv4Addr], count: usize, said: &'static [u8]) {
    let mut held = JoinSet::new();
    for at in 0..count {
        let (scene, from) = (scene.clone(), from[at % from.len()]);
        held.spawn(async move {
            let Ok(mut stream) = connect(from, scene.world.gateway).await else {
                scene.tally.note("no connection");
                return;
            };
            stream.write_all(said).await.ok();
            let mut answer = [0; 1024];
            let closed = async { while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {} };
            match scene.within(closed).await {
                Some(()) => scene.tally.note("closed"),
                None => scene.tally.note("held to the end"),
            }
        });
        if at % 50 == 49 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    while held.join_next().await.is_some() {}
}
