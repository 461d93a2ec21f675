//! Notifications as contracts carry them.

use meshwork_aip::filter;
use meshwork_api::meshwork::notifications::v1 as pb;
use meshwork_chassis::clock::timestamp;

use crate::domain::{Notification, State, UnknownState};

/// What is said of a notification of which only the columns can be read.
const UNREADABLE: &str = "its content can't be read by this release";

/// The notification as callers see it.
pub fn to_proto(notification: &Notification) -> pb::Notification {
    let reason: &str = if notification.occasion.is_some() { &notification.state_reason } else { UNREADABLE };
    pb::Notification {
        name: notification.name(),
        recipient: notification.recipient.to_string(),
        template: notification.template.clone(),
        about: notification.about.clone(),
        event_id: notification.event_id.clone(),
        subject: notification.subject.clone(),
        state: state_to_proto(notification.state).into(),
        state_reason: reason.to_owned(),
        attempts: i32::try_from(notification.attempts).unwrap_or(i32::MAX),
        create_time: Some(timestamp(notification.create_time)),
        send_time: notification.send_time.map(timestamp),
    }
}

/// The state that a filter names, as `SENT` or as `STATE_SENT`.
///
/// # Errors
/// When there is no such state.
pub fn state_from_word(word: &str) -> Result<State, UnknownState> {
    let by_name = |name: &str| State::ALL.into_iter().find(|state| state_to_proto(*state).as_str_name() == name);
    filter::enum_value(word, "STATE_", by_name).ok_or(UnknownState)
}

fn state_to_proto(state: State) -> pb::notification::State {
    match state {
        State::Pending => pb::notification::State::Pending,
        State::Sending => pb::notification::State::Sending,
        State::Sent => pb::notification::State::Sent,
        State::Failed => pb::notification::State::Failed,
    }
}
