//! The steps of a call as tower layers, for services that stand on another server: thin shells over what the pipeline uses.

mod arrival;
mod client_address;
mod deadline;
mod drain;
mod load_shed;
mod message_size;
mod panic_guard;
mod status_size;
mod telemetry;

pub(in crate::server) use self::arrival::FIRST_MESSAGE;
pub use self::arrival::{ArrivalFuture, ArrivalLayer, ArrivalService};
pub use self::client_address::{ClientAddressLayer, ClientAddressService};
pub use self::deadline::{ServerDeadlineBody, ServerDeadlineFuture, ServerDeadlineLayer, ServerDeadlineService};
pub use self::drain::{DrainBody, DrainFuture, DrainLayer, DrainService};
pub use self::load_shed::{LoadShedFuture, LoadShedLayer, LoadShedService, Place};
pub use self::message_size::{MessageSizeFuture, MessageSizeLayer, MessageSizeService, SizedRequest, SizedResponse};
pub use self::panic_guard::{PanicGuardBody, PanicGuardFuture, PanicGuardLayer, PanicGuardService};
pub use self::status_size::{StatusSizeBody, StatusSizeFuture, StatusSizeLayer, StatusSizeService};
pub use self::telemetry::{CallTracker, TelemetryFuture, TelemetryLayer, TelemetryService};
