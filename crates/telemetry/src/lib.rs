//! What a process measures of itself, by OpenTelemetry, and as Prometheus scrapes it.
//!
//! ```
//! use meshwork_telemetry::{KeyValue, Telemetry};
//!
//! # fn main() -> Result<(), meshwork_telemetry::TelemetryError> {
//! let telemetry = Telemetry::builder().build()?;
//! let calls = telemetry.meter("example").u64_counter("calls").build();
//! calls.add(2, &[KeyValue::new("method", "Get")]);
//! assert!(telemetry.prometheus()?.contains("calls_total{method=\"Get\"} 2\n"));
//! # Ok(()) }
//! ```
//!
//! Nothing is global: a meter belongs to the [`Telemetry`] that gave it, and what nobody gives a meter to measures nothing.

mod exporter;

pub use opentelemetry::KeyValue;
pub use opentelemetry::metrics::Meter;

pub use self::exporter::{Telemetry, TelemetryBuilder, TelemetryError};
