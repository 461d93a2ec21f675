//! What a consumer and a source keep in their databases, on both drivers: gate, parked events, positions, outbox.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod checks;
mod feed;
mod owner;
mod running;
mod worlds;

#[path = "."]
mod sqlite {
    use meshwork_events::{inbox::sqlite as inbox, outbox::sqlite as outbox};

    use crate::worlds::Embedded as World;

    /// The tables by which a database knows which rows it owns: one file owns all.
    const PLACES: &[meshwork_sql::Component] = &[];

    meshwork_sql::dialect!(sqlite);
    mod appends;
    mod contexts;
    mod gate;
    mod hanging;
    mod holes;
    mod ledger;
    mod letters;
    mod parking;
    mod pruning;
    mod restored;
    mod shards;
    mod states;
    mod unreached;
}

#[path = "."]
mod postgres {
    use meshwork_events::{inbox::postgres as inbox, outbox::postgres as outbox};

    use crate::worlds::Server as World;

    const PLACES: &[meshwork_sql::Component] = &[meshwork_sql::shards::COMPONENT];

    meshwork_sql::dialect!(postgres);
    mod appends;
    mod contexts;
    mod gate;
    mod holes;
    mod ledger;
    mod letters;
    mod parking;
    mod planted;
    mod pruning;
    mod restored;
    mod shards;
    mod states;
    mod unreached;
}
