//! The task of a resolver: lists the EndpointSlices of a service, and watches them from there.
//!
//! `kube-runtime` has a watcher, but one that asks again and again from a version that the API server refuses with 410
//! as its HTTP status, and that waits without a bound for a list or for the begin of a watch. This one has less to do,
//! too.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::client::Source;
use super::fault::Fault;
use super::name::Service;
use super::slices::Slices;
use crate::client::backoff::Backoff;
use crate::client::endpoint::Endpoint;
use crate::random::Random;

/// The label that ties slices to their service.
const LABEL: &str = "kubernetes.io/service-name";

/// How many slices a page of a list has, some hundred kilobytes.
const PAGE: u32 = 16;

/// How many pages of a list are asked for: as many slices as are kept four times over, since some may hold no addresses.
/// Pages could go on without an end otherwise.
const PAGES: usize = 64;

/// How long the API server may take to answer a list, page by page, or to begin a watch.
const ANSWER: Duration = Duration::from_secs(10);

/// How many seconds a watch is asked to last: from, and how much longer at most, so that not all begin anew at once.
const LASTS: (u32, usize) = (180, 60);

/// How much longer than it was asked to a watch may last. Its connection is half open then.
const OVERTIME: Duration = Duration::from_secs(10);

/// How long a watch must last before it counts as one that works.
const WORKS: Duration = Duration::from_secs(5);

/// The waits between tries. The first is spread widely: all clients lose their watches when an API server restarts.
const BACKOFF: Backoff =
    Backoff { initial: Duration::from_millis(500), multiplier: 1.6, jitter: 0.5, max: Duration::from_secs(30) };

/// The endpoints, or why there are none.
pub(super) type Answer = Result<Arc<[Endpoint]>, Arc<str>>;

/// Follows the slices of a service, and publishes what they come to.
pub(super) struct Follower {
    pub service: Service,
    /// The zone whose endpoints are preferred, if hints say so.
    pub zone: Option<Arc<str>>,
    source: Source,
    answers: watch::Sender<Option<Answer>>,
    random: Random,
    /// Chooses among too many endpoints.
    seed: u64,
    api: Option<Api<EndpointSlice>>,
    namespace: String,
    slices: Slices,
    /// From where to go on; `None`: from a list.
    version: Option<String>,
    /// Whether a list was ever answered.
    has_list: bool,
    /// Whether there was ever a slice.
    has_slices: bool,
    /// Failures in a row.
    failures: u32,
}

impl Follower {
    /// Nothing is asked before [`Follower::run`].
    pub(super) fn new(source: Source, service: Service, answers: watch::Sender<Option<Answer>>) -> Self {
        let random = Random::system();
        let seed = random.next_u64();
        let namespace = service.namespace.clone().unwrap_or_else(|| "that it runs in".to_owned());
        Self {
            service,
            zone: None,
            source,
            answers,
            random,
            seed,
            api: None,
            namespace,
            slices: Slices::default(),
            version: None,
            has_list: false,
            has_slices: false,
            failures: 0,
        }
    }

    /// Its runtime has ended, and so has all that a client had there. It goes on from where it is with the next resolution,
    /// for which a change is announced: one on another runtime may have come before.
    pub(super) fn interrupted(&mut self) {
        (self.api, self.failures) = (None, 0);
        self.answers.send_modify(|_| {});
    }

    /// Runs until it is dropped.
    pub(super) async fn run(&mut self) {
        loop {
            let Err(fault) = self.go_on().await else { continue };
            self.failures = self.failures.saturating_add(1);
            self.failed(&fault);
            // A version that is too old is nobody's fault, and a list from then is due: the first time at once.
            if !fault.is_gone() || self.failures > 1 {
                sleep(BACKOFF.wait(self.failures, &self.random)).await;
            }
        }
    }

    /// One list, or one watch.
    async fn go_on(&mut self) -> Result<(), Fault> {
        let api = self.api().await?;
        match self.version.clone() {
            Some(version) => self.watch(&api, &version).await,
            None => self.list(&api).await,
        }
    }

    async fn api(&mut self) -> Result<Api<EndpointSlice>, Fault> {
        if let Some(api) = &self.api {
            return Ok(api.clone());
        }
        let client = timeout(ANSWER, self.source.client()).await.map_err(|_| Fault::Late(ANSWER))??;
        self.namespace = self.service.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let api = Api::namespaced(client, &self.namespace);
        self.api = Some(api.clone());
        Ok(api)
    }

    fn selector(&self) -> String {
        format!("{LABEL}={}", self.service.name)
    }

