//! Which partition a stream belongs to.

use xxhash_rust::xxh3::xxh3_64;

/// The partition of a key, of `partitions` in all (at least 1). The mapping never changes: stored data depends on it.
pub fn partition_of(key: &str, partitions: u16) -> u16 {
    // A remainder is below `partitions` and fits.
    u16::try_from(xxh3_64(key.as_bytes()) % u64::from(partitions.max(1))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_never_changes() {
        let partitions = ["orders/1", "orders/2", "users/anna", ""].map(|key| partition_of(key, 16));
        assert_eq!(partitions, [11, 4, 12, 2]);
    }
}
