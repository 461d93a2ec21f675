//! The gRPC methods: requests are checked and become commands and queries, what comes of these becomes responses.
//!
//! Who may call a method is said by its access option, which the server's layer holds every call against; nothing here
//! has an owner.

mod inventory;
mod products;

pub use inventory::InventoryGrpc;
pub use products::ProductsGrpc;

use tonic::{Response, Status};

use crate::adapters::errors::DOMAIN;
use crate::ports::Answer;

/// The response for an answer, marked when it was given before.
fn respond<T, M>(answer: &Answer<T>, convert: impl Fn(&T) -> M) -> Response<M> {
    let mut response = Response::new(convert(&answer.value));
    if answer.replayed {
        meshwork_chassis::request::mark_replay(&mut response);
    }
    response
}

/// A field was missing after the checks had passed.
fn unchecked() -> Status {
    meshwork_chassis::errors::internal(DOMAIN, &"a check of fields has let something through")
}
