//! RR-: what is read from replicas, and what never is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::{OrderName, ProductName};
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use meshwork_products::adapters::store::PostgresStore;
use meshwork_products::domain::{NewProduct, Product, ProductChange, Reservation, Stock, StockChange};
use meshwork_products::ports::{Answer, Applied, Catalogue, Inventory, OrderEvent, ReservationFilter, StoreError};
use meshwork_products::testing::{Stores, conformance, created, lamp, product};
use meshwork_sql::PostgresOptions;
use meshwork_testkit::Postgres;
use meshwork_testkit::postgres::Cluster;

use crate::rooms::options;

/// The longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A primary with two replicas.
async fn cluster() -> Arc<Cluster> {
    Arc::new(tokio::task::spawn_blocking(|| Postgres::with_replicas(2, false)).await.unwrap())
}

/// Plays with servers, which takes its time.
async fn play<T: Send + 'static>(cluster: &Arc<Cluster>, with: impl FnOnce(&Cluster) -> T + Send + 'static) -> T {
    let cluster = cluster.clone();
    tokio::task::spawn_blocking(move || with(&cluster)).await.unwrap()
}

/// A new database of the cluster. Its replicas are read from however far they are behind.
async fn database(cluster: &Arc<Cluster>) -> PostgresOptions {
    let (url, replicas) = play(cluster, |cluster| {
        let url = cluster.database();
        let replicas = cluster.replica_urls(&url);
        (url, replicas)
    })
    .await;
    let (max_lag, max_lag_bytes) = (Duration::from_secs(600), 1 << 30);
    PostgresOptions { replicas, max_lag, max_lag_bytes, max_connections: 4, ..options(&url, None) }
}

/// Opens a store, once both of its replicas are read from and have its tables.
async fn open(cluster: &Arc<Cluster>, options: &PostgresOptions) -> PostgresStore {
    let store = PostgresStore::open(options).await.unwrap();
    play(cluster, |cluster| (0..2).for_each(|replica| cluster.wait_for_replay(replica))).await;
    until("both replicas are read from", async || store.replicas().iter().all(|replica| replica.selected)).await;
    store
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// How many reads the replicas of a store have answered.
fn reads(store: &PostgresStore) -> u64 {
    store.replicas().iter().map(|replica| replica.reads).sum()
}

/// Reads with the position of what was written before, as a caller does who brings the token of the last command.
struct ByToken(PostgresStore);

impl ByToken {
    async fn freshness(&self) -> Freshness {
        Freshness::AtLeast(Catalogue::position(&self.0).await.unwrap())
    }
}

#[async_trait]
impl Catalogue for ByToken {
    async fn create(&self, product: NewProduct, request: Option<RequestKey>) -> Result<Answer<Product>, StoreError> {
        self.0.create(product, request).await
    }

    async fn update(
        &self,
        name: ProductName,
        change: ProductChange,
        expected: Option<i64>,
    ) -> Result<Product, StoreError> {
        self.0.update(name, change, expected).await
    }

    async fn delete(&self, name: ProductName, expected: Option<i64>) -> Result<Product, StoreError> {
        self.0.delete(name, expected).await
    }

    async fn get(&self, names: &[ProductName], _: Freshness) -> Result<Vec<Product>, StoreError> {
        self.0.get(names, self.freshness().await).await
    }

    async fn list(&self, page: &PageRequest, _: Freshness) -> Result<Page<Product>, StoreError> {
        self.0.list(page, self.freshness().await).await
    }

    async fn position(&self) -> Option<WalPosition> {
        Catalogue::position(&self.0).await
    }
}

#[async_trait]
impl Inventory for ByToken {
    async fn stock(&self, product: &ProductName, _: Freshness) -> Result<Stock, StoreError> {
        self.0.stock(product, self.freshness().await).await
    }

    async fn change_stock(
        &self,
        product: ProductName,
        change: StockChange,
        request: Option<RequestKey>,
    ) -> Result<Answer<Stock>, StoreError> {
        self.0.change_stock(product, change, request).await
    }

    async fn apply(&self, event: OrderEvent) -> Result<Applied, StoreError> {
        self.0.apply(event).await
    }

    async fn due(&self, limit: usize) -> Result<Vec<OrderName>, StoreError> {
        self.0.due(limit).await
    }

    async fn expire(&self, order: OrderName) -> Result<bool, StoreError> {
        self.0.expire(order).await
    }

    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: &PageRequest,
        _: Freshness,
    ) -> Result<Page<Reservation>, StoreError> {
        self.0.reservations(filter, page, self.freshness().await).await
    }

    async fn position(&self) -> Option<WalPosition> {
        Inventory::position(&self.0).await
    }
}

