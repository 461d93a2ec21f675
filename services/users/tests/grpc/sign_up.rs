//! CreateUser.

use std::collections::HashSet;

use meshwork_aip::request::REPLAY;
use meshwork_api::meshwork::users::v1::{CreateUserRequest, DeleteUserRequest, Role, User};
use tonic::Code;

use crate::world::{PASSWORD, World, bearing, refused, refused_fields};

#[tokio::test]
async fn signing_up_makes_a_customer() {
    let world = World::start().await;
    let before = std::time::SystemTime::now();
    let mut request = world.sign_up_request();
    let given = request.user.as_mut().unwrap();
    (given.name, given.etag) = ("users/ignored".to_owned(), "ignored".to_owned());
    (given.create_time, given.delete_time) = (Some(before.into()), Some(before.into()));
    given.email = " Anna@Example.com ".to_owned();
    let response = world.users.clone().create_user(request).await.unwrap();
    assert!(response.metadata().get(REPLAY).is_none());
    let user = response.into_inner();
    assert_eq!(
        (user.email.as_str(), user.display_name.as_str(), user.role()),
        ("Anna@Example.com", "Person 0", Role::Customer)
    );
    assert_eq!((user.password.as_str(), user.etag.as_str(), user.delete_time), ("", "\"v1\"", None));
    assert!(user.name.strip_prefix("users/").is_some_and(meshwork_aip::name::is_uuid), "{}", user.name);
    assert_eq!(user.create_time, user.update_time);
    let made = std::time::SystemTime::try_from(user.create_time.unwrap()).unwrap();
    assert!(made >= before - std::time::Duration::from_millis(1) && made <= std::time::SystemTime::now());
    let session = world.sign_in("anna@example.COM", PASSWORD).await.unwrap();
    assert_eq!(session.user, user.name);
}

#[tokio::test]
async fn every_bad_field_is_named_and_nothing_is_written() {
    let world = World::start().await;
    let staff = world.staff().await;
    let before = world.everything(&staff).await;
    type Spoil = fn(&mut CreateUserRequest, &mut User);
    let cases: &[(&[&str], Spoil)] = &[
        (&["user.email"], |_, user| user.email.clear()),
        (&["user.email"], |_, user| user.email = "nonsense".to_owned()),
        (&["user.email"], |_, user| user.email = format!("{}@example.com", "a".repeat(250))),
        (&["user.email"], |_, user| user.email = "anna@example.com\r\nBcc: all@example.com".to_owned()),
        (&["user.email"], |_, user| user.email = "Staff@meshwork.local".to_owned()),
        (&["user.email"], |_, user| user.email = "next@services.meshwork.local".to_owned()),
        (&["user.display_name"], |_, user| user.display_name = "  ".to_owned()),
        (&["user.display_name"], |_, user| user.display_name = "a".repeat(101)),
        (&["user.display_name"], |_, user| user.display_name = "Anna\nK".to_owned()),
        (&["user.password"], |_, user| user.password.clear()),
        (&["user.password"], |_, user| user.password = "123456789".to_owned()),
        (&["user.password"], |_, user| user.password = "a".repeat(257)),
        (&["user.role"], |_, user| user.role = 99),
        (&["user_id"], |request, _| request.user_id = "abc".to_owned()),
        (&["user_id"], |request, _| request.user_id = "Anna".to_owned()),
        (&["user_id"], |request, _| request.user_id = "1anna".to_owned()),
        (&["user_id"], |request, _| request.user_id = "anna/../x".to_owned()),
        (&["user_id"], |request, _| request.user_id = "a".repeat(64)),
        (&["user_id"], |request, _| request.user_id = "service-next".to_owned()),
        (&["request_id"], |request, _| request.request_id = "not a uuid".to_owned()),
        (
            &["user.role", "user.email", "user.display_name", "user.password", "user_id", "request_id"],
            |request, user| {
                *user = User { role: -1, ..User::default() };
                (request.user_id, request.request_id) = ("-".to_owned(), "-".to_owned());
            },
        ),
    ];
    for (fields, spoil) in cases {
        let mut request = world.sign_up_request();
        let mut user = request.user.take().unwrap();
        spoil(&mut request, &mut user);
        request.user = Some(user);
        refused_fields(world.users.clone().create_user(request).await, fields);
    }
    refused_fields(world.users.clone().create_user(CreateUserRequest::default()).await, &["user"]);
    assert_eq!(world.everything(&staff).await, before);
}

