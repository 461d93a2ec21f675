//! What the access log takes of the head of a request, each of a bounded size.

use std::fmt::Write as _;

use http::header::USER_AGENT;
use http::{HeaderMap, Method};
use uuid::Uuid;

/// The most characters of a user agent, before those are escaped that would end a line.
const MAX_USER_AGENT: usize = 128;

/// The bits of a random number by which requests are sampled: as many as a float holds.
const SAMPLE_BITS: u32 = 53;

/// The id of a request: that of the trace which `traceparent` names, where it is well-formed (W3C Trace Context), or else
/// `fresh`.
pub(super) fn request_id(headers: &HeaderMap, fresh: Uuid) -> String {
    let mut parents = headers.get_all("traceparent").iter();
    let trace = match (parents.next(), parents.next()) {
        (Some(parent), None) => parent.to_str().ok().and_then(trace_of),
        _ => None,
    };
    trace.map_or_else(|| fresh.simple().to_string(), str::to_owned)
}

/// The trace of a `traceparent`.
fn trace_of(parent: &str) -> Option<&str> {
    let is_hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, digits: usize| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
    let mut parts = parent.splitn(5, '-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // A later version may tell more behind its flags.
    let is_version = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    (is_version && is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2)).then_some(trace)
}

/// Whether a request is one of the `share` that is logged; `fresh` is random.
pub(super) fn is_sampled(share: f64, fresh: Uuid) -> bool {
    let random = fresh.as_u128() & ((1 << SAMPLE_BITS) - 1);
    (random as f64) < share * (1_u64 << SAMPLE_BITS) as f64
}

/// The start of the user agent.
pub(super) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(USER_AGENT)?;
    let mut cut = String::new();
    for character in String::from_utf8_lossy(value.as_bytes()).chars().take(MAX_USER_AGENT) {
        if character.is_control() {
            let _ = write!(cut, "{}", character.escape_default());
        } else {
            cut.push(character);
        }
    }
    Some(cut)
}

/// A method of HTTP by its name; one that nothing is asked by is no name of the log's.
pub(super) fn method_name(method: &Method) -> &'static str {
    const NAMED: [(&Method, &str); 7] = [
        (&Method::GET, "GET"),
        (&Method::HEAD, "HEAD"),
        (&Method::POST, "POST"),
        (&Method::PUT, "PUT"),
        (&Method::PATCH, "PATCH"),
        (&Method::DELETE, "DELETE"),
        (&Method::OPTIONS, "OPTIONS"),
    ];
    NAMED.iter().find(|(named, _)| *named == method).map_or("other", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_request_has_the_id_of_its_trace_or_one_of_its_own() {
        let fresh = Uuid::from_u128(7);
        let id = |parents: &[&str]| {
            let mut headers = HeaderMap::new();
            for parent in parents {
                headers.append("traceparent", HeaderValue::from_str(parent).unwrap());
            }
            request_id(&headers, fresh)
        };
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(id(&[&good]), TRACE);
        assert_eq!(id(&[&format!("01-{TRACE}-00f067aa0ba902b7-01-more")]), TRACE);
        let own = "00000000000000000000000000000007";
        let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let others = [vec![], vec![good.as_str(), &good], vec![&good[1..]], vec![zero.as_str()], vec!["evil"]];
        for parents in others {
            assert_eq!(id(&parents), own, "{parents:?}");
        }
        assert_eq!(id(&[&format!("{good}-more")]), own);
        assert_eq!(id(&[&good.to_uppercase()]), own);
    }

    #[test]
    fn a_share_of_requests_is_sampled() {
        let count = |share| (0..10_000).filter(|_| is_sampled(share, Uuid::new_v4())).count();
        assert_eq!((count(0.0), count(1.0)), (0, 10_000));
        assert!((1..10_000).contains(&count(0.5)));
        assert!(!is_sampled(0.5, Uuid::from_u128(1 << 52)) && is_sampled(0.5, Uuid::from_u128((1 << 52) - 1)));
    }

    #[test]
    fn a_user_agent_is_cut_and_breaks_no_line() {
        let agent = |value: &[u8]| {
            let value = HeaderValue::from_bytes(value).unwrap();
            user_agent(&HeaderMap::from_iter([(USER_AGENT, value)])).unwrap()
        };
        assert_eq!(agent(b"curl/8"), "curl/8");
        assert_eq!(agent(&[b'a'; 5000]), "a".repeat(MAX_USER_AGENT));
        assert_eq!(agent(b"a\tb"), "a\\tb");
        // NEL and a bare C1 control end lines in some terminals.
        assert_eq!(agent("a\u{85}b".as_bytes()), "a\\u{85}b");
        assert_eq!(agent(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn methods_have_their_names_and_inventions_have_none() {
        assert_eq!(method_name(&Method::PATCH), "PATCH");
        assert_eq!(method_name(&Method::from_bytes(b"INVENTED").unwrap()), "other");
    }
}
