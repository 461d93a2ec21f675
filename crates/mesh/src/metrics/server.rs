//! What a server measures of its calls.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::attributes::{MethodAttributes, OTHER, attribute};
use super::instruments::ServerInstruments;
use crate::server::{CallHead, CallObserver, CallRecord, CallRecorder};

/// How many methods have their own names; contracts that change while a server runs could bring more and more.
const METHODS: usize = 2000;

type Methods = HashMap<Box<str>, Arc<MethodAttributes>, RandomState>;

/// Measures the calls of a [`Server`](crate::Server): `grpc.server.call.*` of gRFC A66.
///
/// Health checks and reflection count as well, and so does what is refused. A call that comes over HTTP counts as the call that is
/// made of it. A method has its name when the server knows it, and is `other` when nobody but a caller has named it.
pub struct ServerMetrics {
    instruments: Arc<ServerInstruments>,
    common: Vec<KeyValue>,
    methods: ArcSwap<Methods>,
    other: Arc<MethodAttributes>,
}

impl ServerMetrics {
    /// Measures with `meter`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use meshwork::metrics::{Meter, ServerMetrics};
    ///
    /// # fn with(meter: &Meter) {
    /// let server = meshwork::Server::builder().observer(Arc::new(ServerMetrics::new(meter)));
    /// # }
    /// ```
    pub fn new(meter: &Meter) -> Self {
        Self {
            instruments: Arc::new(ServerInstruments::new(meter)),
            common: Vec::new(),
            methods: ArcSwap::default(),
            other: Arc::new(MethodAttributes::new(&[], OTHER)),
        }
    }

    /// One more attribute of all measurements: what tells this server from others with the same meter.
    ///
    /// ```
    /// # use meshwork::metrics::{Meter, ServerMetrics};
    /// # fn with(meter: &Meter) {
    /// let metrics = ServerMetrics::new(meter).attribute("service", "orders");
    /// # }
    /// ```
    #[must_use]
    pub fn attribute(mut self, key: &'static str, value: &str) -> Self {
        self.common.push(attribute(key, value));
        self.methods = ArcSwap::default();
        self.other = Arc::new(MethodAttributes::new(&self.common, OTHER));
        self
    }

    fn method(&self, path: &str, known: bool) -> Arc<MethodAttributes> {
        if !known {
            return Arc::clone(&self.other);
        }
        if let Some(method) = self.methods.load().get(path) {
            return Arc::clone(method);
        }
        let attributes = Arc::new(MethodAttributes::new(&self.common, path));
        self.methods.rcu(|methods| {
            let mut methods = Methods::clone(methods);
            if methods.len() < METHODS {
                methods.entry(path.into()).or_insert_with(|| Arc::clone(&attributes));
            }
            methods
        });
        Arc::clone(self.methods.load().get(path).unwrap_or(&self.other))
    }
}

impl CallObserver for ServerMetrics {
    fn record(&self, head: &mut CallHead<'_>) -> Option<Box<dyn CallRecorder>> {
        let method = self.method(head.path, head.known);
        self.instruments.started.add(1, method.method());
        Some(Box::new(Measured { instruments: Arc::clone(&self.instruments), method }))
    }
}

impl fmt::Debug for ServerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerMetrics").field("attributes", &self.common).finish_non_exhaustive()
    }
}

/// A call that is measured at its end.
struct Measured {
    instruments: Arc<ServerInstruments>,
    method: Arc<MethodAttributes>,
}

impl CallRecorder for Measured {
    fn ended(self: Box<Self>, record: &CallRecord<'_>) {
        let attributes = self.method.ended(record.code);
        self.instruments.duration.record(record.took.as_secs_f64(), attributes);
        self.instruments.sent.record(record.sent_payload, attributes);
        self.instruments.received.record(record.received_payload, attributes);
    }
}
