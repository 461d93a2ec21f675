//! UpdateUser and DeleteUser.

use meshwork_api::meshwork::users::v1::{
    DeleteUserRequest, GetUserRequest, RefreshSessionRequest, Role, UpdateUserRequest, User,
};
use meshwork_chassis::auth::AccessTable;
use prost_types::FieldMask;
use tonic::{Code, Request, Response, Status};

use crate::world::{Caller, PASSWORD, World, refused, refused_fields};

/// A request with the password that everybody has whom a test signs up.
fn request(user: User, paths: &[&str]) -> UpdateUserRequest {
    let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
    let update_mask = (!paths.is_empty()).then_some(FieldMask { paths });
    UpdateUserRequest { user: Some(user), update_mask, current_password: PASSWORD.to_owned() }
}

async fn update(world: &World, caller: &Caller, user: User, paths: &[&str]) -> Result<User, Status> {
    world.users.clone().update_user(caller.asks(request(user, paths))).await.map(Response::into_inner)
}

async fn delete(world: &World, caller: &Caller, name: &str, etag: &str) -> Result<User, Status> {
    let request = DeleteUserRequest { name: name.to_owned(), etag: etag.to_owned() };
    world.users.clone().delete_user(caller.asks(request)).await.map(Response::into_inner)
}

#[tokio::test]
async fn the_mask_says_what_changes() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let new = User {
        email: "new@example.com".to_owned(),
        display_name: "New".to_owned(),
        etag: anna.user.etag.clone(),
        ..anna.user.clone()
    };
    let changed = update(&world, &anna, new.clone(), &["display_name", "create_time", "display_name"]).await.unwrap();
    assert_eq!((changed.email.as_str(), changed.display_name.as_str()), (anna.user.email.as_str(), "New"));
    assert_eq!((changed.etag.as_str(), changed.create_time), ("\"v2\"", anna.user.create_time));
    assert!(changed.update_time.unwrap().seconds >= anna.user.update_time.unwrap().seconds);

    // Without a mask: the fields that are set.
    let fields = User { name: anna.name(), email: "third@example.com".to_owned(), ..User::default() };
    let changed = update(&world, &staff, fields, &[]).await.unwrap();
    assert_eq!((changed.email.as_str(), changed.display_name.as_str()), ("third@example.com", "New"));

    // With `*`: all, but for the password, which nobody can have read.
    let all = User { display_name: "All".to_owned(), ..changed.clone() };
    let changed = update(&world, &anna, all, &["*"]).await.unwrap();
    assert_eq!((changed.display_name.as_str(), changed.etag.as_str()), ("All", "\"v4\""));
    assert!(world.sign_in("third@example.com", PASSWORD).await.is_ok());
    refused_fields(
        update(&world, &anna, User { name: anna.name(), ..User::default() }, &["*"]).await,
        &["user.email", "user.display_name"],
    );

    // What is not new changes nothing, not even the version; the role doesn't change by being in the body.
    let same = update(&world, &staff, User { role: Role::Staff.into(), ..changed.clone() }, &["*"]).await.unwrap();
    assert_eq!(same, changed);
}

