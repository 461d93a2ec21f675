//! `X-Forwarded-For`: the addresses that a call has come by, each added at the right end by the next proxy.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};

/// The header. It is no standard; RFC 7239 calls its own `Forwarded`.
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// So many entries are looked at, and so many bytes: the rest was written by nobody who is trusted, or by too many.
const ENTRIES: usize = 32;
const BYTES: usize = 4096;

/// The client of a call that came from a trusted proxy: the right-most address that is none of a trusted one. What is no address,
/// or too much, ends the walk; then it is the last trusted proxy that was met. `None` when that is the peer itself.
pub(super) fn client(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let (mut bytes, mut last) = (0, None);
    // All values are one list (RFC 9110, section 5.3).
    let entries = headers.get_all(FORWARDED_FOR).iter().rev().flat_map(|value| {
        let mut rest = Some(value.as_bytes());
        std::iter::from_fn(move || {
            let list = rest?;
            // An entry longer than all that is looked at is as good as one that is none.
            let tail = list.get(list.len().saturating_sub(BYTES)..).unwrap_or_default();
            let comma = tail.iter().rposition(|byte| *byte == b',').map(|place| list.len() - tail.len() + place);
            rest = comma.and_then(|comma| list.get(..comma));
            Some(comma.map_or(tail, |comma| list.get(comma + 1..).unwrap_or_default()))
        })
    });
    for entry in entries.take(ENTRIES) {
        bytes += entry.len() + 1;
        let entry = entry.trim_ascii();
        // A list may have empty elements (RFC 9110, section 5.6.1).
        if entry.is_empty() && bytes <= BYTES {
            continue;
        }
        let Some(address) = address(entry).filter(|_| bytes <= BYTES) else { break };
        last = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    last
}

/// An address as proxies write it: alone, in brackets, with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse::<IpAddr>().ok().or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn is_trusted(address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if address.octets()[0] == 10)
    }

    fn of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        client(&headers, is_trusted).map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_who_came_to_the_first_trusted_proxy_whatever_it_has_said() {
        for (values, client) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            // What the client has written stands in front.
            (&["1.1.1.1, 192.0.2.1"], Some("192.0.2.1")),
            (&["10.0.0.9, 192.0.2.1"], Some("192.0.2.1")),
            (&["1.1.1.1", "192.0.2.1, 10.0.0.1"], Some("192.0.2.1")),
            (&["1.1.1.1, 192.0.2.1", "10.0.0.2", "10.0.0.1"], Some("192.0.2.1")),
            // All are ours: the first of them calls for itself.
            (&["10.0.0.2, 10.0.0.1"], Some("10.0.0.2")),
            (&["192.0.2.1:5555"], Some("192.0.2.1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["[2001:db8::1]:5555"], Some("2001:db8::1")),
            (&["::ffff:192.0.2.1, ::ffff:10.0.0.1"], Some("192.0.2.1")),
            (&["192.0.2.1,\t10.0.0.1 , ,"], Some("192.0.2.1")),
            // Nothing behind what is none is believed.
            (&["192.0.2.1, unknown, 10.0.0.1"], Some("10.0.0.1")),
            (&["192.0.2.1, _hidden"], None),
            (&["192.0.2.1, 10.0.0.256"], None),
            (&["192.0.2.1:99999"], None),
            (&["192.0.2.1 10.0.0.1"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(of(values).as_deref(), client, "{values:?}");
        }
    }

    #[test]
    fn no_more_than_some_entries_and_bytes_are_looked_at() {
        let behind = |count: usize| format!("192.0.2.1{}", ", 10.0.0.1".repeat(count));
        assert_eq!(of(&[&behind(ENTRIES - 1)]).as_deref(), Some("192.0.2.1"));
        assert_eq!(of(&[&behind(ENTRIES)]).as_deref(), Some("10.0.0.1"));
        assert_eq!(of(&[&format!("192.0.2.1, {}10.0.0.1", " ".repeat(BYTES))]), None);
        assert_eq!(
            of(&["192.0.2.1", &format!("{}10.0.0.2, 10.0.0.1", " ".repeat(BYTES - 20))]).as_deref(),
            Some("10.0.0.2")
        );
        assert_eq!(of(&[&"x".repeat(100_000)]), None);
    }

    proptest! {
        #[test]
        fn what_a_client_writes_never_changes_whom_it_counts_for(
            written in prop::collection::vec("[ -~]{0,60}", 0..4), ip: IpAddr, proxies in 0_usize..4
        ) {
            let own = format!("{ip}{}", ", 10.0.0.1".repeat(proxies));
            prop_assume!(!is_trusted(ip.to_canonical()));
            let mut values: Vec<&str> = written.iter().map(String::as_str).collect();
            values.push(&own);
            prop_assert_eq!(of(&values), Some(ip.to_canonical().to_string()));
            // In one value as well.
            let joined = values.join(",");
            prop_assert_eq!(of(&[&joined]), Some(ip.to_canonical().to_string()));
        }

        #[test]
        fn any_bytes_are_an_address_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.insert(FORWARDED_FOR, value);
                let _ = client(&headers, is_trusted);
            }
        }
    }
}
