//! How the service stops.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use crate::refusal::{because, reason};
use crate::shop::{Shop, cancel};
use crate::watch::{begin, next};

/// Well below the time for which a port waits for calls that don't end.
const PROMPT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_stop_ends_watches_and_says_so() {
    let mut shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    let mut anna = shop.customer("anna");
    let mut watches = Vec::new();
    for _ in 0..10 {
        let mut watch = begin(&mut anna, &name, "").await;
        next(&mut watch).await.unwrap().unwrap();
        watches.push(watch);
    }
    // A watcher that reads nothing doesn't hold up the stop.
    let _idle = begin(&mut anna, &name, "").await;
    let began = Instant::now();
    shop.stop().await;
    assert!(began.elapsed() < PROMPT, "the stop took {:?}", began.elapsed());
    for mut watch in watches {
        let status = next(&mut watch).await.unwrap_err();
        assert_eq!(reason(&status), because(Code::Unavailable, "SERVER_STOPPING"));
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_a_stop_is_published_after_it() {
    let mut shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    shop.customer("anna").cancel_order(cancel(&name)).await.unwrap();
    shop.restart().await;
    let published: Vec<_> = shop.published(&name).await.into_iter().map(|event| event.event_type).collect();
    assert_eq!(published, ["order_created", "order_cancelled"]);
}
