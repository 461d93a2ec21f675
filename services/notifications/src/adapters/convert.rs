//! Notifications as contracts carry them.

use meshwork_api::meshwork::notifications::v1 as pb;
use meshwork_chassis::clock::timestamp;

use crate::domain::{Notification, State};

/// What is said of a notification of which only the columns can be read.
const UNREADABLE: &str = "its content can't be read by this release";

/// The notification as callers see it.
pub fn to_proto(notification: Notification) -> pb::Notification {
    let state = match notification.state {
        State::Pending => pb::notification::State::Pending,
        State::Sending => pb::notification::State::Sending,
        State::Sent => pb::notification::State::Sent,
        State::Failed => pb::notification::State::Failed,
    };
    pb::Notification {
        name: notification.name(),
        recipient: notification.recipient.to_string(),
        template: notification.template,
        about: notification.about,
        event_id: notification.event_id,
        subject: notification.subject,
        state: state.into(),
        state_reason: if notification.occasion.is_some() { notification.state_reason } else { UNREADABLE.to_owned() },
        attempts: i32::try_from(notification.attempts).unwrap_or(i32::MAX),
        create_time: Some(timestamp(notification.create_time)),
        send_time: notification.send_time.map(timestamp),
    }
}