/// What a caller with tokens sees of a store.
fn by_token(store: &PostgresStore) -> Stores {
    Stores {
        catalogue: Arc::new(ByToken(store.clone())),
        inventory: Arc::new(ByToken(store.clone())),
        ..Stores::of(store, Arc::new(store.outbox()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_store_with_replicas_conforms_to_who_reads_with_tokens() {
    let cluster = cluster().await;
    // The stores of the case before, and what the replicas of all before it have answered.
    let seen = Mutex::new((Vec::<PostgresStore>::new(), 0));
    conformance(|| async {
        let options = database(&cluster).await;
        let both = [open(&cluster, &options).await, open(&cluster, &options).await];
        let stores = both.each_ref().map(by_token);
        let mut seen = seen.lock().unwrap();
        let answered: u64 = seen.0.iter().map(reads).sum();
        seen.1 += answered;
        seen.0 = both.into();
        stores
    })
    .await;
    let answered = seen.into_inner().unwrap().1;
    assert!(answered > 0, "no replica has answered anything");
}

fn renamed(name: &str) -> ProductChange {
    ProductChange { display_name: Some(name.to_owned()), ..ProductChange::default() }
}

/// What reads of this freshness show: the lamp's name by itself and in the list, how many pieces of it there are, and how many
/// reservations.
async fn shown(store: &PostgresStore, freshness: Freshness) -> (String, String, i64, usize) {
    let page = PageRequest { size: 10, after: None };
    let single = store.get(&[product("lamp")], freshness).await.unwrap().remove(0).display_name;
    let listed = store.list(&page, freshness).await.unwrap().items.remove(0).display_name;
    let pieces = store.stock(&product("lamp"), freshness).await.unwrap().received;
    let reservations = store.reservations(&ReservationFilter::default(), &page, freshness).await.unwrap().items.len();
    (single, listed, pieces, reservations)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_read_with_a_token_sees_its_write_while_replicas_stand_still() {
    let cluster = cluster().await;
    let store = open(&cluster, &database(&cluster).await).await;
    let stores = Stores::of(&store, Arc::new(store.outbox()));
    stores.stocked("lamp", 5).await;
    let before = ("Lamp".to_owned(), "Lamp".to_owned(), 5, 0);
    play(&cluster, |cluster| {
        for replica in 0..2 {
            cluster.wait_for_replay(replica);
            cluster.pause_replay(replica);
        }
    })
    .await;

    store.update(product("lamp"), renamed("Torch"), None).await.unwrap();
    store.change_stock(product("lamp"), StockChange::Receive { quantity: 2 }, None).await.unwrap();
    stores.hear("o1", 1, created(&[("lamp", 1)])).await;
    let written = Freshness::AtLeast(Catalogue::position(&store).await.unwrap());
    let after = ("Torch".to_owned(), "Torch".to_owned(), 7, 1);
    for _ in 0..50 {
        assert_eq!(shown(&store, written).await, after, "a token's read is stale");
        assert_eq!(shown(&store, Freshness::Latest).await, after);
    }
    // The replicas are read from all the same, by who doesn't mind.
    let answered = reads(&store);
    for _ in 0..4 {
        assert_eq!(shown(&store, Freshness::Bounded).await, before);
    }
    assert_eq!(reads(&store), answered + 16, "the replicas have answered all of it");

    // What decides isn't read from them: the version is the primary's, and so is the stock.
    assert!(store.update(product("lamp"), renamed("Bulb"), Some(1)).await.is_err());
    store.update(product("lamp"), renamed("Bulb"), Some(2)).await.unwrap();
    let all = StockChange::Adjust { delta: -6, reason: "sold".to_owned(), actor: "users/anna".to_owned() };
    store.change_stock(product("lamp"), all, None).await.unwrap();

    play(&cluster, |cluster| (0..2).for_each(|replica| cluster.resume_replay(replica))).await;
    let after = ("Bulb".to_owned(), "Bulb".to_owned(), 1, 1);
    until("the replicas go on", async || shown(&store, Freshness::Bounded).await == after).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_token_of_another_database_leads_to_the_primary() {
    let cluster = cluster().await;
    let store = open(&cluster, &database(&cluster).await).await;
    store.create(lamp("lamp"), None).await.unwrap();
    let own = Catalogue::position(&store).await.unwrap();
    let answered = reads(&store);
    for foreign in [
        WalPosition { system: own.system ^ 1, ..own },
        WalPosition { timeline: own.timeline + 1, ..own },
        WalPosition { lsn: u64::MAX, ..own },
        WalPosition::UNKNOWN,
    ] {
        let found = store.get(&[product("lamp")], Freshness::AtLeast(foreign)).await.unwrap();
        assert_eq!(found.len(), 1, "{foreign}");
    }
    assert_eq!(reads(&store), answered, "no replica can know that it has seen that");
}

/// A cluster whose servers may be killed, with a store that has a lamp, and what a read must have seen to show it.
async fn mortal() -> (Cluster, PostgresStore, Freshness) {
    let cluster = tokio::task::spawn_blocking(|| Postgres::with_replicas(2, false)).await.unwrap();
    let url = cluster.database();
    let (replicas, acquire_timeout) = (cluster.replica_urls(&url), Duration::from_millis(500));
    let options = PostgresOptions { replicas, acquire_timeout, ..options(&url, None) };
    let store = PostgresStore::open(&options).await.unwrap();
    store.create(lamp("lamp"), None).await.unwrap();
    let written = Freshness::AtLeast(Catalogue::position(&store).await.unwrap());
    (0..2).for_each(|replica| cluster.wait_for_replay(replica));
    until("both replicas are read from", async || store.replicas().iter().all(|replica| replica.selected)).await;
    (cluster, store, written)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_no_read_fails_when_replicas_die() {
    let (mut cluster, store, written) = mortal().await;
    for replica in 0..2 {
        let reading = tokio::spawn({
            let store = store.clone();
            async move {
                let page = PageRequest { size: 10, after: None };
                // Until it is known that the replica has gone, and a little longer.
                let mut left = 20;
                while left > 0 {
                    assert_eq!(store.list(&page, Freshness::Bounded).await.unwrap().items.len(), 1);
                    assert_eq!(store.get(&[product("lamp")], written).await.unwrap().len(), 1);
                    let gone = store.replicas().iter().filter(|replica| !replica.selected).count();
                    left -= usize::from(gone > replica);
                }
            }
        });
        cluster.replica_mut(replica).kill();
        tokio::time::timeout(PATIENCE, reading).await.expect("the dead replica is let go of").unwrap();
    }
    let problems: Vec<_> = store.replicas().into_iter().map(|replica| replica.problem).collect();
    assert!(problems.iter().all(Option::is_some), "{problems:?}");
    let check = store.replicas_check();
    assert!(check.is_some(), "people are told of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_replicas_answer_while_the_primary_is_gone() {
    let (mut cluster, store, written) = mortal().await;
    cluster.primary_mut().kill();
    let page = PageRequest { size: 10, after: None };
    for _ in 0..20 {
        assert_eq!(store.list(&page, Freshness::Bounded).await.unwrap().items.len(), 1);
        assert_eq!(store.get(&[product("lamp")], written).await.unwrap().len(), 1);
    }
    // What must be as the primary has it isn't made of what a replica has.
    let latest = store.get(&[product("lamp")], Freshness::Latest).await;
    assert!(matches!(latest, Err(StoreError::Unavailable(_))), "{latest:?}");
    cluster.primary_mut().restart();
    until("the primary is back", async || store.get(&[product("lamp")], Freshness::Latest).await.is_ok()).await;
}