#[tokio::test]
async fn bad_changes_are_refused_and_nothing_is_written() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let before = world.everything(&staff).await;
    let good = || User { display_name: "New".to_owned(), etag: String::new(), ..anna.user.clone() };
    let cases: Vec<(User, &[&str], &[&str])> = vec![
        (User { name: "nonsense".to_owned(), ..good() }, &["display_name"], &["user.name"]),
        (User { name: String::new(), ..good() }, &["display_name"], &["user.name"]),
        (good(), &["role"], &["update_mask"]),
        (good(), &["display_name", "colour"], &["update_mask"]),
        (good(), &["*", "display_name"], &["update_mask"]),
        (User { name: anna.name(), ..User::default() }, &[], &["update_mask"]),
        (User { email: "x".to_owned(), ..good() }, &["email", "display_name"], &["user.email"]),
        (User { email: "next@services.meshwork.local".to_owned(), ..good() }, &["email"], &["user.email"]),
        (User { display_name: String::new(), ..good() }, &["display_name"], &["user.display_name"]),
        (User { display_name: "a".repeat(101), ..good() }, &["*"], &["user.display_name"]),
        (User { password: String::new(), ..good() }, &["password"], &["user.password"]),
        (User { password: "short".to_owned(), ..good() }, &["*"], &["user.password"]),
        (User { etag: "nonsense".to_owned(), ..good() }, &["display_name"], &["user.etag"]),
    ];
    for (user, paths, fields) in cases {
        refused_fields(update(&world, &anna, user, paths).await, fields);
    }
    let nothing = world.users.clone().update_user(anna.asks(UpdateUserRequest::default())).await;
    refused_fields(nothing, &["user"]);

    let stale = User { etag: "\"v7\"".to_owned(), password: "a new password".to_owned(), ..good() };
    for path in ["display_name", "password"] {
        refused(update(&world, &anna, stale.clone(), &[path]).await, Code::Aborted, "ETAG_MISMATCH");
    }
    let taken = User { email: staff.user.email.to_uppercase(), ..good() };
    refused(update(&world, &staff, taken, &["email"]).await, Code::AlreadyExists, "EMAIL_TAKEN");
    let nobody = User { name: "users/nobody".to_owned(), password: "a new password".to_owned(), ..good() };
    for path in ["display_name", "password"] {
        refused(update(&world, &staff, nobody.clone(), &[path]).await, Code::NotFound, "USER_NOT_FOUND");
    }
    assert_eq!(world.everything(&staff).await, before);
    assert!(world.sign_in(&anna.user.email, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn accounts_are_changed_by_their_owners_and_staff_only() {
    let world = World::start().await;
    let (staff, anna, bert) = (world.staff().await, world.customer().await, world.customer().await);
    let service = world.first("orders").await;
    let before = world.everything(&staff).await;
    for caller in [&bert, &service] {
        for name in [anna.name(), staff.name(), "users/nobody".to_owned()] {
            // The mask is bad too, but who may not do it at all is told that first.
            let user = User { name: name.clone(), ..User::default() };
            refused(update(&world, caller, user, &["role"]).await, Code::PermissionDenied, "NOT_ALLOWED");
            refused(delete(&world, caller, &name, "nonsense").await, Code::PermissionDenied, "NOT_ALLOWED");
        }
    }
    let anonymous = Request::new(request(anna.user.clone(), &["*"]));
    refused(world.users.clone().update_user(anonymous).await, Code::Unauthenticated, "NOT_SIGNED_IN");
    let anonymous = DeleteUserRequest { name: anna.name(), ..DeleteUserRequest::default() };
    refused(world.users.clone().delete_user(anonymous).await, Code::Unauthenticated, "NOT_SIGNED_IN");
    assert_eq!(world.everything(&staff).await, before);
}

#[tokio::test]
async fn d6_the_current_password_is_as_long_as_what_is_hashed_of_it() {
    let world = World::start().await;
    // 300 characters as it is typed, and 150 as it counts.
    let long = "o\u{308}".repeat(150);
    let mut sign_up = world.sign_up_request();
    sign_up.user.as_mut().unwrap().password.clone_from(&long);
    let user = world.users.clone().create_user(sign_up).await.unwrap().into_inner();
    let session = world.sign_in(&user.email, &long).await.unwrap();
    let anna = Caller { user, session };
    let new = User { name: anna.name(), password: "a new password".to_owned(), ..User::default() };
    let asked = UpdateUserRequest { current_password: long, ..request(new, &["password"]) };
    world.users.clone().update_user(anna.asks(asked)).await.unwrap();
    world.sign_in(&anna.user.email, "a new password").await.unwrap();
}

/// The methods come from the contracts: one that is new fails here until it has a case.
#[tokio::test]
async fn every_method_for_owners_refuses_another_customer() {
    let world = World::start().await;
    let (staff, anna, bert) = (world.staff().await, world.customer().await, world.customer().await);
    let before = world.everything(&staff).await;
    let table = AccessTable::from_contracts().unwrap();
    let owned = table.owned().into_iter().filter_map(|path| path.strip_prefix("/meshwork.users.v1.UserService/"));
    let mut tested = 0;
    for method in owned {
        let result = match method {
            "GetUser" => {
                let request = bert.asks(GetUserRequest { name: anna.name() });
                world.users.clone().get_user(request).await.map(Response::into_inner)
            }
            "UpdateUser" => {
                let user = User { name: anna.name(), display_name: "Bert".to_owned(), ..User::default() };
                update(&world, &bert, user, &["display_name"]).await
            }
            "DeleteUser" => delete(&world, &bert, &anna.name(), "").await,
            _ => panic!("{method} is for owners: add a call by another customer"),
        };
        refused(result, Code::PermissionDenied, "NOT_ALLOWED");
        tested += 1;
    }
    assert!(tested > 0, "no method of the service is for owners");
    assert_eq!(world.everything(&staff).await, before);
}

#[tokio::test]
async fn a_new_password_by_staff_ends_the_sessions() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let new = User { name: anna.name(), password: "a new password".to_owned(), ..User::default() };
    let changed = update(&world, &staff, new, &["password"]).await.unwrap();
    assert_eq!((changed.password.as_str(), changed.etag.as_str()), ("", "\"v2\""));
    let refresh = RefreshSessionRequest { refresh_token: anna.session.refresh_token.clone() };
    refused(world.auth.clone().refresh_session(refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    refused(world.sign_in(&anna.user.email, PASSWORD).await, Code::Unauthenticated, "BAD_CREDENTIALS");
    assert!(world.sign_in(&anna.user.email, "a new password").await.is_ok());
}

#[tokio::test]
async fn a_deleted_account_is_out() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    refused(delete(&world, &anna, &anna.name(), "\"v2\"").await, Code::Aborted, "ETAG_MISMATCH");
    refused_fields(delete(&world, &anna, &anna.name(), "nonsense").await, &["etag"]);
    refused_fields(delete(&world, &anna, "nonsense", "").await, &["name"]);
    refused(delete(&world, &staff, "users/nobody", "").await, Code::NotFound, "USER_NOT_FOUND");
    let deleted = delete(&world, &anna, &anna.name(), &anna.user.etag).await.unwrap();
    assert_eq!((deleted.delete_time, deleted.etag.as_str()), (deleted.update_time, "\"v2\""));

    refused(world.sign_in(&anna.user.email, PASSWORD).await, Code::Unauthenticated, "BAD_CREDENTIALS");
    let refresh = RefreshSessionRequest { refresh_token: anna.session.refresh_token.clone() };
    refused(world.auth.clone().refresh_session(refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    for caller in [&anna, &staff] {
        refused(delete(&world, caller, &anna.name(), "").await, Code::FailedPrecondition, "USER_DELETED");
        let user = User { display_name: "New".to_owned(), etag: String::new(), ..anna.user.clone() };
        let result = update(&world, caller, user, &["display_name"]).await;
        refused(result, Code::FailedPrecondition, "USER_DELETED");
    }
    assert_eq!(world.everything(&staff).await.last(), Some(&deleted));
}
