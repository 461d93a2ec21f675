//! Products behind a cache: the same as without it, at most a second late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::ProductName;
use meshwork_cache::{KindStats, Tiers, TiersOptions};
use meshwork_chassis::cache::{Invalidated, cause};
use meshwork_chassis::config::CacheConfig;
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use meshwork_products::adapters::cached::{CachedCatalogue, TAGS, outdated_by};
use meshwork_products::adapters::store::PostgresStore;
use meshwork_products::domain::{NewProduct, Product, ProductChange, Refusal};
use meshwork_products::ports::{Answer, Catalogue, Inventory, StoreError};
use meshwork_products::testing::{Stores, conformance, created, lamp, product};
use meshwork_sql::PostgresOptions;

use crate::rooms::{Room, options, server};

/// A catalogue whose readers take what a cache has, where the suite asks for the latest.
struct Recent(CachedCatalogue);

#[async_trait]
impl Catalogue for Recent {
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
        self.0.get(names, Freshness::Bounded).await
    }

    async fn list(&self, page: &PageRequest, _: Freshness) -> Result<Page<Product>, StoreError> {
        self.0.list(page, Freshness::Bounded).await
    }

    async fn position(&self) -> Option<WalPosition> {
        self.0.position().await
    }
}

/// A store in a file, and a cache before it.
struct Instance {
    _room: Room,
    stores: Stores,
    catalogue: CachedCatalogue,
    tiers: Tiers,
}

impl Instance {
    async fn open() -> Self {
        Self::on(Room::file()).await
    }

    async fn on(room: Room) -> Self {
        let stores = room.open().await;
        let tiers = Tiers::in_process(TiersOptions::default());
        let catalogue = CachedCatalogue::new(stores.catalogue.clone(), &tiers, &CacheConfig::default());
        Self { _room: room, stores, catalogue, tiers }
    }

    async fn rename(&self, name: &str) -> Product {
        let change = ProductChange { display_name: Some(name.to_owned()), ..ProductChange::default() };
        self.catalogue.update(product("lamp"), change, None).await.unwrap()
    }

    /// What somebody without a token reads.
    async fn read(&self) -> Result<Vec<Product>, StoreError> {
        self.catalogue.get(&[product("lamp")], Freshness::Bounded).await
    }

    async fn list(&self, size: usize) -> Page<Product> {
        self.catalogue.list(&PageRequest { size, after: None }, Freshness::Bounded).await.unwrap()
    }

