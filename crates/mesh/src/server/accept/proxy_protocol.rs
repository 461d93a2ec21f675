//! The PROXY protocol, version 2: who is behind a balancer that passes bytes on (HAProxy's proxy-protocol.txt, section 2.2).
//!
//! Nothing is guessed: a listener either demands the header or knows of none. It is believed of trusted hops alone.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::server::client_address::TrustedProxies;

/// What the header begins with. No other protocol does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the number of the bytes that follow.
const FIXED: usize = 16;
/// The most bytes that follow: the addresses, and what else the hop tells of the client (TLVs).
const MOST: usize = 2048;
/// The type of the TLV that holds a CRC-32C of the header.
const CHECKSUM: u8 = 3;

/// In which protocol the hops in front of a listener say who is behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// Version 2, the binary one.
    V2,
}

/// What a listener demands of its connections.
#[derive(Debug)]
pub(super) struct ProxyRule {
    pub protocol: ProxyProtocol,
    pub trusted: TrustedProxies,
}

impl ProxyRule {
    /// Whether a header from there is believed. A peer without an address is on this host.
    pub(super) fn trusts(&self, hop: Option<SocketAddr>) -> bool {
        self.trusted.trusts_address(hop.map(|address| address.ip()))
    }

    /// Reads the header, and not a byte more.
    ///
    /// # Errors
    /// What is wrong with it, or why it can't be read.
    pub(super) async fn read(&self, io: &mut (impl AsyncRead + Unpin)) -> Result<Source, HeaderError> {
        match self.protocol {
            ProxyProtocol::V2 => read(io).await,
        }
    }
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The hop's own, such as a health check.
    Hop,
    /// That of a client.
    Client(SocketAddr),
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    /// The hop went away before it had said anything.
    #[error("the hop has gone: {0}")]
    Gone(#[source] io::Error),
    #[error("{0}")]
    Invalid(&'static str),
}

async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Source, HeaderError> {
    let (mut header, mut len) = (vec![0; FIXED], 0);
    while len < FIXED {
        let rest = header.get_mut(len..).unwrap_or_default();
        let gone = |error| if len == 0 { HeaderError::Gone(error) } else { HeaderError::Invalid("it breaks off") };
        match io.read(rest).await {
            Ok(0) => return Err(gone(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => len += read,
            Err(error) => return Err(gone(error)),
        }
        let begin = len.min(SIGNATURE.len());
        // Whoever speaks another protocol may wait for an answer, and send no more.
        if header.get(..begin) != SIGNATURE.get(..begin) {
            return Err(HeaderError::Invalid("there is no signature"));
        }
    }
    let follows = length(&header);
    if follows > MOST {
        return Err(HeaderError::Invalid("it is too long"));
    }
    header.resize(FIXED + follows, 0);
    let rest = header.get_mut(FIXED..).unwrap_or_default();
    io.read_exact(rest).await.map_err(|_| HeaderError::Invalid("it breaks off"))?;
    parse(&header).map_err(HeaderError::Invalid)
}

/// How many bytes follow the fixed ones.
fn length(header: &[u8]) -> usize {
    header.get(14..FIXED).map_or(0, |length| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// Reads a whole header.
fn parse(header: &[u8]) -> Result<Source, &'static str> {
    let (Some((fixed, rest)), true) = (header.split_first_chunk::<FIXED>(), header.starts_with(&SIGNATURE)) else {
        return Err("there is no signature");
    };
    if length(fixed) != rest.len() {
        return Err("it is not as long as it says");
    }
    let [.., version, family, _, _] = *fixed;
    match version {
        0x21 => {}
        // What follows is not looked at.
        0x20 => return Ok(Source::Hop),
        _ => return Err("its version is not 2, or its command neither PROXY nor LOCAL"),
    }
    let (client, more) = match family {
        0x11 => client::<4>(rest, 12),
        0x21 => client::<16>(rest, 36),
        // The client would count as the hop, whose word counts for the addresses of others.
        _ => return Err("its client has no TCP address"),
    }
    .ok_or("its addresses break off")?;
    check(header, more)?;
    Ok(Source::Client(client))
}

/// The client's address, which is the first of two, and what follows both.
fn client<const N: usize>(rest: &[u8], addresses: usize) -> Option<(SocketAddr, &[u8])>
where
    IpAddr: From<[u8; N]>,
{
    let (addresses, more) = rest.split_at_checked(addresses)?;
    let (address, behind) = addresses.split_first_chunk::<N>()?;
    let port = behind.get(N..)?.first_chunk::<2>()?;
    Some((SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port)), more))
}

/// Passes over TLVs, the last bytes of `header`; a checksum among them has to be right.
fn check(header: &[u8], mut tlvs: &[u8]) -> Result<(), &'static str> {
    while let Some((kind, rest)) = tlvs.split_first() {
        let value = rest.split_first_chunk::<2>().and_then(|(length, rest)| {
            let length = usize::from(u16::from_be_bytes(*length));
            rest.split_at_checked(length)
        });
        let (value, behind) = value.ok_or("a TLV breaks off")?;
        if *kind == CHECKSUM {
            let said = value.try_into().map(u32::from_be_bytes).map_err(|_| "its checksum has not four bytes")?;
            let at = header.len() - behind.len() - value.len();
            if crc32c(header, at) != said {
                return Err("its checksum is wrong");
            }
        }
        tlvs = behind;
    }
    Ok(())
}

/// The CRC-32C (RFC 9260, appendix A) of `bytes`, of which the four from `at` on count as zeros.
fn crc32c(bytes: &[u8], at: usize) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let crc = bytes.iter().enumerate().fold(u32::MAX, |crc, (place, byte)| {
        let byte = if (at..at + 4).contains(&place) { 0 } else { *byte };
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version, family], &length, rest].concat()
    }

