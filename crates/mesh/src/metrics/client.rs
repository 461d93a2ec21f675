//! What a channel measures of its calls.

use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::attributes::{MethodAttributes, OTHER, attribute};
use super::instruments::ClientInstruments;
use crate::observe::{Event, Observer};

/// Measures the calls of a [`Channel`](crate::Channel) and their attempts: `grpc.client.*` of gRFC A66 and A96.
///
/// A method has its name when [`ClientMetrics::descriptors`] have it, and is `other` when they don't: a proxy passes on whatever
/// its callers name.
pub struct ClientMetrics {
    instruments: ClientInstruments,
    common: Vec<KeyValue>,
    /// By path, `/package.Service/Method`.
    methods: HashMap<Box<str>, MethodAttributes, RandomState>,
    other: MethodAttributes,
}

impl ClientMetrics {
    /// Measures with `meter`. `target` is the channel's, and the attribute `grpc.target`.
    ///
    /// ```
    /// use meshwork::metrics::{ClientMetrics, Meter};
    ///
    /// # fn with(meter: &Meter) {
    /// let target = "dns:///users:50051";
    /// let channel = meshwork::Channel::builder().observer(ClientMetrics::new(meter, target)).connect_lazy(target);
    /// # }
    /// ```
    pub fn new(meter: &Meter, target: &str) -> Self {
        let common = vec![attribute("grpc.target", target)];
        let other = MethodAttributes::new(&common, OTHER);
        Self { instruments: ClientInstruments::new(meter), common, methods: HashMap::default(), other }
    }

    /// One more attribute of all measurements: what tells this channel's owner from others with the same meter.
    ///
    /// ```
    /// # use meshwork::metrics::{ClientMetrics, Meter};
    /// # fn with(meter: &Meter) {
    /// let metrics = ClientMetrics::new(meter, "dns:///users:50051").attribute("service", "orders");
    /// # }
    /// ```
    #[must_use]
    pub fn attribute(mut self, key: &'static str, value: &str) -> Self {
        self.common.push(attribute(key, value));
        for (path, attributes) in &mut self.methods {
            *attributes = MethodAttributes::new(&self.common, path);
        }
        self.other = MethodAttributes::new(&self.common, OTHER);
        self
    }

    /// The methods of an encoded `FileDescriptorSet` have their own names.
    ///
    /// ```
    /// # use meshwork::metrics::{ClientMetrics, Meter};
    /// # fn with(meter: &Meter, encoded: &[u8]) -> Result<(), prost::DecodeError> {
    /// let metrics = ClientMetrics::new(meter, "dns:///users:50051").descriptors(encoded)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When it is none.
    pub fn descriptors(mut self, set: &[u8]) -> Result<Self, prost::DecodeError> {
        for file in FileDescriptorSet::decode(set)?.file {
            let dot = if file.package().is_empty() { "" } else { "." };
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}{dot}{}/{}", file.package(), service.name(), method.name());
                    let attributes = MethodAttributes::new(&self.common, &path);
                    self.methods.insert(path.into(), attributes);
                }
            }
        }
        Ok(self)
    }

    fn method(&self, path: &str) -> &MethodAttributes {
        self.methods.get(path).unwrap_or(&self.other)
    }
}

impl Observer for ClientMetrics {
    fn event(&self, event: &Event<'_>) {
        let instruments = &self.instruments;
        match *event {
            Event::AttemptStarted { method, .. } => instruments.attempt_started.add(1, self.method(method).method()),
            Event::AttemptEnded { method, code, took, queued, sent, received, .. } => {
                let attributes = self.method(method).ended(code);
                instruments.attempt_duration.record(queued.saturating_add(took).as_secs_f64(), attributes);
                instruments.sent.record(sent, attributes);
                instruments.received.record(received, attributes);
            }
            Event::CallEnded { method, outcome, took, repeats } => {
                let attributes = self.method(method);
                instruments.call_duration.record(took.as_secs_f64(), attributes.ended(outcome.code()));
                let attributes = attributes.method();
                for (count, histogram) in [
                    (repeats.retries, &instruments.retries),
                    (repeats.transparent_retries, &instruments.transparent_retries),
                    (repeats.hedges, &instruments.hedges),
                ] {
                    if count > 0 {
                        histogram.record(count.into(), attributes);
                    }
                }
                if !repeats.delay.is_zero() {
                    instruments.retry_delay.record(repeats.delay.as_secs_f64(), attributes);
                }
            }
            _ => {}
        }
    }
}

impl fmt::Debug for ClientMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMetrics").field("attributes", &self.common).finish_non_exhaustive()
    }
}
