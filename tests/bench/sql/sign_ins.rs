//! Sign-ins a second of a running shop: in its folder, on one PostgreSQL, on three shards.

use std::time::{Duration, Instant};

use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{CreateUserRequest, SignInRequest, User};
use meshwork_testkit::up::UNLIMITED;
use meshwork_testkit::{Postgres, Up};
use serde_json::json;

use crate::{Values, rounded};

/// How many accounts sign in, by turns.
const ACCOUNTS: usize = 24;
/// How many callers there are: hashing passwords takes the machine's cores.
const CALLERS: usize = 8;
/// For how long they sign in.
const TIME: Duration = Duration::from_secs(10);
const PASSWORD: &str = "a password of ten or more";

pub(crate) async fn measure(values: &mut Values) {
    let postgres = tokio::task::spawn_blocking(Postgres::durable).await.unwrap();
    let database = postgres.database();
    let shards: Vec<_> = (0..3)
        .map(|id| json!({"id": id, "name": format!("s{id}"), "url": postgres.database()}))
        .map(|shard| format!("{{id={},name={},url={}}}", shard["id"], shard["name"], shard["url"]))
        .collect();
    let shards = format!("[{}]", shards.join(","));
    let one = ("MESHWORK_USERS__POSTGRES__URL", database.as_str());
    let three = ("MESHWORK_USERS__SHARDS__DATABASES", shards.as_str());
    for (name, setting) in [("embedded", None), ("postgres", Some(one)), ("three_shards", Some(three))] {
        let folder = tempfile::tempdir().unwrap();
        let settings: Vec<_> = UNLIMITED.iter().copied().chain(setting).collect();
        let up = Up::start(folder.path(), &settings);
        values.add(format!("sign_ins_{name}_per_second"), rounded(signed_in(&up).await));
    }
}

/// Makes accounts, and has them sign in.
async fn signed_in(up: &Up) -> f64 {
    for at in 0..ACCOUNTS {
        let user = User {
            email: email(at),
            display_name: format!("Customer {at}"),
            password: PASSWORD.to_owned(),
            ..User::default()
        };
        let request = CreateUserRequest { user: Some(user), ..CreateUserRequest::default() };
        UserServiceClient::new(up.channel()).create_user(request).await.unwrap();
    }
    let begun = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let mut client = AuthServiceClient::new(up.channel());
            tokio::spawn(async move {
                let mut done = 0_u32;
                while begun.elapsed() < TIME {
                    let email = email((caller + usize::try_from(done).unwrap() * CALLERS) % ACCOUNTS);
                    client.sign_in(SignInRequest { email, password: PASSWORD.to_owned() }).await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut all = 0;
    for caller in callers {
        all += caller.await.unwrap();
    }
    f64::from(all) / begun.elapsed().as_secs_f64()
}

fn email(at: usize) -> String {
    format!("customer-{at}@example.com")
}
