//! Statuses that tonic could not read.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::super::repair::repair_status;
use super::*;

fn with_message(code: u32, message: &[u8]) -> HeaderMap {
    let mut headers = trailers(code);
    headers.insert("grpc-message", HeaderValue::from_bytes(message).unwrap());
    headers
}

fn read(headers: &HeaderMap) -> (Code, String) {
    let status = Status::from_header_map(headers).unwrap();
    (status.code(), status.message().to_owned())
}

/// What servers send, and what is read of it.
const MESSAGES: [(&[u8], &str); 7] = [
    (b"caf%E9", "caf\u{fffd}"),
    (b"caf\xe9 is closed", "caf\u{fffd} is closed"),
    (b"%ff%fe%41", "\u{fffd}\u{fffd}A"),
    (b"caf%C3%A9", "caf\u{e9}"),
    ("caf\u{e9}".as_bytes(), "caf\u{e9}"),
    (b"100 % of %zz at the end %", "100 % of %zz at the end %"),
    (b"plain", "plain"),
];

#[tokio::test(start_paused = true)]
async fn c22_a_message_that_is_not_utf_8_does_not_cost_the_status_in_trailers() {
    let mut pair = pair().await;
    for (sent, expected) in MESSAGES {
        let (exchange, mut respond) = pair.call().await;
        let mut stream = respond.send_response(headers(), false).unwrap();
        stream.send_trailers(with_message(5, sent)).unwrap();
        let mut body = pair.during(exchange).await.unwrap().into_body();
        let end = pair.during(frame(&mut body)).await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(read(&end), (Code::NotFound, expected.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn c22_nor_in_a_trailers_only_response() {
    let mut pair = pair().await;
    for (sent, expected) in MESSAGES {
        let (exchange, mut respond) = pair.call().await;
        let mut response = headers();
        response.headers_mut().extend(with_message(5, sent));
        respond.send_response(response, true).unwrap();
        let response = pair.during(exchange).await.unwrap();
        assert_eq!(read(response.headers()), (Code::NotFound, expected.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn details_that_are_not_base64_are_dropped() {
    let mut pair = pair().await;
    let (exchange, mut respond) = pair.call().await;
    let mut stream = respond.send_response(headers(), false).unwrap();
    let mut end = trailers(3);
    end.insert("grpc-status-details-bin", "!!!".parse().unwrap());
    stream.send_trailers(end).unwrap();
    let mut body = pair.during(exchange).await.unwrap().into_body();
    let end = pair.during(frame(&mut body)).await.unwrap().unwrap().into_trailers().unwrap();
    assert!(end.contains_key("grpc-status") && !end.contains_key("grpc-status-details-bin"));
}

proptest! {
    #[test]
    fn c22_whatever_the_message_the_code_stays(message in prop::collection::vec(0x20_u8..=0xff, 0..40)) {
        prop_assume!(!message.contains(&0x7f));
        let mut headers = with_message(5, &message);
        repair_status(&mut headers);
        let (code, text) = read(&headers);
        prop_assert_eq!(code, Code::NotFound);
        // What tonic could read is not changed in meaning, and to mend twice is to mend once.
        let mut again = headers.clone();
        repair_status(&mut again);
        prop_assert_eq!(&again, &headers);
        let plain = with_message(5, &message);
        if let Some(status) = Status::from_header_map(&plain)
            && status.code() == Code::NotFound
        {
            prop_assert_eq!(text, status.message());
        }
    }

    /// What carries no status is left alone.
    #[test]
    fn c22_headers_without_a_status_stay_as_they_are(message in prop::collection::vec(0x20_u8..=0x7e, 0..40)) {
        let mut headers = with_message(5, &message);
        headers.remove(HeaderName::from_static("grpc-status"));
        headers.insert("x-other", "1".parse().unwrap());
        let before = headers.clone();
        repair_status(&mut headers);
        prop_assert_eq!(headers, before);
    }
}
