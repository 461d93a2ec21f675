//! Products from a cache, where whoever reads them allows it (CA-).
//!
//! Single products are cached by their ids, and first pages of the list by their sizes; every change of a product drops the pages.
//! Whatever decides goes to the store itself: changes, and the batches that orders are priced by. Nothing of a stock is cached.

mod value;

use std::slice::from_ref;
use std::sync::Arc;

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::ProductName;
use meshwork_cache::{Cache, LoadError, Loaded, Tiers, Value, Wanted};
use meshwork_chassis::cache::{Invalidated, TakenPositions, cause, wanted};
use meshwork_chassis::config::CacheConfig;
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use meshwork_events::Envelope;

use crate::adapters::events::PRODUCT_DELETED;
use crate::domain::{NewProduct, Product, ProductChange, Refusal};
use crate::ports::{Answer, Catalogue, StoreError};

pub use value::ProductList;

/// The tag of what is made of all products.
const PRODUCTS: &str = "products";
/// The tags of what is cached.
pub const TAGS: &[&str] = &[PRODUCTS];

impl LoadError for StoreError {
    fn is_unavailable(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Conflict(_))
    }

    fn overloaded() -> Self {
        StoreError::Unavailable("more products are being read than the database has time for".to_owned())
    }
}

/// A catalogue with a cache before it. Clones share both.
#[derive(Clone)]
pub struct CachedCatalogue {
    store: Arc<dyn Catalogue>,
    products: Cache<Product, StoreError>,
    lists: Cache<ProductList, StoreError>,
    positions: Arc<TakenPositions>,
}

/// What a change has made of a product.
enum Changed {
    /// This.
    To(Product),
    /// It was removed, and is this since.
    Removed(Product),
    /// It isn't known whether it was changed.
    Perhaps(ProductName),
}

impl CachedCatalogue {
    /// Puts a cache in these tiers before `store`.
    pub fn new(store: Arc<dyn Catalogue>, tiers: &Tiers, config: &CacheConfig) -> Self {
        let (products, lists) = (tiers.cache(config.options()), tiers.cache(config.options()));
        Self { store, products, lists, positions: Arc::default() }
    }

    /// Tells the cache what a product has become. It goes on though whoever has changed the product is cancelled.
    async fn changed(&self, changed: Changed) {
        fail::fail_point!("cache::before_put");
        let products = self.products.clone();
        let told = tokio::spawn(async move {
            let cause = match changed {
                Changed::To(product) => {
                    let (cause, id, version) = (cause_of(&product), product.name.id().to_owned(), version(&product));
                    products.put(&id, &[], product, version).await;
                    Some(cause)
                }
                Changed::Removed(product) => {
                    products.invalidate(product.name.id(), None).await;
                    Some(cause_of(&product))
                }
                Changed::Perhaps(name) => {
                    products.invalidate(name.id(), None).await;
                    None
                }
            };
            products.tiers().invalidate_tag(PRODUCTS, cause.as_deref()).await;
        });
        if let Err(error) = told.await {
            tracing::error!(%error, "a product that has changed was not told to the cache; its event is");
        }
    }
}

/// The one part that the positions of a catalogue are of.
const WHOLE: usize = 0;

/// Reads a product for the cache: as it is, with a position that was taken before.
async fn load(
    store: &dyn Catalogue,
    positions: &TakenPositions,
    name: &ProductName,
    wanted: Wanted,
) -> Result<Loaded<Product>, StoreError> {
    let position = positions.before_load(WHOLE, wanted, store.position()).await;
    let value = match store.get(from_ref(name), Freshness::Latest).await {
        Ok(found) => found.into_iter().next(),
        Err(StoreError::Refused(Refusal::ProductNotFound { .. })) => None,
        Err(error) => return Err(error),
    };
    let version = value.as_ref().map_or(0, version);
    Ok(Loaded { value, version, position, keep: true })
}

/// Reads the first page of products for the cache.
async fn load_list(
    store: &dyn Catalogue,
    positions: &TakenPositions,
    size: usize,
    wanted: Wanted,
) -> Result<Loaded<ProductList>, StoreError> {
    let position = positions.before_load(WHOLE, wanted, store.position()).await;
    let page = store.list(&PageRequest { size, after: None }, Freshness::Latest).await?;
    Ok(Loaded { value: Some(ProductList(page)), version: 0, position, keep: true })
}

