//! Tests of retries and hedging.

mod hedge;
mod layer;
mod replay;
mod request_ids;
mod sequence;
mod support;
mod throttle;
