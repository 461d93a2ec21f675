//! Percent-decoding of paths and queries (RFC 3986, section 2.1).

/// How a text is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Everything: a path segment that is one value.
    Segment,
    /// Everything but `%2F`: a segment of a value that has slashes of its own.
    Segments,
    /// Everything, and `+` is a space: names and values of a query.
    Query,
}

/// The decoded text; `None` where an escape isn't one, or the result is no UTF-8.
pub(super) fn decode(text: &str, mode: Mode) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                let value = (digit(high)? << 4) | digit(low)?;
                if value == b'/' && mode == Mode::Segments {
                    decoded.extend([b'%', high, low]);
                } else {
                    decoded.push(value);
                }
            }
            b'+' if mode == Mode::Query => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok()
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slashes_of_a_value_with_segments_stay_escaped() {
        assert_eq!(decode("a%2Fb%2fc%20d", Mode::Segment).as_deref(), Some("a/b/c d"));
        assert_eq!(decode("a%2Fb%2fc%20d", Mode::Segments).as_deref(), Some("a%2Fb%2fc d"));
        assert_eq!(decode("a+b", Mode::Segment).as_deref(), Some("a+b"));
        assert_eq!(decode("a+b%2B", Mode::Query).as_deref(), Some("a b+"));
    }

    #[test]
    fn what_is_no_escape_or_no_text_is_refused() {
        for wrong in ["%", "%2", "%zz", "%2\u{e9}", "%ff", "a%c3"] {
            assert_eq!(decode(wrong, Mode::Segment), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(text in any::<String>()) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded, Mode::Segment), Some(text.clone()));
            prop_assert_eq!(decode(&encoded, Mode::Query), Some(text));
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in any::<String>()) {
            for mode in [Mode::Segment, Mode::Segments, Mode::Query] {
                decode(&text, mode);
            }
        }
    }
}
