//! Finding the shard of a key, without asking it anything.

use std::hint::black_box;
use std::time::Instant;

use meshwork_sql::shards::{ShardMap, SpaceSpec, Strategy};

use crate::{Values, rounded};

/// How many keys are looked up.
const LOOKUPS: usize = 2_000_000;
/// How many different ones there are.
const KEYS: usize = 4096;
/// The shards, and into how many ranges ids are split.
const SHARDS: u16 = 16;
const RANGES: usize = 256;

pub(crate) fn measure(values: &mut Values) {
    let keys: Vec<_> = (0..KEYS).map(|at| format!("{:08x}-account", at * 0x000f_1234)).collect();
    let splits = (1..RANGES).map(|at| format!("{:02x}", at * 256 / RANGES)).collect();
    for (name, strategy) in [("hash", Strategy::Hash), ("range", Strategy::Range { splits })] {
        let names: Vec<_> = (0..SHARDS).map(|id| (id, format!("shard-{id}"))).collect();
        let shards: Vec<_> = names.iter().map(|(id, name)| (*id, name.as_str())).collect();
        let map = ShardMap::seed(&shards, &[SpaceSpec { id: 0, name: "accounts", strategy }]).unwrap();
        let mut found = 0;
        let begun = Instant::now();
        for at in 0..LOOKUPS {
            let located = map.locate(0, black_box(&keys[at % KEYS])).unwrap();
            found += usize::from(black_box(located).shard < SHARDS);
        }
        let nanos = begun.elapsed().as_nanos() as f64 / LOOKUPS as f64;
        assert_eq!(found, LOOKUPS);
        values.add(format!("shard_lookup_ns_{name}"), rounded(nanos));
    }
}
