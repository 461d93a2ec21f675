//! What is cached: articles of a few hundred bytes.

use std::sync::Arc;
use std::time::Duration;

use meshwork_cache::{
    Cache, CacheOptions, LinkState, LoadError, Loaded, RedisOptions, RedisRemote, Tiers, TiersOptions, Value,
};
use meshwork_testkit::Redis;

/// How long the link to Redis may take to be up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an article is.
const LENGTH: usize = 300;

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Article(pub String);

impl Value for Article {
    const KIND: &'static str = "articles";
    const SCHEMA: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self(str::from_utf8(bytes).ok()?.to_owned()))
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.0.len()
    }
}

/// A load has failed. Here none does.
#[derive(Clone, Debug)]
pub(crate) struct Lost;

impl LoadError for Lost {
    fn is_unavailable(&self) -> bool {
        true
    }

    fn overloaded() -> Self {
        Self
    }
}

/// The cache of articles.
pub(crate) type Articles = Cache<Article, Lost>;

/// An article.
pub(crate) fn article() -> Article {
    Article("a".repeat(LENGTH))
}

/// As the source of truth gives it.
pub(crate) fn loaded() -> Loaded<Article> {
    Loaded { value: Some(article()), version: 1, position: None, keep: true }
}

/// The key of an article.
pub(crate) fn key(at: usize) -> String {
    format!("article-{at:06}")
}

/// Keeps as much as there is here, for longer than a benchmark takes.
pub(crate) fn options() -> CacheOptions {
    CacheOptions { ttl: Duration::from_secs(3600), local_bytes: 256 << 20, ..CacheOptions::default() }
}

/// Articles in a process of their own, as it were: two tiers of which Redis is the second one.
pub(crate) async fn in_redis(redis: &Redis) -> Articles {
    let remote = RedisRemote::connect(RedisOptions::new(redis.url())).unwrap();
    let tiers = Tiers::with_remote(TiersOptions::default(), remote);
    let is_up = async {
        while tiers.state() != Some(LinkState::Up) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_up).await.expect("the link to Redis never came up");
    tiers.cache(options())
}

/// Puts so many articles there.
pub(crate) async fn fill(articles: &Articles, count: usize) {
    let writers: Vec<_> = (0..crate::turns::CALLERS)
        .map(|writer| {
            let articles = articles.clone();
            tokio::spawn(async move {
                for at in (writer..count).step_by(crate::turns::CALLERS) {
                    articles.put(&key(at), &[], article(), 1).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// The text of an article that there must be.
pub(crate) fn found(article: Result<Option<Arc<Article>>, Lost>) -> Arc<Article> {
    article.unwrap().expect("the article is there")
}
