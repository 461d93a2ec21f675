//! Users and products in two processes each, on one PostgreSQL: what is written at one is read at the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meshwork_api::meshwork::admin::v1::cache_service_client::CacheServiceClient;
use meshwork_api::meshwork::admin::v1::cache_stats::Link;
use meshwork_api::meshwork::admin::v1::{CacheStats, GetCacheStatsRequest, KindStats};
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{GetProductRequest, ListProductsRequest, Product, UpdateProductRequest};
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{GetUserRequest, UpdateUserRequest, User};
use meshwork_testkit::up::{Token, UNLIMITED, with};
use meshwork_testkit::{Gateway, Postgres, Redis, Up};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::processes::Processes;
use crate::shop::{add_product, eventually};

/// The metadata by which a caller sees what it has written.
const TOKEN: &str = "meshwork-consistency-token";
/// How old an answer may be that is asked for without a token.
const BOUND: Duration = Duration::from_secs(1);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_millis(500);
/// How long a writer rests between two writes, and a reader between two reads.
const WRITES: Duration = Duration::from_millis(150);
const READS: Duration = Duration::from_millis(5);

/// A consistency token.
pub type Seen = MetadataValue<Ascii>;

/// What is written and read: an account, or a product. Its name for people is the round in which it was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    User,
    Product,
}

impl Thing {
    /// Both.
    pub const ALL: [Self; 2] = [Self::User, Self::Product];

    /// The processes that have it.
    pub fn labels(self) -> [&'static str; 2] {
        match self {
            Self::User => ["users", "users-2"],
            Self::Product => ["products", "products-2"],
        }
    }

    /// The kind under which it is cached.
    pub fn kind(self) -> &'static str {
        self.labels()[0]
    }
}

/// The processes that have a cache.
pub fn caching() -> impl Iterator<Item = &'static str> {
    Thing::ALL.into_iter().flat_map(Thing::labels)
}

/// The processes and what they stand on.
pub struct Instances {
    pub processes: Processes,
    pub caller: Caller,
    pub staff: Token,
    pub folder: TempDir,
    pub postgres: Postgres,
    database: String,
}

impl Instances {
    /// Starts two processes of users and of products, and `others`.
    pub async fn start(redis: Option<&Redis>, others: &[&str]) -> Self {
        Self::start_on(Postgres::start(), redis, others, &[]).await
    }

    /// As [`Instances::start`], on a server, with `more` settings over the others.
    pub async fn start_on(postgres: Postgres, redis: Option<&Redis>, others: &[&str], more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = postgres.database();
        let on_postgres = [
            ("MESHWORK_USERS__POSTGRES__URL", database.as_str()),
            ("MESHWORK_PRODUCTS__POSTGRES__URL", database.as_str()),
        ];
        let in_redis = redis.map(|redis| ("MESHWORK_REDIS_URL", redis.url()));
        let settings = UNLIMITED.iter().copied().chain(on_postgres).chain(in_redis);
        let settings: Vec<_> = settings.chain(more.iter().copied()).collect();
        let mut processes = Processes::several(folder.path(), &[("users", 2), ("products", 2)], &settings);
        // The first makes the keys that both sign with.
        processes.start("users");
        processes.wait_for("users");
        let mut labels: Vec<&str> = caching().skip(1).collect();
        labels.extend(others);
        for label in &labels {
            processes.start(label);
        }
        for label in &labels {
            processes.wait_for(label);
        }
        // The service answers as the gateway does.
        let accounts = Gateway::new(processes.address("users").parse().unwrap(), &processes.data());
        let staff = accounts.staff().await;
        let product = add_product(processes.channel("products"), &staff, "cached", 100).await;
        let (user, customer) = accounts.customer("cached").await;
        let caller = Caller {
            users: Thing::User.labels().map(|label| UserServiceClient::new(processes.channel(label))),
            products: Thing::Product.labels().map(|label| ProductServiceClient::new(processes.channel(label))),
            staff: staff.clone(),
            customer,
            user,
            product,
        };
        let database = database.rsplit('/').next().unwrap().to_owned();
        Self { processes, caller, staff, folder, postgres, database }
    }

    /// Runs SQL in the database, behind the back of the services.
    pub fn sql(&self, sql: &str) -> String {
        self.postgres.sql(&self.database, sql)
    }

    /// What a process says of its cache.
    pub async fn stats(&self, label: &str) -> CacheStats {
        let request = with(&self.staff, GetCacheStatsRequest {});
        CacheServiceClient::new(self.processes.channel(label)).get_cache_stats(request).await.unwrap().into_inner()
    }

