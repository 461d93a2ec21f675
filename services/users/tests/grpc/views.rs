//! GetUser and ListUsers.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_api::meshwork::users::v1::{DeleteUserRequest, GetUserRequest, ListUsersRequest, Role, User};
use tonic::{Code, Request};

use crate::world::{Caller, World, refused, refused_fields};

async fn get(world: &World, caller: &Caller, name: &str) -> Result<User, tonic::Status> {
    let request = caller.asks(GetUserRequest { name: name.to_owned() });
    world.users.clone().get_user(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn accounts_are_seen_by_their_owners_staff_and_services() {
    let world = World::start().await;
    let (staff, service) = (world.staff().await, world.first("orders").await);
    let (anna, bert) = (world.customer().await, world.customer().await);
    for caller in [&anna, &staff, &service] {
        assert_eq!(get(&world, caller, &anna.name()).await.unwrap(), anna.user);
    }
    // Whether there is such an account or not is not to be told from the answer.
    let hidden = refused(get(&world, &bert, &anna.name()).await, Code::PermissionDenied, "NOT_ALLOWED");
    let missing = refused(get(&world, &bert, "users/nobody").await, Code::PermissionDenied, "NOT_ALLOWED");
    assert_eq!(hidden.message().replace(&anna.name(), "users/nobody"), missing.message());
    refused(get(&world, &staff, "users/nobody").await, Code::NotFound, "USER_NOT_FOUND");
    for caller in [&bert, &staff] {
        for name in ["", "users/", "user/anna", "users/Anna", "users/a/b", &format!("users/{}", "a".repeat(64))] {
            refused_fields(get(&world, caller, name).await, &["name"]);
        }
    }
    let request = Request::new(GetUserRequest { name: anna.name() });
    refused(world.users.clone().get_user(request).await, Code::Unauthenticated, "NOT_SIGNED_IN");
}

#[tokio::test]
async fn a_deleted_account_is_seen_by_staff_and_services_only() {
    let world = World::start().await;
    let (staff, service, anna) = (world.staff().await, world.first("orders").await, world.customer().await);
    let delete = DeleteUserRequest { name: anna.name(), ..DeleteUserRequest::default() };
    let deleted = world.users.clone().delete_user(anna.asks(delete)).await.unwrap().into_inner();
    assert!(deleted.delete_time.is_some());
    for caller in [&staff, &service] {
        assert_eq!(get(&world, caller, &anna.name()).await.unwrap(), deleted);
    }
    refused(get(&world, &anna, &anna.name()).await, Code::NotFound, "USER_NOT_FOUND");
}

async fn list(world: &World, staff: &Caller, request: &ListUsersRequest) -> (Vec<User>, String) {
    let list = world.users.clone().list_users(staff.asks(request.clone())).await.unwrap().into_inner();
    (list.users, list.next_page_token)
}

#[tokio::test]
async fn lists_are_for_staff() {
    let world = World::start().await;
    for caller in [world.customer().await, world.first("orders").await] {
        let result = world.users.clone().list_users(caller.asks(ListUsersRequest::default())).await;
        refused(result, Code::PermissionDenied, "NOT_ALLOWED");
    }
    let result = world.users.clone().list_users(ListUsersRequest::default()).await;
    refused(result, Code::Unauthenticated, "NOT_SIGNED_IN");
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_pages() {
    let world = World::start().await;
    let staff = world.staff().await;
    let mut customers = Vec::new();
    for _ in 0..5 {
        customers.push(world.users.clone().create_user(world.sign_up_request()).await.unwrap().into_inner());
    }
    let delete = DeleteUserRequest { name: customers[2].name.clone(), ..DeleteUserRequest::default() };
    customers[2] = world.users.clone().delete_user(staff.asks(delete)).await.unwrap().into_inner();

    let everybody = world.everything(&staff).await;
    assert_eq!(everybody[4..], customers, "the oldest first, and the first accounts were first");
    let mut request = ListUsersRequest { page_size: 2, filter: "role = CUSTOMER".to_owned(), ..Default::default() };
    let mut found = Vec::new();
    loop {
        let (users, next) = list(&world, &staff, &request).await;
        found.extend(users);
        if next.is_empty() {
            break;
        }
        request.page_token = next;
        assert!(found.len() <= 5, "the list ends");
    }
    let living: Vec<_> = customers.iter().filter(|user| user.delete_time.is_none()).cloned().collect();
    assert_eq!(found, living);

    let of = |filter: &str| ListUsersRequest { filter: filter.to_owned(), ..Default::default() };
    let (services, _) = list(&world, &staff, &of("role = ROLE_SERVICE")).await;
    assert_eq!(services.len(), 3);
    assert!(services.iter().all(|user| user.role() == Role::Service));
    let by_email = format!("email = \"{}\" AND role = CUSTOMER", customers[0].email.to_uppercase());
    assert_eq!(list(&world, &staff, &of(&by_email)).await.0, customers[..1]);
    let hidden = of(&format!("email = \"{}\"", customers[2].email));
    assert_eq!(list(&world, &staff, &hidden).await.0, []);
    let shown = ListUsersRequest { show_deleted: true, ..hidden };
    assert_eq!(list(&world, &staff, &shown).await.0, customers[2..3]);
    // Too large is no fault (AIP-158).
    let large = ListUsersRequest { page_size: i32::MAX, ..Default::default() };
    assert_eq!(list(&world, &staff, &large).await.0.len(), everybody.len() - 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_list_is_named() {
    let world = World::start().await;
    let staff = world.staff().await;
    let (_, token) = list(&world, &staff, &ListUsersRequest { page_size: 1, ..Default::default() }).await;
    // What is in a token is no secret, so that a forged one must do no harm.
    let json = String::from_utf8(URL_SAFE_NO_PAD.decode(&token).unwrap()).unwrap();
    let mut forged: serde_json::Value = serde_json::from_str(&json).unwrap();
    forged["c"] = "'; DROP TABLE users".into();
    let forged = URL_SAFE_NO_PAD.encode(forged.to_string());
    let request = || ListUsersRequest { page_size: 1, ..Default::default() };
    let cases = [
        (ListUsersRequest { page_size: -1, ..request() }, "page_size"),
        (ListUsersRequest { page_token: "nonsense".to_owned(), ..request() }, "page_token"),
        (ListUsersRequest { page_token: forged, ..request() }, "page_token"),
        (ListUsersRequest { page_token: token.clone(), show_deleted: true, ..request() }, "page_token"),
        (ListUsersRequest { page_token: token, filter: "role = STAFF".to_owned(), ..request() }, "page_token"),
        (ListUsersRequest { filter: "role = KING".to_owned(), ..request() }, "filter"),
        (ListUsersRequest { filter: "email = nonsense".to_owned(), ..request() }, "filter"),
        (ListUsersRequest { filter: "password = x".to_owned(), ..request() }, "filter"),
        (ListUsersRequest { filter: "role =".to_owned(), ..request() }, "filter"),
    ];
    for (request, field) in cases {
        refused_fields(world.users.clone().list_users(staff.asks(request)).await, &[field]);
    }
}
