//! What makes commands the same when they come again.

use meshwork_chassis::request::RequestKey;
use uuid::Uuid;

use crate::ports::CommandKey;

/// The id under which a command is stored: the request's, else a new one.
pub(super) fn command_id(verb: &str, request: Option<&RequestKey>) -> String {
    match request {
        Some(request) => format!("{verb}/{}/{}", request.principal, request.id),
        None => format!("{verb}/{}", Uuid::new_v4()),
    }
}

/// The key of the command with this id. Without a request the id is new, or our own and tells what is asked for.
pub(super) fn command_key(id: String, request: Option<&RequestKey>) -> CommandKey {
    match request {
        Some(request) => CommandKey { id, hash: request.hash, request: Some(request.clone()) },
        None => CommandKey::told_by(id),
    }
}
