//! What is left of deleted accounts.

use std::time::Duration;

use meshwork_api::meshwork::users::v1::{
    DeleteUserRequest, GetUserRequest, RefreshSessionRequest, UpdateUserRequest, User,
};
use meshwork_users::Config;
use tonic::Code;

use crate::world::{Caller, PASSWORD, World, config_in, eventually, refused};

async fn delete(world: &World, caller: &Caller) {
    let delete = DeleteUserRequest { name: caller.name(), ..DeleteUserRequest::default() };
    world.users.clone().delete_user(caller.asks(delete)).await.unwrap();
}

/// An account as staff see it.
async fn seen(world: &World, staff: &Caller, name: &str) -> User {
    let get = GetUserRequest { name: name.to_owned() };
    world.users.clone().get_user(staff.asks(get)).await.unwrap().into_inner()
}

#[tokio::test]
async fn d4_a_deleted_account_has_no_sessions_and_is_erased_when_its_time_is_over() {
    let world = World::start().await;
    let (anna, bert) = (world.customer().await, world.customer().await);
    delete(&world, &anna).await;
    let refresh = RefreshSessionRequest { refresh_token: anna.session.refresh_token.clone() };
    world.auth.clone().refresh_session(refresh).await.unwrap_err();
    world.sign_in(&anna.user.email, PASSWORD).await.unwrap_err();
    let folder = world.stop().await;

    // It has 30 days, unless the settings say otherwise.
    let world = World::start_in(folder).await;
    let staff = world.staff().await;
    let deleted = seen(&world, &staff, &anna.name()).await;
    assert_eq!((&deleted.email, &deleted.display_name), (&anna.user.email, &anna.user.display_name));
    let folder = world.stop().await;

    let config = Config { erase_after: Duration::ZERO, ..config_in(folder.path()) };
    let world = World::start_as(folder, config).await;
    let staff = world.staff().await;
    eventually("the account to be erased", async || seen(&world, &staff, &anna.name()).await.email.is_empty()).await;
    let erased = seen(&world, &staff, &anna.name()).await;
    assert_eq!((erased.display_name.as_str(), erased.etag.as_str()), ("", "\"v3\""));
    assert_eq!((erased.create_time, erased.delete_time), (anna.user.create_time, deleted.delete_time));
    assert_eq!(seen(&world, &staff, &bert.name()).await.email, bert.user.email);

    // The address stays taken, however it is written, for new accounts and for those that are there.
    world.sign_in(&anna.user.email, PASSWORD).await.unwrap_err();
    let mut request = world.sign_up_request();
    request.user.as_mut().unwrap().email = anna.user.email.to_uppercase();
    refused(world.users.clone().create_user(request).await, Code::AlreadyExists, "EMAIL_TAKEN");
    let new = User { name: bert.name(), email: anna.user.email.clone(), ..User::default() };
    let update = UpdateUserRequest { user: Some(new), ..UpdateUserRequest::default() };
    refused(world.users.clone().update_user(staff.asks(update)).await, Code::AlreadyExists, "EMAIL_TAKEN");
}
