//! A shop sends parcels, and a courier prints each of them once, however often the bus delivers its event.
//!
//! `cargo run -p meshwork-events --example courier` runs on the embedded bus. With the URL of a NATS server and the feature
//! `jetstream` it runs on that:
//! `cargo run -p meshwork-events --example courier --features jetstream nats://127.0.0.1:4222`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_events::inbox::{self, Gate};
use meshwork_events::outbox::{self, NewEvent};
use meshwork_events::{Bus, Consumer, Envelope, HandleError, Handler, Relay, SqliteBus};
use meshwork_sql::Sqlite;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// The stream of the shop's events.
const STREAM: &str = "parcels";
/// As whom the bus knows the courier.
const COURIER: &str = "courier";
/// How many parcels are sent.
const PARCELS: i64 = 10;

/// Prints parcels; its inbox lies in its own database.
struct Courier(Sqlite);

#[async_trait]
impl Handler for Courier {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        let event = event.clone();
        let work = self.0.write_once(move |connection| {
            Box::pin(async move {
                match inbox::sqlite::gate(connection, COURIER, &event.subject, event.version).await? {
                    Gate::Apply => {
                        println!("{} at {}: {}", event.event_type, event.subject, String::from_utf8_lossy(&event.data));
                        Ok(())
                    }
                    Gate::Duplicate => Ok(()),
                    Gate::Hole { last } => Err(HandleError::Hole { last }),
                    Gate::Parked => Err(HandleError::Parked),
                }
            })
        });
        work.await
    }
}

#[cfg(feature = "jetstream")]
async fn on_nats(url: String) -> Result<Arc<dyn Bus>, Box<dyn Error>> {
    use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
    Ok(JetStreamBus::connect(JetStreamOptions { url, ..JetStreamOptions::default() }).await?)
}

#[cfg(not(feature = "jetstream"))]
async fn on_nats(_: String) -> Result<Arc<dyn Bus>, Box<dyn Error>> {
    Err("a bus on NATS needs the feature `jetstream`".into())
}

async fn open(folder: &Path) -> Result<Arc<dyn Bus>, Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(url) => on_nats(url).await,
        None => Ok(SqliteBus::open(folder).await?),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // It stays: the bus and both databases know each other, and the next run goes on from here.
    let folder = std::env::temp_dir().join("meshwork-courier");
    std::fs::create_dir_all(&folder)?;
    let bus = open(&folder).await?;
    let shop = Sqlite::open(&folder.join("shop.db"), &outbox::sqlite::COMPONENTS).await?;
    let courier = Sqlite::open(&folder.join("courier.db"), &inbox::sqlite::COMPONENTS).await?;

    let outbox = outbox::sqlite::Outbox::new(shop.clone(), "shop");
    let relay = Relay::new(Arc::new(outbox.clone()), bus.clone(), STREAM);
    let state = Arc::new(inbox::sqlite::Inbox::new(courier.clone(), COURIER));
    let consumer = Consumer::new(bus, COURIER, STREAM, Arc::new(Courier(courier)), state);
    let (stop, progress) = (CancellationToken::new(), consumer.progress());
    let running = [
        tokio::spawn({
            let stop = stop.clone();
            async move { relay.run(stop).await }
        }),
        tokio::spawn({
            let stop = stop.clone();
            async move { consumer.run(stop).await }
        }),
    ];

    // An aggregate for each run: versions begin at 1.
    let subject = format!("parcels/{}", OffsetDateTime::now_utc().unix_timestamp());
    for version in 1..=PARCELS {
        let (outbox, subject) = (outbox.clone(), subject.clone());
        let data = format!("parcel {version}").into_bytes();
        let event = NewEvent { event_type: "parcel_sent", schema_version: 1, subject, version, data };
        let work = shop.write_once::<(), meshwork_sql::Error, _>(move |connection| {
            Box::pin(async move { outbox.append(connection, OffsetDateTime::now_utc(), &[event]).await })
        });
        work.await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("the courier is {:?} behind", progress.lag());
    stop.cancel();
    for task in running {
        task.await?;
    }
    Ok(())
}
