//! Tests of retries and hedging.

mod hedge;
mod layer;
mod replay;
mod sequence;
mod support;
mod throttle;
