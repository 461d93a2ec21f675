//! Base64 that comes in pieces: its padding may stand behind any of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// The characters that make up to three bytes.
const GROUP: usize = 4;

/// Reads text of gRPC-Web. It holds no more than what is not a group yet.
#[derive(Debug, Default)]
pub(super) struct TextDecoder {
    rest: Vec<u8>,
}

impl TextDecoder {
    /// The bytes of all groups that `piece` completes; `None` when it isn't base64.
    pub(super) fn decode(&mut self, piece: &[u8]) -> Option<Bytes> {
        let mut text = std::mem::take(&mut self.rest);
        text.extend_from_slice(piece);
        let whole = text.len() - text.len() % GROUP;
        self.rest = text.split_off(whole);
        let mut plain = Vec::with_capacity(text.len() / GROUP * 3);
        let mut left = text.as_slice();
        while !left.is_empty() {
            // To the next padding, behind which another text begins.
            let padded = left.chunks(GROUP).position(|group| group.contains(&b'='));
            let (part, behind) = left.split_at(padded.map_or(left.len(), |at| (at + 1) * GROUP));
            STANDARD.decode_vec(part, &mut plain).ok()?;
            left = behind;
        }
        Some(plain.into())
    }

    /// Whether the text may end here: nothing is left of a group.
    pub(super) fn is_between(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_is_read_however_it_is_padded_and_cut(parts in vec(vec(any::<u8>(), 0..20), 0..8), size in 1_usize..30) {
            let text: String = parts.iter().map(|part| STANDARD.encode(part)).collect();
            let mut decoder = TextDecoder::default();
            let mut plain = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                plain.extend(decoder.decode(piece).unwrap());
            }
            prop_assert!(decoder.is_between());
            prop_assert_eq!(plain, parts.concat());
        }

        #[test]
        fn no_text_makes_it_panic(text in vec(any::<u8>(), 0..40), size in 1_usize..10) {
            let mut decoder = TextDecoder::default();
            for piece in text.chunks(size) {
                let _ = decoder.decode(piece);
            }
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in ["a===", "====", "ab c", "ab=c", "abc-", "YR=="] {
            assert_eq!(TextDecoder::default().decode(text.as_bytes()), None, "{text}");
        }
        let mut decoder = TextDecoder::default();
        assert_eq!(decoder.decode(b"YWJjZ"), Some(Bytes::from_static(b"abc")));
        assert!(!decoder.is_between());
    }
}