#[tokio::test]
async fn only_staff_give_other_roles_than_customer() {
    let world = World::start().await;
    let (staff, customer, service) = (world.staff().await, world.customer().await, world.first("orders").await);
    let before = world.everything(&staff).await;
    for role in [Role::Staff, Role::Service] {
        let request = || {
            let mut request = world.sign_up_request();
            request.user.as_mut().unwrap().set_role(role);
            request
        };
        // The password is bad too, but who may not do it at all is told that first.
        let mut bad = request();
        bad.user.as_mut().unwrap().password.clear();
        refused(world.users.clone().create_user(bad).await, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        for token in [&customer.session.access_token, &service.session.access_token] {
            let result = world.users.clone().create_user(bearing(token, request())).await;
            refused(result, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        }
        assert_eq!(world.everything(&staff).await, before);
    }
    for role in [Role::Customer, Role::Staff, Role::Service] {
        let mut request = world.sign_up_request();
        request.user.as_mut().unwrap().set_role(role);
        request.user_id = format!("service-{}", role.as_str_name().to_lowercase().replace('_', "-"));
        let user = world.users.clone().create_user(staff.asks(request.clone())).await.unwrap().into_inner();
        assert_eq!((user.role(), user.name), (role, format!("users/{}", request.user_id)));
    }
}

#[tokio::test]
async fn ids_and_addresses_are_unique_even_after_a_deletion() {
    let world = World::start().await;
    let staff = world.staff().await;
    let mut request = world.sign_up_request();
    request.user_id = "anna".to_owned();
    let anna = world.users.clone().create_user(request.clone()).await.unwrap().into_inner();
    let mut same_email = world.sign_up_request();
    same_email.user.as_mut().unwrap().email = anna.email.to_uppercase();
    let mut same_id = world.sign_up_request();
    same_id.user_id = "anna".to_owned();
    for _ in 0..2 {
        let before = world.everything(&staff).await;
        let taken = world.users.clone().create_user(same_email.clone()).await;
        refused(taken, Code::AlreadyExists, "EMAIL_TAKEN");
        let taken = world.users.clone().create_user(same_id.clone()).await;
        refused(taken, Code::AlreadyExists, "USER_ID_TAKEN");
        assert_eq!(world.everything(&staff).await, before);
        let delete = DeleteUserRequest { name: anna.name.clone(), ..DeleteUserRequest::default() };
        world.users.clone().delete_user(staff.asks(delete)).await.ok();
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let world = World::start().await;
    let staff = world.staff().await;
    let mut request = world.sign_up_request();
    request.request_id = uuid::Uuid::new_v4().to_string();
    let first = world.users.clone().create_user(request.clone()).await.unwrap().into_inner();
    let before = world.everything(&staff).await;
    let again = world.users.clone().create_user(request.clone()).await.unwrap();
    assert_eq!(again.metadata().get(REPLAY).unwrap(), "true");
    assert_eq!(again.into_inner(), first);
    let upper = CreateUserRequest { request_id: request.request_id.to_uppercase(), ..request.clone() };
    assert_eq!(world.users.clone().create_user(upper).await.unwrap().into_inner(), first);

    let mut other_body = request.clone();
    other_body.user.as_mut().unwrap().display_name = "Somebody else".to_owned();
    refused(world.users.clone().create_user(other_body).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let mut other_password = request.clone();
    other_password.user.as_mut().unwrap().password = "another password".to_owned();
    refused(world.users.clone().create_user(other_password).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    // The same id of another principal is another request.
    let result = world.users.clone().create_user(staff.asks(request.clone())).await;
    refused(result, Code::AlreadyExists, "EMAIL_TAKEN");
    assert_eq!(world.everything(&staff).await, before);

    // The account may be gone by now; the answer is still what it was.
    let delete = DeleteUserRequest { name: first.name.clone(), ..DeleteUserRequest::default() };
    world.users.clone().delete_user(staff.asks(delete)).await.unwrap();
    assert_eq!(world.users.clone().create_user(request).await.unwrap().into_inner(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_sign_ups_one_wins() {
    let world = World::start().await;
    let staff = world.staff().await;
    let accounts = world.everything(&staff).await.len();
    let race = |request: CreateUserRequest| {
        let racers: Vec<_> = (0..20)
            .map(|_| {
                let (mut users, request) = (world.users.clone(), request.clone());
                tokio::spawn(async move { users.create_user(request).await })
            })
            .collect();
        async {
            let mut results = Vec::new();
            for racer in racers {
                results.push(racer.await.unwrap());
            }
            results
        }
    };
    let (won, lost): (Vec<_>, Vec<_>) = race(world.sign_up_request()).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 19));
    for result in lost {
        refused(result, Code::AlreadyExists, "EMAIL_TAKEN");
    }
    assert_eq!(world.everything(&staff).await.len(), accounts + 1);

    let mut request = world.sign_up_request();
    request.request_id = uuid::Uuid::new_v4().to_string();
    let answers: Vec<_> = race(request).await.into_iter().map(Result::unwrap).collect();
    let replays = answers.iter().filter(|answer| answer.metadata().contains_key(REPLAY)).count();
    let names: HashSet<_> = answers.into_iter().map(|answer| answer.into_inner().name).collect();
    assert_eq!((replays, names.len()), (19, 1));
    assert_eq!(world.everything(&staff).await.len(), accounts + 2);
}
