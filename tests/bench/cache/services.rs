//! GetUser of the users service over the mesh: from the tier in the process, from Redis, from PostgreSQL.
//!
//! Three processes of the service on one PostgreSQL and one Redis: one whose first tier has room for all that is asked of it,
//! one whose first tier has room for a small part, and one without a cache.

use std::time::Instant;

use meshwork::Channel;
use meshwork_api::meshwork::users::v1::GetUserRequest;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_sql::shards::slot_of;
use meshwork_testkit::up::{Token, UNLIMITED, with};
use meshwork_testkit::{Gateway, Postgres, Redis};

use crate::processes::Processes;
use crate::times::Times;
use crate::turns::{self, CALLERS, by_turns, per_second};
use crate::{Values, rounded};

/// How many accounts there are.
const ACCOUNTS: usize = 20_000;
/// How many of them are read from the first tier.
const HOT: usize = 500;
/// How many reads each caller does in a round.
const READS: usize = 300;
/// A variable of the environment and its value.
type Setting = (&'static str, &'static str);
/// The processes, what each has besides, and how many accounts it is asked for.
const WAYS: [(&str, &[Setting], usize); 3] = [
    ("users", &[], HOT),
    // The least there is: room for some thousand of them.
    ("users-2", &[("MESHWORK_USERS__CACHE__LOCAL_BYTES", "1048576")], ACCOUNTS),
    ("users-3", &[("MESHWORK_USERS__CACHE__ENABLED", "false")], ACCOUNTS),
];
/// What is measured of them.
const NAMES: [&str; 3] = ["get_user_in_process", "get_user_redis", "get_user_postgres"];

/// Who asks, and whom.
#[derive(Clone)]
struct Way {
    users: UserServiceClient<Channel>,
    staff: Token,
    accounts: usize,
    times: Times,
}

pub(crate) async fn measure(values: &mut Values) {
    let (postgres, redis) = tokio::task::spawn_blocking(|| (Postgres::durable(), Redis::private(&[]))).await.unwrap();
    let (database, folder) = (postgres.database(), tempfile::tempdir().unwrap());
    let servers = [
        ("MESHWORK_USERS__POSTGRES__URL", database.as_str()),
        ("MESHWORK_REDIS_URL", redis.url()),
        ("MESHWORK_USERS__CACHE__TTL", "1h"),
    ];
    let settings: Vec<_> = UNLIMITED.iter().copied().chain(servers).collect();
    let mut processes = Processes::several(folder.path(), &[("users", WAYS.len())], &settings);
    for (label, more, _) in WAYS {
        processes.start_with(label, more);
        processes.wait_for(label);
    }
    // The services answer as the gateway does.
    let staff = Gateway::new(processes.address("users").parse().unwrap(), &processes.data()).staff().await;
    make_accounts(&database).await;

    let ways = WAYS.map(|(label, _, accounts)| {
        let channel = Channel::connect_lazy(&format!("dns:///{}", processes.address(label))).unwrap();
        Way { users: UserServiceClient::new(channel), staff: staff.clone(), accounts, times: Times::new() }
    });
    for way in &ways[..2] {
        warm(way).await;
    }
    let rates = by_turns(ways.len(), async |at| {
        let rate = per_second(READS, |caller| reads(ways[at].clone(), caller)).await;
        ways[at].times.round_ended();
        rate
    })
    .await;
    turns::add_rate(values, NAMES[2], &rates[2]);
    for way in 0..2 {
        turns::add(values, NAMES[way], "postgres", &rates[way], &rates[2]);
    }
    for (name, way) in NAMES.into_iter().zip(&ways) {
        way.times.add_to(values, name);
    }
    for (name, way) in NAMES.into_iter().zip(&ways[..2]) {
        values.add(format!("{name}_p99_against_postgres"), rounded(way.times.ms(0.99) / ways[2].times.ms(0.99)));
    }
}

fn id(at: usize) -> String {
    format!("customer-{at:05}")
}

/// Makes the accounts in the database: hashing so many passwords would take longer than all the rest.
async fn make_accounts(database: &str) {
    let pool = sqlx::PgPool::connect(database).await.unwrap();
    let ids: Vec<_> = (0..ACCOUNTS).map(id).collect();
    let slots: Vec<_> = ids.iter().map(|id| i32::from(slot_of(id))).collect();
    let sql = "
        INSERT INTO users.users (id, email, email_key, display_name, role, password_hash, create_time, update_time, \
            version, slot, claim)
        SELECT new.id, new.id || '@example.com', new.id || '@example.com', 'A customer of many', 'customer', \
            old.password_hash, old.create_time, old.update_time, 1, new.slot, new.id
        FROM unnest($1, $2) AS new (id, slot), (SELECT * FROM users.users ORDER BY id LIMIT 1) AS old";
    sqlx::query(sql).bind(ids).bind(slots).execute(&pool).await.unwrap();
}

/// Has all accounts of a way be read once.
async fn warm(way: &Way) {
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let way = way.clone();
            tokio::spawn(async move {
                let mut users = way.users.clone();
                for at in (caller..way.accounts).step_by(CALLERS) {
                    let request = GetUserRequest { name: format!("users/{}", id(at)) };
                    users.get_user(with(&way.staff, request)).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

async fn reads(way: Way, caller: usize) {
    let mut random = fastrand::Rng::new();
    let (mut users, mut times) = (way.users.clone(), way.times.caller());
    for _ in 0..READS {
        let request = GetUserRequest { name: format!("users/{}", id(random.usize(..way.accounts))) };
        let begun = Instant::now();
        let user = users.get_user(with(&way.staff, request)).await;
        times.ended(begun);
        assert!(user.is_ok(), "caller {caller}: {user:?}");
    }
}