/// The version of a product, which is never negative.
fn version(product: &Product) -> u64 {
    u64::try_from(product.version).unwrap_or_default()
}

/// Which change drops the pages: told again, it drops nothing more. The event of the change says the same: it has the time that the
/// product was changed at.
fn cause_of(product: &Product) -> String {
    cause(Product::KIND, product.name.id(), product.version, product.updated_at)
}

/// The product that an event makes outdated, and the pages with it.
pub fn outdated_by(event: &Envelope) -> Option<Invalidated> {
    let name: ProductName = event.subject.parse().ok()?;
    let version = u64::try_from(event.version).ok()?;
    // Of what is gone nothing stays, whatever its version.
    let version = (event.event_type != PRODUCT_DELETED).then_some(version);
    Some(Invalidated { kind: Product::KIND, key: name.id().to_owned(), version, tags: TAGS })
}

#[async_trait]
impl Catalogue for CachedCatalogue {
    async fn create(&self, product: NewProduct, request: Option<RequestKey>) -> Result<Answer<Product>, StoreError> {
        let name = product.name.clone();
        let created = self.store.create(product, request).await;
        match &created {
            Ok(Answer { value, replayed: false }) => self.changed(Changed::To(value.clone())).await,
            Err(StoreError::OutcomeUnknown(_)) => self.changed(Changed::Perhaps(name)).await,
            Ok(_) | Err(_) => {}
        }
        created
    }

    async fn update(
        &self,
        name: ProductName,
        change: ProductChange,
        expected: Option<i64>,
    ) -> Result<Product, StoreError> {
        let updated = self.store.update(name.clone(), change, expected).await;
        match &updated {
            Ok(product) => self.changed(Changed::To(product.clone())).await,
            Err(StoreError::OutcomeUnknown(_)) => self.changed(Changed::Perhaps(name)).await,
            Err(_) => {}
        }
        updated
    }

    async fn delete(&self, name: ProductName, expected: Option<i64>) -> Result<Product, StoreError> {
        let deleted = self.store.delete(name.clone(), expected).await;
        match &deleted {
            Ok(product) => self.changed(Changed::Removed(product.clone())).await,
            Err(StoreError::OutcomeUnknown(_)) => self.changed(Changed::Perhaps(name)).await,
            Err(_) => {}
        }
        deleted
    }

    async fn get(&self, names: &[ProductName], freshness: Freshness) -> Result<Vec<Product>, StoreError> {
        let (Some(wanted), [name]) = (wanted(freshness), names) else { return self.store.get(names, freshness).await };
        let (store, positions, of) = (self.store.clone(), self.positions.clone(), name.clone());
        let read = move || {
            let (store, positions, name) = (store.clone(), positions.clone(), of.clone());
            async move { load(&*store, &positions, &name, wanted).await }
        };
        match self.products.read(name.id(), &[], wanted, read).await? {
            Some(product) => Ok(vec![Arc::unwrap_or_clone(product)]),
            None => Err(Refusal::ProductNotFound { product: name.clone() }.into()),
        }
    }

    async fn list(&self, page: &PageRequest, freshness: Freshness) -> Result<Page<Product>, StoreError> {
        let (Some(wanted), PageRequest { size, after: None }) = (wanted(freshness), page) else {
            return self.store.list(page, freshness).await;
        };
        let (store, positions, size) = (self.store.clone(), self.positions.clone(), *size);
        let read = move || {
            let (store, positions) = (store.clone(), positions.clone());
            async move { load_list(&*store, &positions, size, wanted).await }
        };
        match self.lists.read(&size.to_string(), TAGS, wanted, read).await? {
            Some(list) => Ok(Arc::unwrap_or_clone(list).0),
            None => Ok(Page { items: Vec::new(), next: None }),
        }
    }

    async fn position(&self) -> Option<WalPosition> {
        self.positions.take(WHOLE, self.store.position()).await
    }
}
