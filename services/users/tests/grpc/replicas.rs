//! A service whose database has replicas that are behind (RR-).

use std::time::Duration;

use meshwork_api::meshwork::users::v1::{
    DeleteUserRequest, GetUserRequest, ListUsersRequest, RefreshSessionRequest, UpdateUserRequest, User,
};
use meshwork_chassis::config::{CacheConfig, PostgresConfig, Reads, Secret};
use meshwork_chassis::consistency::TOKEN;
use meshwork_testkit::Postgres;
use meshwork_users::Config;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Response};

use crate::world::{Caller, PASSWORD, World, config_in, eventually, refused, refused_fields};

/// A request of a caller who has this token.
fn having<T>(caller: &Caller, token: &MetadataValue<Ascii>, message: T) -> Request<T> {
    let mut request = caller.asks(message);
    request.metadata_mut().insert(TOKEN, token.clone());
    request
}

fn token_of<T>(response: &Response<T>) -> MetadataValue<Ascii> {
    response.metadata().get(TOKEN).expect("a write tells what a read must have seen").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_what_was_written_is_shown_to_who_brings_its_token_and_credentials_hold_at_once() {
    let cluster = tokio::task::spawn_blocking(|| Postgres::with_replicas(2, false)).await.unwrap();
    let (url, replicas) = tokio::task::block_in_place(|| {
        let url = cluster.database();
        let replicas = cluster.replica_urls(&url);
        (url, replicas)
    });
    let folder = tempfile::tempdir().unwrap();
    // Replicas count as close whatever they lack, and are read from where nobody asks for more.
    let postgres = PostgresConfig {
        url: Secret::new(url),
        replicas: replicas.into_iter().map(Secret::new).collect(),
        max_lag: Duration::from_secs(60),
        max_lag_bytes: 1 << 30,
        reads: Reads::Bounded,
        ..PostgresConfig::default()
    };
    // Else what was written through would be shown to everybody.
    let cache = CacheConfig { enabled: false, ..CacheConfig::default() };
    let config = Config { postgres, cache, ..config_in(folder.path()) };
    let world = World::start_as(folder, config).await;
    let on_each = |change: &dyn Fn(usize)| tokio::task::block_in_place(|| (0..2).for_each(change));
    // The first accounts are read from replicas too.
    on_each(&|replica| cluster.wait_for_replay(replica));
    let (staff, anna) = (world.staff().await, world.customer().await);
    on_each(&|replica| cluster.wait_for_replay(replica));
    on_each(&|replica| cluster.pause_replay(replica));

    let mut users = world.users.clone();
    let new = User {
        name: anna.name(),
        display_name: "New".to_owned(),
        password: "another good password".to_owned(),
        ..User::default()
    };
    let other = world.sign_in(&anna.user.email, PASSWORD).await.unwrap();
    let current_password = PASSWORD.to_owned();
    let update = UpdateUserRequest { user: Some(new), current_password, ..UpdateUserRequest::default() };
    let updated = users.update_user(anna.asks(update)).await.unwrap();
    let token = token_of(&updated);
    let updated = updated.into_inner();
    let get = || GetUserRequest { name: anna.name() };
    eventually("a replica to be read from", async || {
        world.users.clone().get_user(anna.asks(get())).await.unwrap().into_inner() == anna.user
    })
    .await;
    for _ in 0..10 {
        let seen = users.get_user(having(&anna, &token, get())).await.unwrap().into_inner();
        assert_eq!(seen, updated);
        let list = having(&staff, &token, ListUsersRequest { page_size: 200, ..ListUsersRequest::default() });
        let listed = users.list_users(list).await.unwrap().into_inner();
        assert!(listed.users.contains(&updated) && listed.unreachable.is_empty(), "{listed:?}");
    }
    // No token is needed for what decides.
    refused(world.sign_in(&anna.user.email, PASSWORD).await, Code::Unauthenticated, "BAD_CREDENTIALS");
    let refresh = RefreshSessionRequest { refresh_token: other.refresh_token };
    refused(world.auth.clone().refresh_session(refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    world.sign_in(&anna.user.email, "another good password").await.unwrap();

    let delete = DeleteUserRequest { name: anna.name(), ..DeleteUserRequest::default() };
    let deleted = users.delete_user(anna.asks(delete)).await.unwrap();
    let token = token_of(&deleted);
    refused(users.get_user(having(&anna, &token, get())).await, Code::NotFound, "USER_NOT_FOUND");
    refused(world.sign_in(&anna.user.email, "another good password").await, Code::Unauthenticated, "BAD_CREDENTIALS");
    let wrong = MetadataValue::from_static("nonsense!");
    refused_fields(users.get_user(having(&anna, &wrong, get())).await, &[TOKEN]);
}
