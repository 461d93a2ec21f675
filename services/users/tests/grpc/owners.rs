//! Who changes their own address or password shows that they are the owner (D5).

use meshwork_api::meshwork::users::v1::{RefreshSessionRequest, Session, SignOutRequest, UpdateUserRequest, User};
use prost_types::FieldMask;
use tonic::{Code, Response, Status};

use crate::world::{Caller, PASSWORD, World, refused, refused_fields};

/// A change of an account by somebody who shows a password; none when it is empty.
async fn update(world: &World, caller: &Caller, user: User, current: &str) -> Result<User, Status> {
    let request =
        UpdateUserRequest { user: Some(user), current_password: current.to_owned(), ..UpdateUserRequest::default() };
    world.users.clone().update_user(caller.asks(request)).await.map(Response::into_inner)
}

async fn refresh(world: &World, session: &Session) -> Result<Session, Status> {
    let request = RefreshSessionRequest { refresh_token: session.refresh_token.clone() };
    world.auth.clone().refresh_session(request).await.map(Response::into_inner)
}

fn to_password(caller: &Caller) -> User {
    User { name: caller.name(), password: "a new password".to_owned(), ..User::default() }
}

fn to_email(caller: &Caller) -> User {
    User { name: caller.name(), email: "moved@example.com".to_owned(), ..User::default() }
}

#[tokio::test]
async fn d5_a_borrowed_access_token_changes_neither_password_nor_address() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let before = world.everything(&staff).await;
    for caller in [&anna, &staff] {
        for user in [to_password(caller), to_email(caller)] {
            refused_fields(update(&world, caller, user.clone(), "").await, &["current_password"]);
            let wrong = update(&world, caller, user.clone(), "a wrong password").await;
            refused(wrong, Code::PermissionDenied, "WRONG_PASSWORD");
            refused_fields(update(&world, caller, user, &"a".repeat(257)).await, &["current_password"]);
        }
    }
    assert_eq!(world.everything(&staff).await, before);
    assert!(refresh(&world, &anna.session).await.is_ok(), "who tries in vain ends no session");
    assert!(world.sign_in(&anna.user.email, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn d5_other_sessions_end_and_the_one_of_the_change_goes_on() {
    let world = World::start().await;
    for to in [to_password, to_email] {
        let anna = world.customer().await;
        let other = world.sign_in(&anna.user.email, PASSWORD).await.unwrap();
        let signed_out = world.sign_in(&anna.user.email, PASSWORD).await.unwrap();
        let request = SignOutRequest { refresh_token: signed_out.refresh_token.clone() };
        world.auth.clone().sign_out(request).await.unwrap();
        // An access token of the session that is refreshed is of the same session.
        let refreshed = Caller { user: anna.user.clone(), session: refresh(&world, &anna.session).await.unwrap() };
        update(&world, &refreshed, to(&anna), PASSWORD).await.unwrap();
        refresh(&world, &refreshed.session).await.unwrap();
        for ended in [&other, &signed_out] {
            refused(refresh(&world, ended).await, Code::Unauthenticated, "SESSION_ENDED");
        }
    }
}

#[tokio::test]
async fn d5_what_is_no_new_address_needs_no_password() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let all = UpdateUserRequest {
        user: Some(User { display_name: "New".to_owned(), ..anna.user.clone() }),
        update_mask: Some(FieldMask { paths: vec!["*".to_owned()] }),
        ..UpdateUserRequest::default()
    };
    let changed = world.users.clone().update_user(anna.asks(all)).await.unwrap().into_inner();
    assert_eq!((changed.display_name.as_str(), changed.email), ("New", anna.user.email.clone()));
    // Staff don't know the passwords of others.
    let moved = update(&world, &staff, to_email(&anna), "").await.unwrap();
    assert_eq!(moved.email, "moved@example.com");
    update(&world, &staff, to_password(&anna), "").await.unwrap();
    refused(refresh(&world, &anna.session).await, Code::Unauthenticated, "SESSION_ENDED");
    assert!(world.sign_in("moved@example.com", "a new password").await.is_ok());
}
