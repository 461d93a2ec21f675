//! The shop on real servers, and what of it can fail: its five processes, and the five servers that they stand on.

use std::time::Duration;

use meshwork_testkit::up::UNLIMITED;
use meshwork_testkit::{FaultProxy, Mongo, Nats, Postgres, Redis, Smtp, smtp};
use tempfile::TempDir;

use crate::processes::Processes;
use crate::proof::{Audit, Load};

/// For how long one stands still.
const STILL: Duration = Duration::from_secs(2);

/// Settings under which what waits is asked for within seconds.
const SAGA: [(&str, &str); 5] = [
    // Longer than pieces are held, as it should be: else what is only slow asks for more.
    ("MESHWORK_ORDERS__RESERVATION_TIMEOUT", "20s"),
    ("MESHWORK_ORDERS__WATCHDOG_INTERVAL", "500ms"),
    ("MESHWORK_PRODUCTS__RESERVATION_TTL", "15s"),
    ("MESHWORK_PRODUCTS__SWEEP_INTERVAL", "500ms"),
    // The shortest: what a kill has left is sent again after it.
    ("MESHWORK_NOTIFICATIONS__LEASE", "20s"),
];

/// Who fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The process of a service.
    Process(&'static str),
    /// The PostgreSQL of products, lists and notifications.
    Postgres,
    /// The MongoDB-compatible server of the orders' events.
    Mongo,
    /// The NATS server.
    Nats,
    /// The Redis of the caches, and of the gateway's limits.
    Redis,
    /// The mail server.
    Smtp,
}

/// All of them. What one needs doesn't stand beside it.
pub const VICTIMS: [Victim; 10] = [
    Victim::Process("orders"),
    Victim::Nats,
    Victim::Process("products"),
    Victim::Mongo,
    Victim::Process("notifications"),
    Victim::Postgres,
    Victim::Process("gateway"),
    Victim::Smtp,
    Victim::Process("users"),
    Victim::Redis,
];

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, and it is started again.
    Kill,
    /// SIGSTOP, and it goes on two seconds later.
    Freeze,
}

/// The shop and its servers.
pub struct World {
    pub processes: Processes,
    /// What takes the mails. It lives in the test's own process: what fails is the way to it.
    pub smtp: Smtp,
    mail: FaultProxy,
    nats: Nats,
    mongo: Mongo,
    postgres: Postgres,
    redis: Redis,
    folder: TempDir,
}

impl World {
    /// Starts all, on servers of its own.
    pub async fn start() -> Self {
        let (nats, mongo, postgres) = (Nats::start(), Mongo::private(), Postgres::private());
        let redis = Redis::private(&[]);
        let (smtp, folder) = (Smtp::start(smtp::Options::default()), tempfile::tempdir().unwrap());
        let mail = FaultProxy::start(smtp.address()).await;
        let (url, database, letters) = (nats.url(), mongo.database(), format!("{}?tls=none", mail.url("smtp")));
        let [products, lists, notices] = [(); 3].map(|()| postgres.database());
        let servers = [
            // As they are unless that is set: a load renews its tokens.
            ("MESHWORK_USERS__ACCESS_TOKEN_TTL", "290s"),
            // In an hour or two each customer of a soak has more open than one may have.
            ("MESHWORK_ORDERS__MAX_OPEN_ORDERS_PER_CUSTOMER", "0"),
            ("MESHWORK_NATS_URL", url.as_str()),
            ("MESHWORK_REDIS_URL", redis.url()),
            ("MESHWORK_ORDERS__MONGO__URI", mongo.uri()),
            ("MESHWORK_ORDERS__MONGO__DATABASE", database.as_str()),
            ("MESHWORK_PRODUCTS__POSTGRES__URL", products.as_str()),
            ("MESHWORK_ORDERS__POSTGRES__URL", lists.as_str()),
            ("MESHWORK_NOTIFICATIONS__POSTGRES__URL", notices.as_str()),
            ("MESHWORK_NOTIFICATIONS__SMTP__URL", letters.as_str()),
        ];
        let settings: Vec<_> = UNLIMITED.iter().chain(&SAGA).chain(&servers).copied().collect();
        let mut processes = Processes::new(folder.path(), &settings);
        processes.start_all();
        mongo.index(&database);
        Self { processes, smtp, mail, nats, mongo, postgres, redis, folder }
    }

    /// Places so many orders a second, for so many seconds; some are cancelled, some shipped, some can't be had.
    pub fn load(&self, rate: u32, seconds: u64) -> Load {
        let target = format!("http://{}", self.processes.address("gateway"));
        let credentials = self.processes.data().join("credentials/staff.json");
        let more = ["--cancel", "10", "--ship", "10", "--short", "5"];
        Load::start(self.folder.path(), &target, &credentials, (rate, seconds), &more)
    }

    /// Judges all that has come of the loads.
    pub fn audit(&self, history: &std::path::Path, settle: &str) -> Audit {
        Audit::of(&self.processes.run(&["audit", "--settle", settle, "--history", history.to_str().unwrap()]))
    }

    /// Has one fail, and returns when it is back.
    pub async fn fail(&mut self, victim: Victim, fault: Fault) {
        match fault {
            Fault::Kill => self.kill(victim).await,
            Fault::Freeze => self.freeze(victim).await,
        }
    }

    async fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Process(label) => {
                self.processes.kill(label);
                self.processes.start(label);
                self.processes.wait_for(label);
            }
            Victim::Postgres => {
                self.postgres.kill();
                self.postgres.restart();
            }
            Victim::Mongo => {
                self.mongo.kill();
                self.mongo.restart();
            }
            Victim::Nats => {
                self.nats.kill();
                self.nats.restart();
            }
            Victim::Redis => {
                self.redis.kill();
                self.redis.start_again();
            }
            Victim::Smtp => {
                self.mail.cut().await;
                self.mail.heal().await;
            }
        }
    }

    async fn freeze(&self, victim: Victim) {
        match victim {
            Victim::Process(label) => self.processes.freeze(label),
            Victim::Postgres => self.postgres.freeze(),
            Victim::Mongo => self.mongo.freeze(),
            Victim::Nats => self.nats.freeze(),
            Victim::Redis => self.redis.freeze(),
            Victim::Smtp => self.mail.hold(),
        }
        tokio::time::sleep(STILL).await;
        match victim {
            Victim::Process(label) => self.processes.thaw(label),
            Victim::Postgres => self.postgres.thaw(),
            Victim::Mongo => self.mongo.thaw(),
            Victim::Nats => self.nats.thaw(),
            Victim::Redis => self.redis.thaw(),
            Victim::Smtp => self.mail.heal().await,
        }
    }
}