    async fn list(&mut self, api: &Api<EndpointSlice>) -> Result<(), Fault> {
        let mut params = ListParams::default().labels(&self.selector()).limit(PAGE);
        let mut slices = Slices::default();
        // Each page has its time: as long as they come, there is somebody.
        let mut pages = 0;
        let version = loop {
            pages += 1;
            let page =
                timeout(ANSWER, api.list(&params)).await.map_err(|_| Fault::Late(ANSWER))?.map_err(Fault::Api)?;
            page.items.into_iter().for_each(|slice| slices.apply(slice));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) if !slices.is_full() && pages < PAGES => params.continue_token = Some(token),
                rest => {
                    if rest.is_some() {
                        tracing::warn!(
                            target: "meshwork::resolve", service = %self.service,
                            "more EndpointSlices are left out"
                        );
                    }
                    break page.metadata.resource_version.filter(|version| !version.is_empty());
                }
            }
        };
        // Without one the same list would come again.
        self.version = Some(version.ok_or(Fault::NoVersion)?);
        self.slices = slices;
        self.has_list = true;
        self.publish();
        Ok(())
    }

    async fn watch(&mut self, api: &Api<EndpointSlice>, version: &str) -> Result<(), Fault> {
        let (seconds, more) = LASTS;
        let seconds = seconds + u32::try_from(self.random.below(more)).unwrap_or_default();
        let params = WatchParams::default().labels(&self.selector()).timeout(seconds);
        let events = timeout(ANSWER, api.watch(&params, version)).await.map_err(|_| Fault::Late(ANSWER))?;
        let mut events = pin!(events.map_err(Fault::Api)?);
        let begun = Instant::now();
        let end = begun + Duration::from_secs(u64::from(seconds)) + OVERTIME;
        let ended = loop {
            match timeout_at(end, events.next()).await {
                Ok(Some(Ok(event))) => {
                    if let Err(fault) = self.apply(event) {
                        break Err(fault);
                    }
                }
                Ok(Some(Err(error))) => break Err(Fault::Api(error)),
                // It ended, as it was to, or was cut off; or nobody has ended it.
                Ok(None) | Err(_) => break Ok(()),
            }
        };
        if begun.elapsed() < WORKS {
            return ended.and(Err(Fault::Short));
        }
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(target: "meshwork::resolve", service = %self.service, "EndpointSlices are watched again");
        }
        ended
    }

    fn apply(&mut self, event: WatchEvent<EndpointSlice>) -> Result<(), Fault> {
        let version = match event {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                let version = slice.metadata.resource_version.clone();
                self.slices.apply(slice);
                version
            }
            WatchEvent::Deleted(slice) => {
                self.slices.remove(slice.metadata.name.as_deref().unwrap_or_default());
                slice.metadata.resource_version
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(Fault::Api(kube::Error::Api(status))),
        };
        self.publish();
        self.version = Some(version.filter(|version| !version.is_empty()).ok_or(Fault::NoVersion)?);
        Ok(())
    }

    /// Publishes what the slices come to, if that is new.
    fn publish(&mut self) {
        self.has_slices |= !self.slices.is_empty();
        let service = &self.service;
        let answer: Answer = if self.has_slices {
            let endpoints = self.slices.endpoints(service.port.as_ref(), self.zone.as_deref(), self.seed);
            endpoints.map(Into::into).map_err(|problem| format!("the service {} {problem}", service.host()).into())
        } else {
            // Kubernetes makes one for each service that selects pods, even while it selects none.
            Err(format!(
                "there is no EndpointSlice with the label {LABEL}={} in the namespace {}; check both names, and that there \
                 is such a Service",
                service.name, self.namespace
            )
            .into())
        };
        self.send(answer);
    }

    /// Nothing is taken back because the API server is away: the pods go on without it.
    fn failed(&mut self, fault: &Fault) {
        if fault.ends_the_watch() {
            self.version = None;
        }
        if fault.is_unauthorized() {
            self.api = None;
        }
        let (failures, why) = (self.failures, fault.explain(&self.namespace));
        // An API server that is away for long doesn't fill the log.
        if failures.is_power_of_two() && !fault.is_gone() {
            tracing::warn!(
                target: "meshwork::resolve", service = %self.service, failures, why,
                "EndpointSlices are not heard of; what is known of them stays"
            );
        } else {
            tracing::debug!(
                target: "meshwork::resolve", service = %self.service, failures, why,
                "EndpointSlices are asked for again"
            );
        }
        if !self.has_list {
            self.send(Err(why.into()));
        }
    }

    fn send(&self, answer: Answer) {
        let answer = Some(answer);
        self.answers.send_if_modified(|last| {
            let is_new = *last != answer;
            *last = answer;
            is_new
        });
    }
}
