//! The gRPC methods: requests are checked and become commands and queries, what comes of these becomes responses.
//!
//! Who may call a method is said by its access option, which the server's layer holds every call against; nothing here
//! has an owner.

mod inventory;
mod products;

pub use inventory::InventoryGrpc;
pub use products::ProductsGrpc;

use meshwork_aip::Violations;
use meshwork_chassis::consistency::{ConsistencyToken, Freshness};
use tonic::{Request, Response, Status};

use crate::adapters::errors::DOMAIN;
use crate::ports::{Answer, Written};

/// The response for an answer, marked when it was given before.
fn respond<T, M>(written: &Written<Answer<T>>, convert: impl Fn(&T) -> M) -> Response<M> {
    let mut response = respond_written(written, |answer| convert(&answer.value));
    if written.value.replayed {
        meshwork_aip::request::mark_replay(&mut response);
    }
    response
}

/// The response for what was written, with the token of a read that shows it.
fn respond_written<T, M>(written: &Written<T>, convert: impl Fn(&T) -> M) -> Response<M> {
    let mut response = Response::new(convert(&written.value));
    ConsistencyToken { events: None, wal: written.position }.attach(&mut response);
    response
}

/// How fresh a list must be to show what its caller has written.
fn freshness_of_list<T>(request: &Request<T>, violations: &mut Violations) -> Freshness {
    ConsistencyToken::freshness_of_list(ConsistencyToken::of(request, violations))
}

/// A field was missing after the checks had passed.
fn unchecked() -> Status {
    meshwork_chassis::errors::internal(DOMAIN, &"a check of fields has let something through")
}
