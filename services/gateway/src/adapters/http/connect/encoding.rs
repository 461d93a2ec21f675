//! How messages of requests are compressed. Answers are not: nothing is known of what a page mixes into them.

use std::io::Read as _;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use http::HeaderMap;
use tonic::Status;

use crate::adapters::errors::{encoding_unknown, malformed, message_too_large};

/// The encodings that are taken, as the header that lists them has them.
pub(super) const TAKEN: &str = "gzip";

/// How the messages of a request are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// The encoding that the header `name` has.
    ///
    /// # Errors
    /// As [`Encoding::named`].
    pub(super) fn of(headers: &HeaderMap, name: &str) -> Result<Self, Status> {
        headers.get(name).map_or(Ok(Self::Identity), |value| Self::named(value.to_str().unwrap_or("?")))
    }

    /// The encoding of this name; none is identity.
    ///
    /// # Errors
    /// UNIMPLEMENTED when it isn't known.
    pub(super) fn named(name: &str) -> Result<Self, Status> {
        match name {
            "" | "identity" => Ok(Self::Identity),
            "gzip" => Ok(Self::Gzip),
            _ => Err(encoding_unknown(name)),
        }
    }

    /// A message as it was before. No more than `max` bytes are unpacked, however many there would be, and of one member
    /// alone: thousands of empty ones would cost time, and give nothing.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when it is larger, INVALID_ARGUMENT when it isn't compressed so.
    pub(super) fn unpack(self, message: Bytes, max: usize) -> Result<Bytes, Status> {
        if self == Self::Identity || message.is_empty() {
            return Ok(message);
        }
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        let (mut decoder, mut plain) = (GzDecoder::new(&*message), Vec::new());
        decoder
            .by_ref()
            .take(limit)
            .read_to_end(&mut plain)
            .map_err(|_| malformed("the message is not compressed by gzip"))?;
        if plain.len() > max {
            return Err(message_too_large(max));
        }
        if !decoder.get_ref().is_empty() {
            return Err(malformed("something follows the message that is compressed by gzip"));
        }
        Ok(plain.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tonic::Code;

    use super::*;

    fn packed(plain: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn a_message_is_unpacked_up_to_its_limit() {
        let plain = vec![7_u8; 1000];
        assert_eq!(Encoding::Gzip.unpack(packed(&plain), 1000).unwrap(), plain);
        assert_eq!(Encoding::Gzip.unpack(packed(&plain), 999).unwrap_err().code(), Code::ResourceExhausted);
        assert_eq!(Encoding::Identity.unpack(plain.clone().into(), 1).unwrap(), plain);
        assert_eq!(Encoding::Gzip.unpack(Bytes::new(), 1).unwrap(), Bytes::new());
    }

    #[test]
    fn a_bomb_is_refused_and_rubbish_too() {
        let bomb = packed(&vec![0; 64 << 20]);
        assert!(bomb.len() < 128 << 10);
        assert_eq!(Encoding::Gzip.unpack(bomb.clone(), 4 << 20).unwrap_err().code(), Code::ResourceExhausted);
        for wrong in [Bytes::from_static(b"no gzip"), bomb.slice(..20), packed(b"whole").slice(..12)] {
            assert_eq!(Encoding::Gzip.unpack(wrong, 1 << 20).unwrap_err().code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn a_message_is_one_member() {
        let one = packed(b"one").to_vec();
        let two = [one.clone(), packed(b"two").to_vec()].concat();
        let more = [one, b"more".to_vec()].concat();
        for wrong in [two, more, packed(b"").repeat(1000)] {
            assert_eq!(Encoding::Gzip.unpack(wrong.into(), 1 << 20).unwrap_err().code(), Code::InvalidArgument);
        }
        assert_eq!(Encoding::Gzip.unpack(packed(b""), 1 << 20).unwrap(), Bytes::new());
    }

    #[test]
    fn encodings_are_known_by_name() {
        assert_eq!(Encoding::of(&HeaderMap::new(), "content-encoding").unwrap(), Encoding::Identity);
        assert_eq!(Encoding::named("gzip").unwrap(), Encoding::Gzip);
        for name in ["br", "GZIP", "gzip, gzip", "?"] {
            assert_eq!(Encoding::named(name).unwrap_err().code(), Code::Unimplemented, "{name}");
        }
    }
}
