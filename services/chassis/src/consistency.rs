//! Reading one's own writes: what a command has done is told by a token, and a query that is given the token shows it.
//!
//! A command answers with its token in the response metadata [`TOKEN`]; a query that gets it back in request metadata of the
//! same name shows what the command has done. A token has up to two parts: the place of events, which what follows them must
//! have come to, and a position in a database's log, which a replica must have replayed. A query whose wait is in vain
//! answers all the same, and says so by [`STALE`].
//!
//! Callers may send the last token of any service to any service: each takes the parts that concern it and passes over the
//! others. A position in the log of another database is met by no replica, so that the read goes to the primary.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_aip::Violations;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response};

/// How fresh a read must be, and a place in a database's log: for ports, which don't know of databases.
pub use meshwork_sql::{Freshness, WalPosition};

use crate::config::Reads;

/// The metadata that carries a token, in responses to commands and in requests to queries.
pub const TOKEN: &str = "meshwork-consistency-token";

/// The response metadata of an answer that may lack what the caller's token tells of, or what can't be followed.
pub const STALE: &str = "meshwork-stale";

/// How many bytes a token has at most. Ours have 47; the rest is for parts that later releases add.
pub const MAX_TOKEN: usize = 96;

/// The first byte of a token of parts. One that has the place of events alone begins with a digit.
const FORM: u8 = 1;
/// The tag of the place of events.
const EVENTS: u8 = 1;
/// The tag of the position in a database's log.
const WAL: u8 = 2;

/// A token is none that a service gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a {TOKEN} that a command has answered, or be left out")]
pub struct InvalidToken;

/// The place of a command's events: whoever has read so far has seen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsPlace {
    /// The partition of the events.
    pub partition: u16,
    /// The position in the partition, from 1.
    pub n: i64,
}

/// What a caller has written, for queries that must show it.
///
/// Its text is one for equal tokens, in URL-safe base64: a form byte, then parts of tag, length and value, by ascending tags.
/// Parts whose tags aren't known are of a later release, and passed over. A token that has the place of events alone is written
/// as the first release did, `PARTITION.N`: while a service is brought to another release, each of both reads the other's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsistencyToken {
    /// The place of the events of an order.
    pub events: Option<EventsPlace>,
    /// What a replica must have replayed.
    pub wal: Option<WalPosition>,
}

impl From<EventsPlace> for ConsistencyToken {
    fn from(events: EventsPlace) -> Self {
        Self { events: Some(events), wal: None }
    }
}

impl From<WalPosition> for ConsistencyToken {
    fn from(wal: WalPosition) -> Self {
        Self { events: None, wal: Some(wal) }
    }
}

impl fmt::Display for ConsistencyToken {
    /// URL-safe text, opaque to callers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self { events: Some(EventsPlace { partition, n }), wal: None } = self {
            return f.write_str(&URL_SAFE_NO_PAD.encode(format!("{partition}.{n}")));
        }
        let mut bytes = vec![FORM];
        if let Some(EventsPlace { partition, n }) = self.events {
            bytes.extend([EVENTS, 10]);
            bytes.extend(partition.to_be_bytes());
            bytes.extend(n.to_be_bytes());
        }
        if let Some(wal) = self.wal {
            bytes.extend([WAL, 20]);
            bytes.extend(wal.to_bytes());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for ConsistencyToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if text.len() > MAX_TOKEN {
            return Err(InvalidToken);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken)?;
        let parsed = match bytes.split_first() {
            Some((&FORM, parts)) => parse_parts(parts),
            _ => parse_place_alone(&bytes).map(|token| (token, false)),
        };
        let (token, has_others) = parsed.ok_or(InvalidToken)?;
        // What is all ours has one text.
        if has_others || token.to_string() == text { Ok(token) } else { Err(InvalidToken) }
    }
}

