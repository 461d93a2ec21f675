//! The names of streams, subjects and consumers.
//!
//! A subject is `orders.v1.<type>.p03`; what is published beside the order has `orders-repair.v1`. The aggregate is no part of it: the fence of NT-2 looks at every subject
//! that its filter matches.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Lane;

/// What is encoded within a token of a subject or a name.
const TOKEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
/// How long a token may be.
pub(super) const MAX_TOKEN_BYTES: usize = 255;

/// The names that belong to a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The stream, such as `ORDERS`.
    pub(super) stream: String,
    /// What the lane's events match that were published in order. Each publisher must spell it like this (NT-2).
    pub(super) published: String,
    /// What the lane's events match that were published beside them.
    pub(super) repaired: String,
    prefix: String,
    lane: String,
}

impl Names {
    pub(super) fn of(lane: &Lane) -> Self {
        let (stream, prefix) = (lane.stream.to_uppercase(), lane.stream.clone());
        let lane = format!("p{:02}", lane.partition);
        let published = format!("{prefix}.v1.*.{lane}");
        Self { stream, published, repaired: format!("{prefix}-repair.v1.*.{lane}"), prefix, lane }
    }

    /// Where an event of this type is published.
    pub(super) fn subject(&self, event_type: &str) -> String {
        format!("{}.v1.{}.{}", self.prefix, token(event_type), self.lane)
    }

    /// Where an event of this type is published when the lane has passed it.
    pub(super) fn repair_subject(&self, event_type: &str) -> String {
        format!("{}-repair.v1.{}.{}", self.prefix, token(event_type), self.lane)
    }

    /// The durable consumer of the lane.
    pub(super) fn consumer(&self, name: &str) -> String {
        format!("{}-{}", token(name), self.lane)
    }
}

/// The subjects of a stream's events.
pub(super) fn subjects(stream: &str) -> [String; 2] {
    [format!("{stream}.v1.>"), format!("{stream}-repair.v1.>")]
}

/// Whether a stream's name is one that we can give to the server.
pub(super) fn is_stream(stream: &str) -> bool {
    let clean = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=100).contains(&stream.len()) && stream.bytes().all(clean) && !stream.ends_with("-repair")
}

/// A text as a token of a subject: never empty, without what has a meaning there.
pub(super) fn token(text: &str) -> String {
    if text.is_empty() { "%".to_owned() } else { utf8_percent_encode(text, TOKEN).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(partition: u16) -> Names {
        Names::of(&Lane { stream: "order-lines".to_owned(), partition })
    }

    #[test]
    fn names_follow_the_lane() {
        let names = names(7);
        assert_eq!(names.stream, "ORDER-LINES");
        assert_eq!(names.published, "order-lines.v1.*.p07");
        assert_eq!(names.repaired, "order-lines-repair.v1.*.p07");
        assert_eq!(names.subject("order_created"), "order-lines.v1.order_created.p07");
        assert_eq!(names.repair_subject("a.b c>*"), "order-lines-repair.v1.a%2Eb%20c%3E%2A.p07");
        assert_eq!(names.subject(""), "order-lines.v1.%.p07");
        assert_eq!(names.consumer("products"), "products-p07");
        assert_eq!(self::names(255).published, "order-lines.v1.*.p255");
    }

    #[test]
    fn streams_have_plain_names() {
        assert!(is_stream("orders") && is_stream("order-lines2"));
        for name in ["", "Orders", "a.b", "a b", "a*", "orders-repair"] {
            assert!(!is_stream(name), "{name}");
        }
    }
}