    /// What a process says of what it has cached of a kind.
    pub async fn stats_of(&self, label: &str, kind: &str) -> KindStats {
        let stats = self.stats(label).await;
        let found = stats.kinds.iter().find(|stats| stats.kind == kind).cloned();
        found.unwrap_or_else(|| panic!("{label} doesn't speak of {kind}: {stats:?}"))
    }

    /// Waits until each process has its link to Redis.
    pub async fn linked(&self) {
        for label in caching() {
            let is_up = async || self.stats(label).await.link() == Link::Up;
            eventually(&format!("the link of {label}"), is_up).await;
        }
    }

    /// Waits until each process has noticed that Redis is away; each can serve all the same.
    pub async fn degraded(&self) {
        for label in caching() {
            let is_down = async || {
                assert_eq!(self.processes.readiness(label), Some(200), "{label}: {}", self.processes.log(label));
                self.stats(label).await.link() != Link::Up
            };
            eventually(&format!("{label} notices that Redis is away"), is_down).await;
        }
    }

    /// Waits until the health of a process says so of its cache.
    pub async fn says(&self, label: &str, status: &str) {
        let says = async || self.processes.check(label, "cache")["status"] == status;
        eventually(&format!("{label} says that its cache is {status}"), says).await;
    }
}

/// Who writes and reads at each of the two processes: 0 and 1.
#[derive(Clone)]
pub struct Caller {
    users: [UserServiceClient<Channel>; 2],
    products: [ProductServiceClient<Channel>; 2],
    staff: Token,
    customer: Token,
    /// The account's name.
    pub user: String,
    /// The product's name.
    pub product: String,
}

/// The round that a name for people tells of; 0 when it tells of none.
fn round_of(display_name: &str) -> u32 {
    display_name.strip_prefix("Round ").map_or(0, |round| round.parse().unwrap())
}

/// The token of a write.
pub fn seen_by<T>(response: &Response<T>) -> Seen {
    response.metadata().get(TOKEN).expect("a write answers with a token").clone()
}

/// A request that must be answered by what a token tells of.
pub fn at_least<T>(token: &Token, seen: Option<&Seen>, message: T) -> Request<T> {
    let mut request = with(token, message);
    if let Some(seen) = seen {
        request.metadata_mut().insert(TOKEN, seen.clone());
    }
    request
}

impl Caller {
    /// Who has an account and a product of this id in a shop, whose gateway stands for both processes.
    pub async fn of_shop(up: &Up, id: &str) -> Self {
        let staff = up.staff().await;
        let product = add_product(up.channel(), &staff, id, 1).await;
        let (user, customer) = up.customer(id).await;
        let (users, products) = (UserServiceClient::new(up.channel()), ProductServiceClient::new(up.channel()));
        Self { users: [users.clone(), users], products: [products.clone(), products], staff, customer, user, product }
    }

    /// Writes at a process.
    pub async fn write(&self, thing: Thing, at: usize, round: u32) -> Result<Seen, Status> {
        let display_name = format!("Round {round}");
        match thing {
            Thing::User => {
                let user = User { name: self.user.clone(), display_name, ..User::default() };
                let request = UpdateUserRequest { user: Some(user), ..UpdateUserRequest::default() };
                let updated = self.users[at].clone().update_user(with(&self.customer, request)).await?;
                Ok(seen_by(&updated))
            }
            Thing::Product => {
                let product = Product { name: self.product.clone(), display_name, ..Product::default() };
                let request = UpdateProductRequest { product: Some(product), ..UpdateProductRequest::default() };
                let updated = self.products[at].clone().update_product(with(&self.staff, request)).await?;
                Ok(seen_by(&updated))
            }
        }
    }

    /// Reads at a process.
    pub async fn read(&self, thing: Thing, at: usize, seen: Option<&Seen>) -> Result<u32, Status> {
        match thing {
            Thing::User => {
                let request = at_least(&self.customer, seen, GetUserRequest { name: self.user.clone() });
                Ok(round_of(&self.users[at].clone().get_user(request).await?.into_inner().display_name))
            }
            Thing::Product => {
                let request = at_least(&self.staff, seen, GetProductRequest { name: self.product.clone() });
                Ok(round_of(&self.products[at].clone().get_product(request).await?.into_inner().display_name))
            }
        }
    }

