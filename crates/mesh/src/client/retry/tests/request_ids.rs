//! Requests that come in pieces, and the request id in them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use tonic::Status;
use tonic::body::Body;

use crate::client::retry::{Buffers, Repeatable, RequestIdRule, RequestIds};
use crate::policy::RequestIdField;

/// One message, whose field 3 is "id".
const FRAME: &[u8] = b"\0\0\0\0\x06\x08\x01\x1a\x02id";

/// Whether a call may be repeated whose request comes as these pieces and then ends, or doesn't.
fn may_repeat(pieces: &[&[u8]], ends: bool) -> bool {
    let pieces: Vec<_> =
        pieces.iter().map(|piece| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let body = if ends {
        Body::new(StreamBody::new(stream::iter(pieces)))
    } else {
        Body::new(StreamBody::new(stream::iter(pieces).chain(stream::pending())))
    };
    let field = RequestIdField { number: 3, required: true };
    let rule = RequestIdRule::new(field, RequestIds::Require, None);
    let buffers = Arc::new(Buffers::default());
    let request = Repeatable::new(http::Request::new(body), &buffers, Some(rule));
    request.may_repeat()
}

#[test]
fn e4_an_id_is_seen_in_a_request_that_comes_in_pieces_once_all_of_it_is_there() {
    assert!(may_repeat(&[FRAME], true));
    for at in 1..FRAME.len() {
        let (left, right) = FRAME.split_at(at);
        assert!(may_repeat(&[left, right], true), "{at}");
        assert!(may_repeat(&[left, right], false), "{at}: its length says that it is whole");
        assert!(!may_repeat(&[left], false), "{at}");
        assert!(!may_repeat(&[left], true), "{at}");
    }
    assert!(!may_repeat(&[], true));
}
