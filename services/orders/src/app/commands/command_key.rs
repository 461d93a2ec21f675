//! What makes commands the same when they come again.

use std::fmt::Debug;

use meshwork_chassis::request::{self, RequestKey};
use uuid::Uuid;

use crate::ports::CommandKey;

/// The id under which a command is stored: the request's, else a new one.
pub(super) fn command_id(verb: &str, request: Option<&RequestKey>) -> String {
    match request {
        Some(request) => format!("{verb}/{}/{}", request.principal, request.id),
        None => format!("{verb}/{}", Uuid::new_v4()),
    }
}

/// The key of the command with this id: its hash is the request's, else that of what is `asked`. That is hashed as the debug
/// format shows it: without a request an id is new, or our own and comes again from this release.
pub(super) fn command_key(id: String, request: Option<&RequestKey>, asked: &impl Debug) -> CommandKey {
    let hash = request.map_or_else(|| request::hash(&format!("{asked:?}")), |request| request.hash);
    CommandKey { id, hash, request: request.cloned() }
}
