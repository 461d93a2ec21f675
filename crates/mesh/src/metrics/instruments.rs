//! The instruments, with the names, units and bounds of gRFC A66 and A96.

use opentelemetry::metrics::{Counter, Histogram, Meter};

/// The upper bounds of the buckets of times, in seconds.
const SECONDS: &[f64] = &[
    0.0, 0.000_01, 0.000_05, 0.000_1, 0.000_3, 0.000_6, 0.000_8, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01,
    0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8,
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0,
];
/// Those of sizes, in bytes.
const BYTES: &[f64] = &[
    0.0,
    1024.0,
    2048.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
];
/// Those of attempts beyond the first; a policy allows four.
const ATTEMPTS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0];

/// What a server measures.
pub(super) struct ServerInstruments {
    pub(super) started: Counter<u64>,
    pub(super) duration: Histogram<f64>,
    pub(super) sent: Histogram<u64>,
    pub(super) received: Histogram<u64>,
}

impl ServerInstruments {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            started: counter(
                meter,
                "grpc.server.call.started",
                "{call}",
                "The calls that have begun, those that were refused among them.",
            ),
            duration: seconds(
                meter,
                "grpc.server.call.duration",
                "How long a call took from its headers to the last byte of its answer.",
            ),
            sent: histogram(
                meter,
                "grpc.server.call.sent_total_compressed_message_size",
                "By",
                BYTES,
                "The bytes of all messages of an answer, compressed if they were, without framing.",
            ),
            received: histogram(
                meter,
                "grpc.server.call.rcvd_total_compressed_message_size",
                "By",
                BYTES,
                "The bytes of all messages of a request that were read, compressed if they were, without framing.",
            ),
        }
    }
}

/// What a channel measures.
pub(super) struct ClientInstruments {
    pub(super) attempt_started: Counter<u64>,
    pub(super) attempt_duration: Histogram<f64>,
    pub(super) sent: Histogram<u64>,
    pub(super) received: Histogram<u64>,
    pub(super) call_duration: Histogram<f64>,
    pub(super) retries: Histogram<u64>,
    pub(super) transparent_retries: Histogram<u64>,
    pub(super) hedges: Histogram<u64>,
    pub(super) retry_delay: Histogram<f64>,
}

impl ClientInstruments {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            attempt_started: counter(
                meter,
                "grpc.client.attempt.started",
                "{attempt}",
                "The attempts that have begun, those that wait for a server among them.",
            ),
            attempt_duration: seconds(
                meter,
                "grpc.client.attempt.duration",
                "How long an attempt took, with its wait for a server.",
            ),
            sent: histogram(
                meter,
                "grpc.client.attempt.sent_total_compressed_message_size",
                "By",
                BYTES,
                "The bytes of all messages that an attempt sent, compressed if they were, without framing.",
            ),
            received: histogram(
                meter,
                "grpc.client.attempt.rcvd_total_compressed_message_size",
                "By",
                BYTES,
                "The bytes of all messages that an attempt was answered with, compressed if they were, without framing.",
            ),
            call_duration: seconds(
                meter,
                "grpc.client.call.duration",
                "How long a call took for its caller, with all its attempts and the waits between them.",
            ),
            retries: histogram(
                meter,
                "grpc.client.call.retries",
                "{retry}",
                ATTEMPTS,
                "The retries of a call by its policy, of calls that had some.",
            ),
            transparent_retries: histogram(
                meter,
                "grpc.client.call.transparent_retries",
                "{transparent_retry}",
                ATTEMPTS,
                "The retries of a call that had not reached a server's application, of calls that had some.",
            ),
            hedges: histogram(
                meter,
                "grpc.client.call.hedges",
                "{hedge}",
                ATTEMPTS,
                "The hedges of a call, of calls that had some.",
            ),
            retry_delay: seconds(
                meter,
                "grpc.client.call.retry_delay",
                "How long no attempt of a call was under way between two of them, of calls that waited.",
            ),
        }
    }
}

fn counter(meter: &Meter, name: &'static str, unit: &'static str, what: &'static str) -> Counter<u64> {
    meter.u64_counter(name).with_unit(unit).with_description(what).build()
}

fn seconds(meter: &Meter, name: &'static str, what: &'static str) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_description(what).with_boundaries(SECONDS.to_vec()).build()
}

fn histogram(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    bounds: &[f64],
    what: &'static str,
) -> Histogram<u64> {
    meter.u64_histogram(name).with_unit(unit).with_description(what).with_boundaries(bounds.to_vec()).build()
}