    fn stats(&self, kind: &str) -> KindStats {
        self.tiers.stats().kinds.into_iter().find(|stats| stats.kind == kind).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_behind_a_cache_conforms() {
    let rooms: Mutex<Vec<Room>> = Mutex::default();
    conformance(|| async {
        let room = Room::file();
        let [one, other] = [room.open().await, room.open().await];
        rooms.lock().unwrap().push(room);
        let tiers = Tiers::in_process(TiersOptions::default());
        // Both of one process: what others cache is a second late.
        let catalogue = CachedCatalogue::new(one.catalogue.clone(), &tiers, &CacheConfig::default());
        let behind = |stores: Stores| Stores { catalogue: Arc::new(Recent(catalogue.clone())), ..stores };
        [behind(one), behind(other)]
    })
    .await;
}

#[tokio::test]
async fn ca_8_what_was_written_is_read_without_asking_the_database() {
    let instance = Instance::open().await;
    let added = instance.catalogue.create(lamp("lamp"), None).await.unwrap().value;
    assert_eq!(instance.read().await.unwrap(), [added]);
    let renamed = instance.rename("Torch").await;
    assert_eq!(instance.read().await.unwrap(), std::slice::from_ref(&renamed));
    let stats = instance.stats("products");
    assert_eq!((stats.loads, stats.local_hits, stats.puts), (0, 2, 2), "{stats:?}");

    // Orders are priced past the cache.
    assert_eq!(instance.catalogue.get(&[product("lamp")], Freshness::Latest).await.unwrap(), [renamed]);
    assert_eq!(instance.stats("products").local_hits, 2);
    instance.catalogue.delete(product("lamp"), None).await.unwrap();
    for _ in 0..2 {
        let gone = instance.read().await;
        assert!(matches!(gone, Err(StoreError::Refused(Refusal::ProductNotFound { .. }))), "{gone:?}");
    }
}

#[tokio::test]
async fn ca_6_every_change_of_a_product_drops_the_first_pages_and_stocks_drop_nothing() {
    let instance = Instance::open().await;
    assert_eq!(instance.list(10).await.items, []);
    let added = instance.catalogue.create(lamp("lamp"), None).await.unwrap().value;
    assert_eq!(instance.list(10).await.items, [added]);
    let renamed = instance.rename("Torch").await;
    for _ in 0..3 {
        assert_eq!(instance.list(10).await.items, std::slice::from_ref(&renamed));
    }
    let loads = instance.stats("product-lists").loads;
    assert_eq!((loads, instance.stats("product-lists").local_hits), (3, 2));

    // Pages of other sizes are others.
    instance.catalogue.create(lamp("torch"), None).await.unwrap();
    let first = instance.list(1).await;
    assert_eq!((first.items.len(), instance.list(2).await.items.len()), (1, 2));
    // Pages behind the first are read from the store.
    let page = PageRequest { size: 1, after: first.next };
    let second = instance.catalogue.list(&page, Freshness::Bounded).await.unwrap();
    assert_eq!(second.items.len(), 1);

    let loads = instance.stats("product-lists").loads;
    instance.stores.hear("o1", 1, created(&[("lamp", 1)])).await;
    instance.list(2).await;
    assert_eq!(instance.stats("product-lists").loads, loads);
    instance.catalogue.delete(product("lamp"), Some(2)).await.unwrap();
    assert_eq!(instance.list(2).await.items.len(), 1);
}

#[tokio::test]
async fn ca_3_events_of_products_name_what_they_make_outdated_and_others_nothing() {
    let instance = Instance::open().await;
    instance.stores.stocked("lamp", 5).await;
    instance.stores.hear("o1", 1, created(&[("lamp", 1)])).await;
    instance.rename("Torch").await;
    instance.catalogue.create(lamp("old"), None).await.unwrap();
    instance.catalogue.delete(product("old"), None).await.unwrap();
    let told = instance.stores.all_told().await;
    assert_eq!(told.len(), 5, "{told:?}");
    let mut outdated: Vec<_> = told.iter().filter_map(outdated_by).collect();
    outdated.sort_by_key(|outdated| (outdated.key.clone(), outdated.version.is_none(), outdated.version));
    let of = |key: &str, version| Invalidated { kind: "products", key: key.to_owned(), version, tags: TAGS };
    // Of what was deleted nothing stays, whatever its version.
    assert_eq!(outdated, [of("lamp", Some(1)), of("lamp", Some(2)), of("old", Some(1)), of("old", None)]);
}

#[tokio::test]
async fn ca_6_a_change_and_its_event_drop_the_first_pages_once() {
    for room in Room::both().await {
        let instance = Instance::on(room).await;
        instance.catalogue.create(lamp("lamp"), None).await.unwrap();
        instance.catalogue.create(lamp("old"), None).await.unwrap();
        instance.rename("Torch").await;
        instance.catalogue.delete(product("old"), None).await.unwrap();
        assert_eq!(instance.list(10).await.items.len(), 1);
        let told = instance.stores.all_told().await;
        assert_eq!(told.len(), 4, "{told:?}");
        for event in &told {
            let Invalidated { kind, key, tags, .. } = outdated_by(event).unwrap();
            let cause = cause(kind, &key, event.version, event.time);
            for tag in tags {
                instance.tiers.invalidate_tag(tag, Some(&cause)).await;
            }
        }
        assert_eq!(instance.list(10).await.items.len(), 1);
        assert_eq!(instance.stats("product-lists").loads, 1);
        // A version that is given again by an older copy of the database is another one.
        let again = cause("products", "lamp", 2, told[0].time + time::Duration::SECOND);
        instance.tiers.invalidate_tag("products", Some(&again)).await;
        instance.list(10).await;
        assert_eq!(instance.stats("product-lists").loads, 2);
    }
}

#[tokio::test]
async fn stocks_have_positions_for_replicas_alone_and_products_for_the_cache_too() {
    let server = server().await;
    let Room::Server { url, .. } = Room::database(&server).await else { panic!("it is on a server") };
    let options = PostgresOptions { positions: true, ..options(&url, None) };
    let store = PostgresStore::open(&options).await.unwrap();
    assert!(Catalogue::position(&store).await.is_some());
    assert_eq!(Inventory::position(&store).await, None);
}

/// A catalogue whose positions are counted.
struct Positioned {
    catalogue: Arc<dyn Catalogue>,
    asked: AtomicU64,
}

#[async_trait]
impl Catalogue for Positioned {
    async fn create(&self, product: NewProduct, request: Option<RequestKey>) -> Result<Answer<Product>, StoreError> {
        self.catalogue.create(product, request).await
    }

    async fn update(
        &self,
        name: ProductName,
        change: ProductChange,
        expected: Option<i64>,
    ) -> Result<Product, StoreError> {
        self.catalogue.update(name, change, expected).await
    }

    async fn delete(&self, name: ProductName, expected: Option<i64>) -> Result<Product, StoreError> {
        self.catalogue.delete(name, expected).await
    }

    async fn get(&self, names: &[ProductName], freshness: Freshness) -> Result<Vec<Product>, StoreError> {
        self.catalogue.get(names, freshness).await
    }

    async fn list(&self, page: &PageRequest, freshness: Freshness) -> Result<Page<Product>, StoreError> {
        self.catalogue.list(page, freshness).await
    }

    async fn position(&self) -> Option<WalPosition> {
        let lsn = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        Some(WalPosition { system: 7, timeline: 1, lsn })
    }
}

#[tokio::test]
async fn a_load_without_a_token_asks_for_no_position_and_serves_tokens_from_before_it() {
    let room = Room::file();
    let stores = room.open().await;
    stores.catalogue.create(lamp("lamp"), None).await.unwrap();
    let store = Arc::new(Positioned { catalogue: stores.catalogue.clone(), asked: AtomicU64::new(0) });
    let tiers = Tiers::in_process(TiersOptions::default());
    let cached = CachedCatalogue::new(store.clone(), &tiers, &CacheConfig::default());
    let asked = || store.asked.load(Ordering::SeqCst);
    let (names, page) = ([product("lamp")], PageRequest { size: 3, after: None });
    // What a caller has written before, and the token of it.
    let token = Catalogue::position(&cached).await.unwrap();
    let later = Catalogue::position(&cached).await.unwrap();
    cached.get(&names, Freshness::Bounded).await.unwrap();
    cached.list(&page, Freshness::Bounded).await.unwrap();
    assert_eq!(asked(), 2);
    // It was loaded with the later position: the entry has what the earlier token is of.
    let loads = || tiers.stats().kinds.iter().map(|kind| kind.loads).sum::<u64>();
    assert_eq!(loads(), 2);
    cached.get(&names, Freshness::AtLeast(token)).await.unwrap();
    cached.list(&page, Freshness::AtLeast(token)).await.unwrap();
    assert_eq!((loads(), asked()), (2, 2));
    // A token of the same place may be of something that the load has not seen: it asks for a fresh one.
    cached.get(&names, Freshness::AtLeast(later)).await.unwrap();
    assert_eq!((loads(), asked()), (3, 3));
    // A position that nobody knows is the primary's to serve.
    cached.get(&names, Freshness::AtLeast(WalPosition::UNKNOWN)).await.unwrap();
    assert_eq!((loads(), asked()), (3, 3));
}
