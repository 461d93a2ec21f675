//! The events of accounts, as other services read them.

use meshwork_api::meshwork::events::v1::{UserDeleted, UserErased, UserRegistered, UserUpdated};
use meshwork_events::outbox::NewEvent;
use prost::Message;
use prost_types::FieldMask;

use crate::domain::{User, UserEvent};

/// The version of the schemas of our events: none has changed yet.
const SCHEMA_VERSION: u16 = 1;

/// The type of the event of a deletion.
pub(super) const DELETED: &str = "user_deleted";
/// The type of the event that what was personal of an account is erased.
pub(super) const ERASED: &str = "user_erased";

/// The event that has made `user` what it is, for the outbox.
pub(super) fn encode(user: &User, event: &UserEvent) -> NewEvent {
    let name = user.name.to_string();
    let (event_type, data) = match event {
        UserEvent::Registered => (
            "user_registered",
            UserRegistered { user: name.clone(), role: user.role.as_str().to_owned() }.encode_to_vec(),
        ),
        UserEvent::Updated(fields) => {
            let paths = fields.iter().map(|field| field.as_str().to_owned()).collect();
            let changed = Some(FieldMask { paths });
            ("user_updated", UserUpdated { user: name.clone(), changed }.encode_to_vec())
        }
        UserEvent::Deleted => (DELETED, UserDeleted { user: name.clone() }.encode_to_vec()),
        UserEvent::Erased => (ERASED, UserErased { user: name.clone() }.encode_to_vec()),
    };
    NewEvent { event_type, schema_version: SCHEMA_VERSION, subject: name, version: user.version, data }
}
