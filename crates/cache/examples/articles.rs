//! Articles behind a cache: a miss, a hit, a write through, a tag, and a source that is away.
//!
//! `cargo run -p meshwork-cache --features redis --example articles [redis://127.0.0.1:6379]`; without a URL in the process alone.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meshwork_cache::{Cache, CacheOptions, LoadError, Loaded, Tiers, TiersOptions, Value, Wanted};

/// What is cached: nothing that is secret.
struct Article {
    title: String,
}

impl Value for Article {
    const KIND: &'static str = "articles";
    const SCHEMA: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.title.clone().into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { title: String::from_utf8(bytes.to_vec()).ok()? })
    }

    fn weight(&self) -> usize {
        self.title.len()
    }
}

/// Why an article can't be read.
#[derive(Clone, Debug, thiserror::Error)]
enum ShopError {
    #[error("the shop's database is away")]
    Away,
    #[error("the shop's database is busy")]
    Busy,
}

impl LoadError for ShopError {
    fn is_unavailable(&self) -> bool {
        true
    }

    fn overloaded() -> Self {
        Self::Busy
    }
}

/// The source of truth: titles with their versions.
#[derive(Default)]
struct Shop {
    titles: Mutex<HashMap<String, (String, u64)>>,
    is_away: AtomicBool,
}

impl Shop {
    fn commit(&self, id: &str, title: &str) -> u64 {
        let mut titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        let row = titles.entry(id.to_owned()).or_default();
        *row = (title.to_owned(), row.1 + 1);
        row.1
    }

    fn load(&self, id: &str) -> Result<Loaded<Article>, ShopError> {
        println!("    the database is asked for {id}");
        if self.is_away.load(Ordering::Relaxed) {
            return Err(ShopError::Away);
        }
        let row = self.titles.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let version = row.as_ref().map_or(0, |(_, version)| *version);
        let value = row.map(|(title, _)| Article { title });
        Ok(Loaded { value, version, position: None, keep: true })
    }
}

/// A read through the cache.
async fn show(cache: &Cache<Article, ShopError>, shop: &Arc<Shop>, id: &str) {
    let (source, key) = (Arc::clone(shop), id.to_owned());
    let load = move || {
        let (source, key) = (Arc::clone(&source), key.clone());
        async move { source.load(&key) }
    };
    match cache.read(id, &["lamps"], Wanted::Recent, load).await {
        Ok(Some(article)) => println!("  {id}: {}", article.title),
        Ok(None) => println!("  {id}: there is none"),
        Err(error) => println!("  {id}: {error}"),
    }
}

/// The tiers: with Redis when its URL is given.
#[cfg(feature = "redis")]
fn tiers() -> Result<Tiers, meshwork_cache::InvalidRedis> {
    let Some(url) = std::env::args().nth(1) else { return Ok(Tiers::in_process(TiersOptions::default())) };
    let remote = meshwork_cache::RedisRemote::connect(meshwork_cache::RedisOptions::new(url))?;
    Ok(Tiers::with_remote(TiersOptions::default(), remote))
}

/// The tiers: this process alone.
#[cfg(not(feature = "redis"))]
fn tiers() -> Result<Tiers, std::convert::Infallible> {
    Ok(Tiers::in_process(TiersOptions::default()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tiers = tiers()?;
    let cache: Cache<Article, ShopError> = tiers.cache(CacheOptions::default());
    let shop = Arc::new(Shop::default());
    // The link comes up by itself; reads would work without it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!("the link: {:?}", tiers.state());

    shop.commit("lamp", "A lamp");
    println!("a miss, then a hit:");
    show(&cache, &shop, "lamp").await;
    show(&cache, &shop, "lamp").await;

    println!("a write through, after it was committed:");
    let version = shop.commit("lamp", "A better lamp");
    cache.put("lamp", &["lamps"], Article { title: "A better lamp".to_owned() }, version).await;
    show(&cache, &shop, "lamp").await;

    println!("everything with a tag is invalidated:");
    shop.commit("lamp", "The best lamp");
    tiers.invalidate_tag("lamps", None).await;
    show(&cache, &shop, "lamp").await;

    println!("its time is over and the database is away: a stale one stands in");
    shop.is_away.store(true, Ordering::Relaxed);
    // With Redis, the entry is fresh for a minute; without it for a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    show(&cache, &shop, "lamp").await;

    for kind in tiers.stats().kinds {
        println!("{kind:#?}");
    }
    Ok(())
}