    /// From a client to port 443 of a balancer.
    fn of(client: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
        let ports = [client.port().to_be_bytes(), 443_u16.to_be_bytes()].concat();
        match client.ip() {
            IpAddr::V4(ip) => header(0x21, 0x11, &[&ip.octets()[..], &[10, 0, 0, 1], &ports, tlvs].concat()),
            IpAddr::V6(ip) => header(0x21, 0x21, &[&ip.octets()[..], &[7; 16], &ports, tlvs].concat()),
        }
    }

    fn with_checksum(client: SocketAddr) -> Vec<u8> {
        let mut header = of(client, &[4, 0, 1, 0, CHECKSUM, 0, 4, 0, 0, 0, 0]);
        let at = header.len() - 4;
        let checksum = crc32c(&header, at).to_be_bytes();
        header[at..].copy_from_slice(&checksum);
        header
    }

    async fn read_all(mut bytes: &[u8]) -> (Result<Source, HeaderError>, usize) {
        let source = read(&mut bytes).await;
        (source, bytes.len())
    }

    #[test]
    fn the_checksum_is_the_one_of_the_specification() {
        // The check value of CRC-32C.
        assert_eq!(crc32c(b"123456789", 9), 0xe306_9283);
    }

    #[test]
    fn what_is_no_header_of_a_client_is_refused() {
        let client = "192.0.2.1:9".parse().unwrap();
        let whole = of(client, &[]);
        assert_eq!(parse(&whole), Ok(Source::Client(client)));
        let mut wrong = with_checksum(client);
        assert!(parse(&wrong).is_ok());
        wrong[16] ^= 1;
        let addresses = &whole[FIXED..];
        for bad in [
            wrong,
            header(0x11, 0x11, addresses),
            header(0x22, 0x11, addresses),
            header(0x31, 0x11, addresses),
            // Unknown, Unix, UDP, and such as there are none.
            header(0x21, 0x00, &[]),
            header(0x21, 0x31, &[0; 216]),
            header(0x21, 0x12, addresses),
            header(0x21, 0x41, &[0; 216]),
            header(0x21, 0x11, &addresses[..11]),
            header(0x21, 0x21, addresses),
            of(client, &[1]),
            of(client, &[1, 0, 2, 0]),
            of(client, &[CHECKSUM, 0, 3, 0, 0, 0]),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 9 443\r\n".to_vec(),
        ] {
            assert!(parse(&bad).is_err(), "{bad:x?}");
        }
        for rest in [&[][..], &[9; 300]] {
            assert_eq!(parse(&header(0x20, 0xff, rest)), Ok(Source::Hop));
        }
    }

    #[tokio::test]
    async fn a_header_is_read_to_its_end_and_one_that_is_too_long_is_not() {
        let client: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        let noop =
            |bytes: usize| [&[4][..], &u16::try_from(bytes - 3).unwrap().to_be_bytes(), &vec![0; bytes - 3]].concat();
        let (most, long) = (of(client, &noop(MOST - 36)), of(client, &noop(MOST - 35)));
        let (source, left) = read_all(&[&most[..], b"PRI * HTTP/2.0"].concat()).await;
        assert!(matches!(source, Ok(Source::Client(found)) if found == client), "{source:?}");
        assert_eq!(left, 14);
        assert!(matches!(read_all(&long).await.0, Err(HeaderError::Invalid("it is too long"))));
        assert!(matches!(read_all(&[]).await.0, Err(HeaderError::Gone(_))));
    }

    proptest! {
        #[test]
        fn any_client_is_read_and_no_part_of_its_header_is(
            ip: IpAddr, port: u16, checked: bool, cut in any::<prop::sample::Index>()
        ) {
            let client = SocketAddr::new(ip, port);
            let header = if checked { with_checksum(client) } else { of(client, &[]) };
            prop_assert_eq!(parse(&header), Ok(Source::Client(client)));
            prop_assert!(parse(&header[..cut.index(header.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(fixed: [u8; 4], rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&[&SIGNATURE[..], &fixed, &rest].concat());
            let _ = parse(&header(0x21, fixed[0], &rest));
            let _ = parse(&rest);
        }

        #[test]
        fn one_bit_that_is_wrong_is_seen_by_the_checksum(ip: IpAddr, place in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut header = with_checksum(SocketAddr::new(ip, 9));
            // The fixed part says which bytes are which.
            let place = FIXED + place.index(header.len() - FIXED);
            header[place] ^= 1_u8 << bit;
            // A TLV may not be one of a checksum any more.
            let at = header.len() - 11;
            prop_assert!(place >= at || parse(&header).is_err());
        }
    }
}