    /// Reads the product in the list of all, at a process.
    pub async fn list(&self, at: usize, seen: Option<&Seen>) -> Result<u32, Status> {
        let request = at_least(&self.staff, seen, ListProductsRequest::default());
        let listed = self.products[at].clone().list_products(request).await?.into_inner();
        let found = listed.products.iter().find(|product| product.name == self.product);
        Ok(round_of(&found.expect("the product is on the first page").display_name))
    }

    /// Reads without a token until a round shows; within the bound.
    pub async fn shows(&self, thing: Thing, at: usize, round: u32) {
        within_bound(&format!("round {round} of {thing:?} at {at}"), async || {
            self.read(thing, at, None).await.unwrap() == round
        })
        .await;
    }

    /// As [`Caller::shows`], in the list of all products.
    pub async fn lists(&self, at: usize, round: u32) {
        let shows = async || self.list(at, None).await.unwrap() == round;
        within_bound(&format!("round {round} in the list at {at}"), shows).await;
    }
}

/// Waits for a condition until the bound is over.
pub async fn within_bound(what: &str, condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    loop {
        // What is asked for in time may be answered later.
        let is_last = begun.elapsed() > BOUND + SLACK;
        if condition().await {
            return;
        }
        assert!(!is_last, "{what} doesn't show after {:?}", begun.elapsed());
        tokio::time::sleep(READS).await;
    }
}

/// When each round was answered, from the first.
#[derive(Default)]
struct Rounds(Mutex<Vec<Instant>>);

impl Rounds {
    fn answered(&self) {
        self.0.lock().unwrap().push(Instant::now());
    }

    /// The round that a read must show at least that begins then.
    fn due(&self, begun: Instant) -> u32 {
        let rounds = self.0.lock().unwrap();
        u32::try_from(rounds.partition_point(|answered| *answered + BOUND + SLACK <= begun)).unwrap()
    }
}

/// Both things are written and read at both processes, until it is stopped. No call may fail; a read with a token shows the
/// write, and one without it what was answered a second before.
pub struct Watch {
    stop: Arc<AtomicBool>,
    all: JoinSet<u64>,
}

impl Watch {
    /// Begins; once for a caller.
    pub fn start(caller: &Caller) -> Self {
        let (stop, mut all) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for thing in Thing::ALL {
            let rounds = Arc::new(Rounds::default());
            all.spawn(writes(caller.clone(), thing, rounds.clone(), stop.clone()));
            for at in [0, 1] {
                all.spawn(reads(caller.clone(), thing, at, rounds.clone(), stop.clone()));
            }
            if thing == Thing::Product {
                for at in [0, 1] {
                    all.spawn(lists(caller.clone(), at, rounds.clone(), stop.clone()));
                }
            }
        }
        Self { stop, all }
    }

    /// Ends; how many calls there were.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.all.join_all().await.into_iter().sum()
    }
}

async fn writes(caller: Caller, thing: Thing, rounds: Arc<Rounds>, stop: Arc<AtomicBool>) -> u64 {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let at = usize::from(round % 2 == 0);
        let seen = caller.write(thing, at, round).await;
        let seen = seen.unwrap_or_else(|status| panic!("{thing:?} can't be written at {at}: {status}"));
        rounds.answered();
        let read = caller.read(thing, 1 - at, Some(&seen)).await;
        let read = read.unwrap_or_else(|status| panic!("{thing:?} can't be read with a token: {status}"));
        assert_eq!(read, round, "{thing:?} at {} with the token of round {round}", 1 - at);
        tokio::time::sleep(WRITES).await;
    }
    2 * u64::from(round)
}

async fn reads(caller: Caller, thing: Thing, at: usize, rounds: Arc<Rounds>, stop: Arc<AtomicBool>) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = rounds.due(Instant::now());
        let read = caller.read(thing, at, None).await;
        let read = read.unwrap_or_else(|status| panic!("{thing:?} can't be read at {at}: {status}"));
        assert!(read >= due, "{thing:?} at {at} is of round {read}, and round {due} is older than {BOUND:?}");
        count += 1;
        tokio::time::sleep(READS).await;
    }
    count
}

async fn lists(caller: Caller, at: usize, rounds: Arc<Rounds>, stop: Arc<AtomicBool>) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = rounds.due(Instant::now());
        let read = caller.list(at, None).await.unwrap_or_else(|status| panic!("no list at {at}: {status}"));
        assert!(read >= due, "the list at {at} is of round {read}, and round {due} is older than {BOUND:?}");
        count += 1;
        tokio::time::sleep(READS).await;
    }
    count
}
