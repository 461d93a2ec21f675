//! On private servers that wait for the disk: JetStream, as its server comes, and PostgreSQL; with a MongoDB-compatible
//! server for the orders' events, or without.

use meshwork_testkit::up::UNLIMITED;
use meshwork_testkit::{Mongo, Nats, Postgres, Up};

use crate::Values;
use crate::load::Load;

/// What the goal is for: orders a second, and for how many seconds.
const RATE: u32 = 200;
const SECONDS: u32 = 20;
/// Where the orders' events are unless a setting says otherwise.
const DATABASE: &str = "meshwork_orders";

pub(crate) async fn measure(with_mongo: bool, values: &mut Values) {
    let start = move || {
        let mongo = with_mongo.then(Mongo::durable);
        (Nats::start(), Postgres::durable(), mongo)
    };
    let (nats, postgres, mongo) = tokio::task::spawn_blocking(start).await.unwrap();
    let (bus, stores) = (nats.url(), postgres.database());
    let mut args = vec!["--nats", bus.as_str(), "--postgres", stores.as_str()];
    if let Some(mongo) = &mongo {
        args.extend(["--mongo", mongo.uri()]);
    }
    let folder = tempfile::tempdir().unwrap();
    let up = Up::try_start_with(folder.path(), &args, UNLIMITED).unwrap_or_else(|problem| panic!("{problem}"));
    if let Some(mongo) = &mongo {
        mongo.index(DATABASE);
        values.add("mongodb_server", mongo.kind());
    }
    let prefix = if with_mongo { "mongodb" } else { "postgres" };
    Load::offer(&up, RATE, SECONDS).await.add_to(values, prefix);
}
