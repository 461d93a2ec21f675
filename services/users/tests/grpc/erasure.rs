//! What is left of deleted accounts.

use std::time::Duration;

use meshwork_api::meshwork::users::v1::{
    DeleteUserRequest, GetUserRequest, RefreshSessionRequest, UpdateUserRequest, User,
};
use meshwork_users::Config;
use prost_types::FieldMask;
use sqlx::{AssertSqlSafe, Connection as _};
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

#[tokio::test]
async fn d4_who_has_the_address_of_an_erased_account_in_another_spelling_keeps_it() {
    let world = World::start().await;
    let (joerg, gone) = (world.customer().await, world.customer().await);
    delete(&world, &gone).await;
    let file = world.config.data.join("users.db");
    let folder = world.stop().await;
    // As an earlier release has kept them.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    for (name, email) in [(joerg.name(), "jörg@müller.de"), (gone.name(), "jo\u{308}rg@müller.de")] {
        let sql = format!("UPDATE users SET email = '{email}', email_key = '{email}' WHERE 'users/' || id = '{name}'");
        let changed = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);
    }
    connection.close().await.unwrap();

    let config = Config { erase_after: Duration::ZERO, ..config_in(folder.path()) };
    let world = World::start_as(folder, config).await;
    let staff = world.staff().await;
    eventually("the account to be erased", async || seen(&world, &staff, &gone.name()).await.email.is_empty()).await;

    // All of it is replaced by what it has, but for the name; and the case of its address is its owner's affair.
    let to = |email: &str| User {
        name: joerg.name(),
        email: email.to_owned(),
        display_name: "Jörg".to_owned(),
        ..User::default()
    };
    let all = Some(FieldMask { paths: vec!["*".to_owned()] });
    let update = |user: User| UpdateUserRequest {
        user: Some(user),
        update_mask: all.clone(),
        current_password: PASSWORD.to_owned(),
    };
    world.users.clone().update_user(staff.asks(update(to("jörg@müller.de")))).await.unwrap();
    world.users.clone().update_user(joerg.asks(update(to("Jörg@müller.de")))).await.unwrap();
    // Nobody else gets it, whether this one has it or not.
    for next in ["joerg@example.com", "jj@example.com"] {
        for email in ["JÖRG@müller.de", "jo\u{308}rg@müller.de", "jörg@xn--mller-kva.de"] {
            let mut request = world.sign_up_request();
            request.user.as_mut().unwrap().email = email.to_owned();
            refused(world.users.clone().create_user(request).await, Code::AlreadyExists, "EMAIL_TAKEN");
        }
        world.users.clone().update_user(staff.asks(update(to(next)))).await.unwrap();
    }
}
