//! From keys to pieces. Nothing here ever changes: rows lie where these functions have put them.

use xxhash_rust::xxh3::xxh3_64;

/// How many slots a hashed space has.
pub const SLOTS: u16 = 1024;

/// The slot of a key: XXH3 (64 bits, seed 0) of its bytes, modulo 1024. It never changes, and a column of each row keeps it.
pub fn slot_of(key: &str) -> u16 {
    // Below 1024 by the modulus.
    u16::try_from(xxh3_64(key.as_bytes()) % u64::from(SLOTS)).unwrap_or_default()
}

/// The number of the range that begins at `low`: the lower half of the XXH3 of its bytes.
pub fn range_piece(low: &str) -> i32 {
    let [.., a, b, c, d] = xxh3_64(low.as_bytes()).to_be_bytes();
    i32::from_be_bytes([a, b, c, d])
}
