//! A resolver that says what it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use meshwork::endpoint::{Address, Endpoint};
use meshwork::resolve::{Resolution, ResolveError, Resolver};
use tokio::sync::Notify;

/// A resolver that says what it is told, at once.
#[derive(Clone)]
pub struct Names(Arc<Told>);

struct Told {
    answer: Mutex<Result<Resolution, String>>,
    changed: Notify,
    asked: AtomicUsize,
}

impl Names {
    pub fn new(names: &[&str]) -> Self {
        let told =
            Told { answer: Mutex::new(Ok(resolution(names))), changed: Notify::new(), asked: AtomicUsize::new(0) };
        Self(Arc::new(told))
    }

    pub fn set(&self, names: &[&str]) {
        self.say(Ok(resolution(names)));
    }

    /// Addresses and a service config.
    pub fn config(&self, names: &[&str], json: &str) {
        self.say(Ok(Resolution { service_config: Some(json.into()), ..resolution(names) }));
    }

    pub fn say(&self, answer: Result<Resolution, String>) {
        *self.0.answer.lock().unwrap() = answer;
        self.0.changed.notify_one();
    }

    pub fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }
}

fn resolution(names: &[&str]) -> Resolution {
    Resolution::new(names.iter().map(|name| Endpoint::new(Address::Named((*name).into()))).collect())
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        self.0.answer.lock().unwrap().clone().map_err(ResolveError::new)
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }
}
