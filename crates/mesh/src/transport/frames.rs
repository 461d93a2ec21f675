//! The frames among the bytes of a connection, as far as their kind tells something.

/// The length of a frame's header (RFC 9113, section 4.1).
const HEADER: usize = 9;

/// SETTINGS and GOAWAY: the frames by which a server changes what new streams may do.
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
/// The flag of SETTINGS that change nothing.
const ACK: u8 = 1;

/// Follows the frames of one direction from the first byte on, and finds those that change what new streams may do. `h2` has
/// no event for them, and to ask it takes locks that all calls of the connection want.
#[derive(Debug, Default)]
pub(super) struct FrameScanner {
    /// The begin of a header that came in pieces.
    header: [u8; HEADER],
    /// How much of `header` is there.
    filled: usize,
    /// What is still to come of the payload.
    payload: usize,
    /// Whether the payload belongs to such a frame.
    control: bool,
    /// How many SETTINGS that change something have begun since somebody asked.
    settings: u32,
}

/// The length of what a client's first frame comes after (RFC 9113, section 3.4).
const PREFACE: usize = 24;

impl FrameScanner {
    /// Follows what a client sends, which begins with its preface.
    pub(super) fn of_client() -> Self {
        Self { payload: PREFACE, ..Self::default() }
    }

    /// Reads on; whether any of `bytes` belongs to SETTINGS or GOAWAY.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while !bytes.is_empty() {
            if self.payload > 0 {
                found |= self.control;
                let passed = self.payload.min(bytes.len());
                self.payload -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            if self.filled == 0
                && let Some((header, rest)) = bytes.split_first_chunk::<HEADER>()
            {
                self.begin(*header);
                bytes = rest;
            } else {
                let taken = (HEADER - self.filled).min(bytes.len());
                self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
                self.filled += taken;
                bytes = &bytes[taken..];
                if self.filled < HEADER {
                    break;
                }
                self.filled = 0;
                self.begin(self.header);
            }
            found |= self.control;
        }
        found
    }

    /// How many SETTINGS have begun since this was last asked.
    pub(super) fn take_settings(&mut self) -> u32 {
        std::mem::take(&mut self.settings)
    }

    fn begin(&mut self, [a, b, c, kind, flags, ..]: [u8; HEADER]) {
        self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
        self.control = kind == SETTINGS || kind == GOAWAY;
        self.settings += u32::from(kind == SETTINGS && flags & ACK == 0);
    }
}