/// A token of parts, of which there is at least one, and whether there are others than we know.
fn parse_parts(mut bytes: &[u8]) -> Option<(ConsistencyToken, bool)> {
    let (mut token, mut last, mut has_others) = (ConsistencyToken::default(), 0, false);
    while let Some((&tag, rest)) = bytes.split_first() {
        let (&length, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        if tag <= last {
            return None;
        }
        match tag {
            EVENTS => token.events = Some(parse_place(value)?),
            WAL => token.wal = Some(WalPosition::from_bytes(value)?),
            _ => has_others = true,
        }
        (last, bytes) = (tag, rest);
    }
    (last > 0).then_some((token, has_others))
}

fn parse_place(value: &[u8]) -> Option<EventsPlace> {
    let (partition, n) = value.split_first_chunk::<2>()?;
    let (partition, n) = (u16::from_be_bytes(*partition), i64::from_be_bytes(n.try_into().ok()?));
    (n >= 1).then_some(EventsPlace { partition, n })
}

/// A token that has the place of events alone: `PARTITION.N`.
fn parse_place_alone(bytes: &[u8]) -> Option<ConsistencyToken> {
    let (partition, n) = str::from_utf8(bytes).ok()?.split_once('.')?;
    let n = n.parse().ok().filter(|n| *n >= 1)?;
    Some(EventsPlace { partition: partition.parse().ok()?, n }.into())
}

impl ConsistencyToken {
    /// The token that a caller brings, if any.
    pub fn of<T>(request: &Request<T>, violations: &mut Violations) -> Option<Self> {
        let mut given = request.metadata().get_all(TOKEN).iter();
        let token = given.next()?.to_str().ok().and_then(|text| text.parse().ok());
        if token.is_none() || given.next().is_some() {
            violations.add(TOKEN, InvalidToken);
            return None;
        }
        token
    }

    /// Gives the token to the caller of a command; one without parts is not given.
    pub fn attach<T>(self, response: &mut Response<T>) {
        if self == Self::default() {
            return;
        }
        // The alphabet of a token is that of metadata.
        if let Ok(value) = self.to_string().parse() {
            response.metadata_mut().insert(TOKEN, value);
        }
    }

    /// The token that a command has answered with.
    pub fn answered(metadata: &MetadataMap) -> Option<Self> {
        metadata.get(TOKEN)?.to_str().ok()?.parse().ok()
    }

    /// A token for who has the answers of several commands; `other` is of the later one.
    ///
    /// Of two places in one partition the further one stays, of places in different ones the later command's. Two positions of
    /// logs that can't be compared, as of two databases, become one that no replica meets: the primary shows both.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let events = match (self.events, other.events) {
            (Some(one), Some(other)) if one.partition == other.partition && one.n > other.n => Some(one),
            (one, other) => other.or(one),
        };
        let wal = match (self.wal, other.wal) {
            (Some(one), Some(other)) if (one.system, one.timeline) == (other.system, other.timeline) => {
                Some(if one.lsn > other.lsn { one } else { other })
            }
            (Some(_), Some(_)) => Some(WalPosition::UNKNOWN),
            (one, other) => other.or(one),
        };
        Self { events, wal }
    }

    /// How fresh the read of one resource must be: what the caller has written is in it; else as `reads` has it.
    pub fn freshness_of_get(token: Option<Self>, reads: Reads) -> Freshness {
        match (token.and_then(|token| token.wal), reads) {
            (Some(wal), _) => Freshness::AtLeast(wal),
            (None, Reads::Primary) => Freshness::Latest,
            (None, Reads::Bounded) => Freshness::Bounded,
        }
    }

    /// How fresh a list must be: what the caller has written is in it; else it is within the bounds of lag.
    pub fn freshness_of_list(token: Option<Self>) -> Freshness {
        Self::freshness_of_get(token, Reads::Bounded)
    }
}

