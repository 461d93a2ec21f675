//! What is measured of the calls of a service: of those that its port answers, and of those that it makes.

use std::sync::Arc;

use meshwork::metrics::{ClientMetrics, Meter, ServerMetrics};
use meshwork::server::CallObserver;
use meshwork_api::FILE_DESCRIPTOR_SET;
use prost::DecodeError;

/// The attribute that tells the services of one process apart.
const SERVICE: &str = "service";

/// What the calls of one service are measured with.
#[derive(Clone, Debug)]
pub struct ServiceMetrics {
    meter: Meter,
    service: &'static str,
}

impl ServiceMetrics {
    /// Measures the calls of `service` with `meter`.
    pub fn new(meter: Meter, service: &'static str) -> Self {
        Self { meter, service }
    }

    /// For its port.
    pub(crate) fn server(&self) -> Arc<dyn CallObserver> {
        Arc::new(ServerMetrics::new(&self.meter).attribute(SERVICE, self.service))
    }

    /// For a channel to `target`.
    ///
    /// # Errors
    /// When the contracts of this build can't be read.
    pub(crate) fn client(&self, target: &str) -> Result<ClientMetrics, DecodeError> {
        ClientMetrics::new(&self.meter, target).attribute(SERVICE, self.service).descriptors(FILE_DESCRIPTOR_SET)
    }
}
