//! A client that writes frames as it likes.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const INITIAL_WINDOW_SIZE: u16 = 4;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// A frame that was read.
pub(super) struct RawFrame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// SETTINGS of the window that each answer begins with.
pub(super) fn window(bytes: u32) -> Vec<u8> {
    let mut payload = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    payload.extend(bytes.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

/// What a connection begins with, with such a window for each answer and the largest for all of them.
pub(super) fn hello(bytes: u32) -> Vec<u8> {
    let more = (LARGEST_WINDOW - 65_535).to_be_bytes();
    [PREFACE.to_vec(), window(bytes), frame(WINDOW_UPDATE, 0, 0, &more)].concat()
}

/// A call with no more to come.
pub(super) fn call(stream: u32) -> Vec<u8> {
    // POST, http and / of the static table, and `:authority` without an entry in the other.
    let headers = [&[0x83, 0x86, 0x84, 0x01, 4][..], b"shop"].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &headers)
}

/// The numbers of so many calls.
pub(super) fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|call| 2 * call + 1)
}

pub(super) async fn write(io: &mut DuplexStream, frames: &[Vec<u8>]) {
    timeout(HOUR, io.write_all(&frames.concat())).await.unwrap().unwrap();
}

/// The next frame; `None` at the end.
pub(super) async fn read(io: &mut DuplexStream) -> Option<RawFrame> {
    let mut head = [0; 9];
    timeout(HOUR, io.read_exact(&mut head)).await.unwrap().ok()?;
    let [a, b, c, kind, flags, ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
    io.read_exact(&mut payload).await.ok()?;
    let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
    Some(RawFrame { kind, flags, stream, payload })
}

/// Reads until so many streams have ended; the bytes of each.
pub(super) async fn read_answers(io: &mut DuplexStream, count: usize) -> BTreeMap<u32, usize> {
    let (mut bytes, mut ended) = (BTreeMap::<u32, usize>::new(), 0);
    while ended < count {
        let frame = read(io).await.expect("the connection ends before the answers");
        if !matches!(frame.kind, DATA | HEADERS) {
            continue;
        }
        *bytes.entry(frame.stream).or_default() += if frame.kind == DATA { frame.payload.len() } else { 0 };
        ended += usize::from(frame.flags & END_STREAM != 0);
    }
    bytes
}

/// Reads to the end of the connection; the reasons of GOAWAY.
pub(super) async fn read_goaways(io: &mut DuplexStream) -> Vec<u32> {
    let mut reasons = Vec::new();
    while let Some(frame) = read(io).await {
        if frame.kind == GOAWAY {
            reasons.push(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
        }
    }
    reasons
}
