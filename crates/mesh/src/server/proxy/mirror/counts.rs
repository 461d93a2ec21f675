//! What copies may take, and what became of them.

/// What the copies of calls for mirrors may take, of all mirrors of a proxy together. What would be beyond that is not
/// mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorLimits {
    /// Calls to mirrors in flight. By default 64.
    pub calls: usize,
    /// Bytes of requests that mirrors have not taken yet, of all calls together. By default 8 MiB.
    pub bytes: usize,
    /// The same, of one call: a mirror that is further behind its call than this gets no more of it. By default 1 MiB.
    pub bytes_per_call: usize,
    /// How many bytes are read of an answer before it is reset. By default 4 MiB.
    pub answer_bytes: usize,
}

impl Default for MirrorLimits {
    fn default() -> Self {
        Self { calls: 64, bytes: 8 << 20, bytes_per_call: 1 << 20, answer_bytes: 4 << 20 }
    }
}

/// What has become of the copies of calls for mirrors since the start, and what they take now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorCounts {
    /// Copies that were begun.
    pub mirrored: u64,
    /// Copies that were not, since as many calls as may be were in flight.
    pub skipped: u64,
    /// Copies that were reset since their requests or answers were beyond a limit.
    pub cut: u64,
    /// Copies that a mirror didn't answer, or not in time, or answered with a code that speaks against a server
    /// ([`Outcome::is_failure`](crate::outcome::Outcome::is_failure)).
    pub failed: u64,
    /// Calls to mirrors now.
    pub in_flight: usize,
    /// Bytes that are held for mirrors now.
    pub bytes: usize,
}
