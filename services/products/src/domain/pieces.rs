//! How many pieces can be counted.

/// How many pieces of a product can be received in all. It keeps every sum of pieces far from the end of `i64`.
pub const MAX_PIECES: i64 = 1_000_000_000_000_000;
