//! One suite over both drivers, and what only a server has: pools, faults, TLS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cancelled;
mod example;
mod faults;
mod load;
mod pool;
mod tables;
mod tls;
mod waiting;
mod worlds;

#[path = "."]
mod sqlite {
    use meshwork_sql::identity::sqlite as identity;
    use meshwork_sql::replay::sqlite as replay;

    /// The tables by which a database knows which rows it owns: one file owns all.
    const PLACES: &[meshwork_sql::Component] = &[];

    use crate::worlds::Embedded as World;

    meshwork_sql::dialect!(sqlite);
    mod identities;
    mod opening;
    mod replays;
    mod suite;
}

#[path = "."]
mod postgres {
    use meshwork_sql::identity::postgres as identity;
    use meshwork_sql::replay::postgres as replay;

    const PLACES: &[meshwork_sql::Component] = &[meshwork_sql::shards::COMPONENT];

    use crate::worlds::Server as World;

    meshwork_sql::dialect!(postgres);
    mod identities;
    mod opening;
    mod replays;
    mod suite;
}
