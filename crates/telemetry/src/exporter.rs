//! The provider of meters, and the text that Prometheus scrapes.

use std::num::NonZeroUsize;

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};

/// The most series of one instrument, unless it is said otherwise: the default of OpenTelemetry's specification.
const SERIES: NonZeroUsize = NonZeroUsize::new(2000).unwrap();

/// Metrics can't be set up or shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The exporter can't be set up.
    #[error("metrics can't be exported: {0}")]
    Exporter(#[source] OTelSdkError),
    /// What was measured has no form of Prometheus.
    #[error("metrics can't be written for Prometheus: {0}")]
    Text(#[source] prometheus::Error),
}

/// How metrics are kept.
#[derive(Clone, Copy, Debug)]
pub struct TelemetryBuilder {
    series: NonZeroUsize,
}

impl TelemetryBuilder {
    /// The most series of one instrument: combinations of attributes. What comes beyond them counts in one series with the label
    /// `otel_metric_overflow`. 2,000 unless this says otherwise.
    ///
    /// ```
    /// # use std::num::NonZeroUsize;
    /// # use meshwork_telemetry::Telemetry;
    /// let builder = Telemetry::builder().series(NonZeroUsize::new(500).unwrap());
    /// ```
    #[must_use]
    pub fn series(self, most: NonZeroUsize) -> Self {
        Self { series: most }
    }

    /// Metrics by these settings.
    ///
    /// # Errors
    /// When the exporter can't be set up.
    pub fn build(self) -> Result<Telemetry, TelemetryError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(TelemetryError::Exporter)?;
        let series = self.series.get();
        // Bounds of histograms stay the instrument's own.
        let limited = move |_: &Instrument| Stream::builder().with_cardinality_limit(series).build().ok();
        let provider = SdkMeterProvider::builder().with_reader(exporter).with_view(limited).build();
        Ok(Telemetry { provider, registry })
    }
}

/// The metrics of a process. Clones are the same.
#[derive(Clone, Debug)]
pub struct Telemetry {
    provider: SdkMeterProvider,
    registry: Registry,
}

impl Telemetry {
    /// Metrics with the default settings, until the builder is told others.
    pub fn builder() -> TelemetryBuilder {
        TelemetryBuilder { series: SERIES }
    }

    /// What measures for the part `name` of the program. Instruments of one name are one instrument in all meters of that name.
    pub fn meter(&self, name: &'static str) -> Meter {
        self.provider.meter(name)
    }

    /// All that was measured until now, in the exposition format of Prometheus, text 0.0.4. Empty when nothing was.
    ///
    /// # Errors
    /// When two instruments of one name don't go together.
    pub fn prometheus(&self) -> Result<String, TelemetryError> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(TelemetryError::Text)
    }
}