/// Says that an answer may lack what the caller's token tells of.
pub fn mark_stale<T>(response: &mut Response<T>) {
    response.metadata_mut().insert(STALE, MetadataValue::from_static("true"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(partition: u16, n: i64) -> ConsistencyToken {
        EventsPlace { partition, n }.into()
    }

    fn wal(system: u64, timeline: u32, lsn: u64) -> ConsistencyToken {
        WalPosition { system, timeline, lsn }.into()
    }

    fn encoded(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    proptest! {
        #[test]
        fn tokens_are_read_back(
            events in prop::option::of((any::<u16>(), 1..=i64::MAX)),
            wal in prop::option::of((any::<u64>(), any::<u32>(), any::<u64>())),
        ) {
            let token = ConsistencyToken {
                events: events.map(|(partition, n)| EventsPlace { partition, n }),
                wal: wal.map(|(system, timeline, lsn)| WalPosition { system, timeline, lsn }),
            };
            prop_assume!(token != ConsistencyToken::default());
            let text = token.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{}", text);
            prop_assert!(text.len() <= MAX_TOKEN);
            prop_assert_eq!(text.parse::<ConsistencyToken>(), Ok(token));
        }

        #[test]
        fn whatever_is_read_is_what_is_written(
            parts in prop::collection::vec((0..4_u8, prop_oneof![Just(10_usize), Just(20), 0..22_usize]), 0..4),
            filling: u8,
        ) {
            let mut bytes = vec![FORM];
            for (tag, length) in &parts {
                bytes.extend([*tag, u8::try_from(*length).unwrap()]);
                bytes.extend(vec![filling; *length]);
            }
            let (text, is_known) = (encoded(&bytes), parts.iter().all(|(tag, _)| *tag < 3));
            match text.parse::<ConsistencyToken>() {
                Ok(token) if is_known => prop_assert_eq!(token.to_string(), text),
                Ok(_) | Err(InvalidToken) => {}
            }
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let events = |n: i64| [&[EVENTS, 10, 0, 1][..], &n.to_be_bytes()[..]].concat();
        let wal = [&[WAL, 20][..], &[1; 20][..]].concat();
        let parts = |parts: &[&[u8]]| [&[FORM][..], &parts.concat()[..]].concat();
        assert!(encoded(&parts(&[&events(7), &wal])).parse::<ConsistencyToken>().is_ok());
        for bytes in [
            vec![],
            vec![2],
            parts(&[]),
            parts(&[&[EVENTS]]),
            parts(&[&[0, 0]]),
            parts(&[&wal[..wal.len() - 1]]),
            parts(&[&wal, &[3]]),
            // Twice, and in another order.
            parts(&[&wal, &wal]),
            parts(&[&wal, &events(7)]),
            // Of another length.
            parts(&[&[EVENTS, 11, 0, 1], &7_i64.to_be_bytes(), &[0], &wal]),
            parts(&[&[WAL, 19], &[1; 19]]),
            // No position, and one that has another text.
            parts(&[&events(0), &wal]),
            parts(&[&events(-1), &wal]),
            parts(&[&events(7)]),
        ] {
            assert_eq!(encoded(&bytes).parse::<ConsistencyToken>(), Err(InvalidToken), "{bytes:?}");
        }
        for text in ["=", "1.1", "MS4x=", " MS4x", "\u{e4}", "MS4x\n", "A".repeat(MAX_TOKEN + 1).as_str()] {
            assert_eq!(text.parse::<ConsistencyToken>(), Err(InvalidToken), "{text}");
        }
    }

    #[test]
    fn a_place_of_events_is_written_as_the_first_release_did() {
        for (text, token) in [
            ("0.1", place(0, 1)),
            ("15.1234", place(15, 1234)),
            ("65535.9223372036854775807", place(u16::MAX, i64::MAX)),
        ] {
            assert_eq!(encoded(text.as_bytes()).parse(), Ok(token), "{text}");
            assert_eq!(token.to_string(), encoded(text.as_bytes()));
        }
        for text in ["", ".", "1", "1.", ".1", "1.0", "1.-1", "-1.1", "01.1", "1.01", "+1.1", "65536.1", "1.1.1", "1.x"]
        {
            assert_eq!(encoded(text.as_bytes()).parse::<ConsistencyToken>(), Err(InvalidToken), "{text}");
        }
    }

    #[test]
    fn parts_of_later_releases_are_passed_over() {
        let token = ConsistencyToken { wal: wal(1, 2, 3).wal, ..place(3, 7) };
        let mut bytes = URL_SAFE_NO_PAD.decode(token.to_string()).unwrap();
        bytes.extend([9, 3, 1, 2, 3]);
        assert_eq!(encoded(&bytes).parse(), Ok(token));
    }

    #[test]
    fn a_callers_token_is_taken_from_its_metadata() {
        let token = place(3, 7);
        let mut response = Response::new(());
        ConsistencyToken::default().attach(&mut response);
        assert!(response.metadata().get(TOKEN).is_none(), "there is nothing to tell");
        token.attach(&mut response);
        assert_eq!(ConsistencyToken::answered(response.metadata()), Some(token));
        let read = |values: &[&str]| {
            let mut request = Request::new(());
            for value in values {
                request.metadata_mut().append(TOKEN, value.parse().unwrap());
            }
            let mut violations = Violations::new();
            let token = ConsistencyToken::of(&request, &mut violations);
            (token, violations.finish("tests.meshwork.dev").is_ok())
        };
        let text = token.to_string();
        assert_eq!(read(&[]), (None, true));
        assert_eq!(read(&[&text]), (Some(token), true));
        assert_eq!(read(&["?"]), (None, false));
        assert_eq!(read(&[&text, &text]), (None, false), "one token is one place");
    }

    #[test]
    fn a_read_is_as_fresh_as_its_token_and_the_settings_ask_for() {
        let position = WalPosition { system: 1, timeline: 2, lsn: 3 };
        let (with, without) = (Some(ConsistencyToken::from(position)), Some(place(0, 1)));
        for reads in [Reads::Primary, Reads::Bounded] {
            assert_eq!(ConsistencyToken::freshness_of_get(with, reads), Freshness::AtLeast(position));
        }
        // A token of a service without this part asks for no more than none.
        for token in [None, without] {
            assert_eq!(ConsistencyToken::freshness_of_get(token, Reads::Primary), Freshness::Latest);
            assert_eq!(ConsistencyToken::freshness_of_get(token, Reads::Bounded), Freshness::Bounded);
            assert_eq!(ConsistencyToken::freshness_of_list(token), Freshness::Bounded);
        }
        assert_eq!(ConsistencyToken::freshness_of_list(with), Freshness::AtLeast(position));
    }

    #[test]
    fn tokens_of_several_commands_become_one() {
        let none = ConsistencyToken::default();
        let both = place(3, 7).merge(wal(1, 1, 9));
        assert_eq!((both.events, both.wal), (place(3, 7).events, wal(1, 1, 9).wal));
        for (one, other, merged) in [
            (none, none, none),
            (none, both, both),
            (both, none, both),
            (place(3, 7), place(3, 5), place(3, 7)),
            (place(3, 5), place(3, 7), place(3, 7)),
            (place(3, 7), place(2, 1), place(2, 1)),
            (wal(1, 1, 9), wal(1, 1, 5), wal(1, 1, 9)),
            (wal(1, 1, 5), wal(1, 1, 9), wal(1, 1, 9)),
            (wal(1, 1, 9), wal(2, 1, 5), WalPosition::UNKNOWN.into()),
            (wal(1, 1, 9), wal(1, 2, 9), WalPosition::UNKNOWN.into()),
            (WalPosition::UNKNOWN.into(), wal(1, 1, 5), WalPosition::UNKNOWN.into()),
        ] {
            assert_eq!(one.merge(other), merged, "{one:?} {other:?}");
        }
    }
}
