//! Reading one's own writes: what a command has done is told by a token, and a query that is given the token shows it.
//!
//! Queries read what follows the events with a short delay. A command answers with the place of its events in the
//! response metadata [`TOKEN`]; a query that gets it back in request metadata of the same name waits until what it reads
//! has come there. Where the wait is in vain it answers all the same, and says so by [`STALE`].

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response};

use crate::validate::Violations;

/// The metadata that carries a token, in responses to commands and in requests to queries.
pub const TOKEN: &str = "meshwork-consistency-token";

/// The response metadata of an answer that may lack what the caller's token tells of, or what can't be followed.
pub const STALE: &str = "meshwork-stale";

/// How many bytes a token has at most: the base64 of two numbers of 5 and 19 digits and a dot.
const MAX_TOKEN: usize = 34;

/// A token is none that a service gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a {TOKEN} that a command of this service answered, or be left out")]
pub struct InvalidToken;

/// The place of a command's events: whoever has read so far has seen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsistencyToken {
    /// The partition of the events.
    pub partition: u16,
    /// The position in the partition, from 1.
    pub n: i64,
}

impl fmt::Display for ConsistencyToken {
    /// URL-safe text, opaque to callers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{}.{}", self.partition, self.n)))
    }
}

impl FromStr for ConsistencyToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if text.len() > MAX_TOKEN {
            return Err(InvalidToken);
        }
        let place = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let place = place.ok_or(InvalidToken)?;
        let (partition, n) = place.split_once('.').ok_or(InvalidToken)?;
        let token = Self {
            partition: partition.parse().map_err(|_| InvalidToken)?,
            n: n.parse().ok().filter(|n| *n >= 1).ok_or(InvalidToken)?,
        };
        // A number can be written in several ways; we write it in one.
        if token.to_string() == text { Ok(token) } else { Err(InvalidToken) }
    }
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

    /// Gives the token to the caller of a command.
    pub fn attach<T>(self, response: &mut Response<T>) {
        // The alphabet of a token is that of metadata.
        if let Ok(value) = self.to_string().parse() {
            response.metadata_mut().insert(TOKEN, value);
        }
    }

    /// The token that a command has answered with.
    pub fn answered(metadata: &MetadataMap) -> Option<Self> {
        metadata.get(TOKEN)?.to_str().ok()?.parse().ok()
    }
}

/// Says that an answer may lack what the caller's token tells of.
pub fn mark_stale<T>(response: &mut Response<T>) {
    response.metadata_mut().insert(STALE, MetadataValue::from_static("true"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back_and_nothing_else_is() {
        for token in [
            ConsistencyToken { partition: 0, n: 1 },
            ConsistencyToken { partition: 15, n: 1234 },
            ConsistencyToken { partition: u16::MAX, n: i64::MAX },
        ] {
            let text = token.to_string();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
            assert_eq!(text.parse(), Ok(token));
        }
        for place in
            ["", ".", "1", "1.", ".1", "1.0", "1.-1", "-1.1", "01.1", "1.01", "+1.1", "65536.1", "1.1.1", "1.x"]
        {
            let text = URL_SAFE_NO_PAD.encode(place);
            assert_eq!(text.parse::<ConsistencyToken>(), Err(InvalidToken), "{place}");
        }
        for text in ["=", "1.1", "MS4x=", " MS4x", "\u{e4}"] {
            assert_eq!(text.parse::<ConsistencyToken>(), Err(InvalidToken), "{text}");
        }
    }

    #[test]
    fn a_callers_token_is_taken_from_its_metadata() {
        let token = ConsistencyToken { partition: 3, n: 7 };
        let mut response = Response::new(());
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
}
