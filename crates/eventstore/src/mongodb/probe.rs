//! What a server can do (MG-5).

use std::fmt;

use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::IndexOptions;
use mongodb::{Client, Database, IndexModel};

use super::OpenError;
use super::error::DUPLICATE_KEY;

/// What a server was found to be able to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What it says that it is.
    pub server: String,
    /// `replica set`, `sharded` or `standalone`.
    pub topology: &'static str,
    /// Whether it has sessions.
    pub sessions: bool,
    /// Whether it has transactions. The store doesn't use them.
    pub transactions: bool,
    /// Whether it has change streams. The store doesn't use them.
    pub change_streams: bool,
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |has| if has { "yes" } else { "no" };
        write!(
            f,
            "{} ({}); unique indexes: enforced, sessions: {}, transactions: {}, change streams: {}",
            self.server,
            self.topology,
            has(self.sessions),
            has(self.transactions),
            has(self.change_streams)
        )
    }
}

/// Tries the server out in a collection that is dropped again.
pub(super) async fn run(client: &Client, database: &Database) -> Result<Capabilities, OpenError> {
    client.database("admin").run_command(doc! { "ping": 1 }).await?;
    let name = format!("probe_{:016x}", fastrand::u64(..));
    let enforced = enforces_unique_indexes(database, &name).await;
    let capabilities = match enforced {
        Ok(()) => capabilities(client, database, &name, Trial::Writes).await,
        Err(error) => Err(error),
    };
    if let Err(error) = database.collection::<Document>(&name).drop().await {
        tracing::warn!(collection = name, %error, "a scratch collection was left behind");
    }
    capabilities
}

/// Looks at a server whose store was made before, without writing.
pub(super) async fn look(client: &Client, database: &Database) -> Result<Capabilities, OpenError> {
    client.database("admin").run_command(doc! { "ping": 1 }).await?;
    capabilities(client, database, "event_store", Trial::Reads).await
}

/// What a transaction is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    Writes,
    Reads,
}

/// Whether a second document with the same keys is refused, as a duplicate, whatever its identity.
async fn enforces_unique_indexes(database: &Database, name: &str) -> Result<(), OpenError> {
    let scratch = database.collection::<Document>(name);
    let options = IndexOptions::builder().unique(true).name("probe".to_owned()).build();
    let index = IndexModel::builder().keys(doc! { "p": 1, "n": 1 }).options(options).build();
    scratch.create_index(index).await?;
    scratch.insert_one(doc! { "_id": "a", "p": 1, "n": 1_i64 }).await?;
    // Beside the first in one part of the key: only both together are unique.
    scratch.insert_one(doc! { "_id": "b", "p": 1, "n": 2_i64 }).await?;
    for twin in [doc! { "_id": "c", "p": 1, "n": 1_i64 }, doc! { "_id": "a", "p": 1, "n": 3_i64 }] {
        match scratch.insert_one(&twin).await {
            Ok(_) => {
                return Err(OpenError::Unfit(format!("it took {twin} beside a document with the same unique key")));
            }
            Err(error) if is_duplicate(&error) => {}
            Err(error) => {
                let problem = format!("it refused a duplicate key, but with another error than 11000: {error}");
                return Err(OpenError::Unfit(problem));
            }
        }
    }
    Ok(())
}

fn is_duplicate(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

async fn capabilities(
    client: &Client,
    database: &Database,
    name: &str,
    trial: Trial,
) -> Result<Capabilities, OpenError> {
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    let built = admin.run_command(doc! { "buildInfo": 1 }).await.unwrap_or_default();
    let version = built.get_str("version").unwrap_or("of an unknown version");
    let server = match built.get_str("ferretdbVersion") {
        Ok(ferretdb) => format!("FerretDB {ferretdb} (as MongoDB {version})"),
        Err(_) => format!("MongoDB {version}"),
    };
    let topology = match (hello.get_str("setName"), hello.get_str("msg")) {
        (Ok(_), _) => "replica set",
        (_, Ok("isdbgrid")) => "sharded",
        _ => "standalone",
    };
    // What it claims may not be so: each is tried.
    let sessions = admin.run_command(doc! { "startSession": 1 }).await.is_ok();
    let stream = doc! { "aggregate": name, "pipeline": [{ "$changeStream": {} }], "cursor": {} };
    let change_streams = database.run_command(stream).await.is_ok();
    let transactions = sessions && topology != "standalone" && transacts(client, database, name, trial).await.is_ok();
    Ok(Capabilities { server, topology, sessions, transactions, change_streams })
}

async fn transacts(client: &Client, database: &Database, name: &str, trial: Trial) -> Result<(), Error> {
    let mut session = client.start_session().await?;
    session.start_transaction().await?;
    let collection = database.collection::<Document>(name);
    match trial {
        Trial::Writes => {
            collection.insert_one(doc! { "_id": "d", "p": 1, "n": 4_i64 }).session(&mut session).await?;
        }
        Trial::Reads => {
            collection.find_one(doc! {}).session(&mut session).await?;
        }
    }
    session.abort_transaction().await
}
