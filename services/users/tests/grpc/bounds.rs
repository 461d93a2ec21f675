//! However much is sent, what is answered is small.

use meshwork_api::meshwork::users::v1::{
    CreateUserRequest, DeleteUserRequest, GetJsonWebKeySetRequest, GetUserRequest, ListSessionsRequest,
    ListUsersRequest, RefreshSessionRequest, RevokeSessionRequest, SignInRequest, SignOutRequest, UpdateUserRequest,
    User,
};
use meshwork_chassis::MAX_REQUEST;
use meshwork_testkit::assert_small;
use prost_types::FieldMask;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_types::StatusExt;

use crate::world::{World, refused_fields};

/// Nearly all that a message may hold.
const MOST: usize = MAX_REQUEST - 1024;

#[tokio::test]
async fn a_mask_that_is_too_long_is_refused_unread() {
    let world = World::start().await;
    let anna = world.customer().await;
    let unknown: Vec<_> = (0..1000).map(|at| format!("unknown{at:04}")).collect();
    let masked = async |paths: Vec<String>, fields: &[&str]| {
        let user = User { name: anna.name(), ..User::default() };
        let update_mask = Some(FieldMask { paths });
        let request = UpdateUserRequest { user: Some(user), update_mask, ..UpdateUserRequest::default() };
        let status = refused_fields(world.users.clone().update_user(anna.asks(request)).await, fields);
        assert_small(&status);
        status.message().to_owned()
    };
    // The shortest paths take two or three bytes of a message.
    let long =
        [unknown.clone(), vec![String::new(); MOST / 2], vec!["x".to_owned(); MOST / 3], vec!["\0".repeat(MOST)]];
    for paths in long {
        let message = masked(paths, &["update_mask"]).await;
        assert!(message.starts_with("update_mask must have at most 100 paths"), "{message}");
    }
    let message = masked(unknown[..100].to_vec(), &["update_mask"; 20]).await;
    assert!(message.ends_with("; 80 more faults of the request are not listed"), "{message}");
}

#[tokio::test]
async fn every_text_that_is_too_long_is_named() {
    let world = World::start().await;
    let staff = world.staff().await;
    let (mut users, mut auth) = (world.users.clone(), world.auth.clone());
    for text in ["x", "\"\0\u{7f}\u{10ffff}", "\u{1f4a1}"] {
        let long = || text.repeat(5_000);
        let user = || User {
            name: format!("users/{}", long()),
            email: long(),
            display_name: long(),
            password: long(),
            etag: long(),
            ..User::default()
        };
        let create = CreateUserRequest { user: Some(user()), user_id: long(), request_id: long() };
        let fields = ["user.email", "user.display_name", "user.password", "user_id", "request_id"];
        assert_small(&refused_fields(users.create_user(staff.asks(create)).await, &fields));
        let update = UpdateUserRequest { user: Some(user()), ..UpdateUserRequest::default() };
        let fields = ["user.name", "user.email", "user.display_name", "user.password", "user.etag"];
        assert_small(&refused_fields(users.update_user(staff.asks(update)).await, &fields));
        let update = UpdateUserRequest {
            user: Some(User { name: staff.name(), display_name: "New".to_owned(), ..User::default() }),
            current_password: long(),
            ..UpdateUserRequest::default()
        };
        assert_small(&refused_fields(users.update_user(staff.asks(update)).await, &["current_password"]));
        let get = GetUserRequest { name: long() };
        assert_small(&refused_fields(users.get_user(staff.asks(get)).await, &["name"]));
        let delete = DeleteUserRequest { name: staff.name(), etag: long() };
        assert_small(&refused_fields(users.delete_user(staff.asks(delete)).await, &["etag"]));
        let list = ListUsersRequest { page_token: long(), filter: long(), ..Default::default() };
        assert_small(&refused_fields(users.list_users(staff.asks(list)).await, &["page_token", "filter"]));
        for filter in ["x".repeat(1000) + " = x", format!("email = {}", "x".repeat(1000))] {
            let list = ListUsersRequest { filter, ..Default::default() };
            assert_small(&refused_fields(users.list_users(staff.asks(list)).await, &["filter"]));
        }

        let sign_in = SignInRequest { email: long(), password: long() };
        assert_small(&refused_fields(auth.sign_in(sign_in).await, &["email", "password"]));
        let refresh = RefreshSessionRequest { refresh_token: long() };
        assert_small(&refused_fields(auth.refresh_session(refresh).await, &["refresh_token"]));
        let sign_out = SignOutRequest { refresh_token: long() };
        assert_small(&refused_fields(auth.sign_out(sign_out).await, &["refresh_token"]));
        let list = ListSessionsRequest { parent: long(), ..Default::default() };
        assert_small(&refused_fields(auth.list_sessions(staff.asks(list)).await, &["parent"]));
        let list = ListSessionsRequest { parent: staff.name(), page_token: long(), ..Default::default() };
        assert_small(&refused_fields(auth.list_sessions(staff.asks(list)).await, &["page_token"]));
        let revoke = RevokeSessionRequest { name: format!("{}/sessions/{}", staff.name(), long()) };
        assert_small(&refused_fields(auth.revoke_session(staff.asks(revoke)).await, &["name"]));
        let keys = GetJsonWebKeySetRequest { name: long() };
        assert_small(&refused_fields(auth.get_json_web_key_set(keys).await, &["name"]));
    }
}

/// Empty texts cost a caller next to nothing where they are packed, and a service a hundred times their bytes.
#[tokio::test]
async fn a_message_that_is_larger_unpacked_than_any_method_needs_is_refused() {
    let world = World::start().await;
    let anna = world.customer().await;
    let plain = world.users.clone();
    for mut users in [plain.clone(), plain.send_compressed(CompressionEncoding::Gzip)] {
        let user = User { name: anna.name(), ..User::default() };
        let update_mask = Some(FieldMask { paths: vec![String::new(); MAX_REQUEST] });
        let request = UpdateUserRequest { user: Some(user), update_mask, ..UpdateUserRequest::default() };
        let status = users.update_user(anna.asks(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "MESSAGE_TOO_LARGE");
        assert_small(&status);
    }
}
