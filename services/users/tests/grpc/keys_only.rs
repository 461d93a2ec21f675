//! What programs with keys may do: they change no credentials and make no keys.

use meshwork_api::meshwork::users::v1::{
    ApiKey, CreateApiKeyRequest, CreateUserRequest, DeleteUserRequest, ExchangeTokenRequest, GetApiKeyRequest,
    GetJsonWebKeySetRequest, GetUserRequest, ListApiKeysRequest, ListSessionsRequest, ListUsersRequest,
    RefreshSessionRequest, RevokeApiKeyRequest, RevokeSessionRequest, Role, SignInRequest, SignOutRequest,
    UpdateUserRequest, User,
};
use meshwork_chassis::auth::AccessTable;
use prost_types::FieldMask;
use tonic::{Code, Response, Status};

use crate::world::{Caller, PASSWORD, World, refused, refused_fields};

/// The methods that a key may call, if its account may. Of UpdateUser and CreateUser not all is: see the other tests.
const ALLOWED: &[&str] = &[
    "AuthService/ExchangeToken",
    "AuthService/GetJsonWebKeySet",
    "AuthService/RefreshSession",
    "AuthService/SignIn",
    "AuthService/SignOut",
    "UserService/CreateUser",
    "UserService/GetUser",
    "UserService/ListUsers",
    "UserService/UpdateUser",
];

/// Calls a method by a program of `owner`, about what is the owner's.
async fn call(world: &World, method: &str, program: &Caller, owner: &Caller) -> Result<(), Status> {
    let (mut auth, mut keys, mut users) = (world.auth.clone(), world.keys.clone(), world.users.clone());
    let (parent, name) = (owner.name(), owner.name());
    let refresh_token = owner.session.refresh_token.clone();
    match method {
        "ApiKeyService/CreateApiKey" => {
            let api_key = Some(ApiKey { display_name: "Another".to_owned(), ..ApiKey::default() });
            let request = CreateApiKeyRequest { parent, api_key, ..Default::default() };
            keys.create_api_key(program.asks(request)).await.map(drop)
        }
        "ApiKeyService/GetApiKey" => {
            let request = GetApiKeyRequest { name: format!("{name}/apiKeys/none") };
            keys.get_api_key(program.asks(request)).await.map(drop)
        }
        "ApiKeyService/ListApiKeys" => {
            let request = ListApiKeysRequest { parent, ..Default::default() };
            keys.list_api_keys(program.asks(request)).await.map(drop)
        }
        "ApiKeyService/RevokeApiKey" => {
            let request = RevokeApiKeyRequest { name: format!("{name}/apiKeys/none") };
            keys.revoke_api_key(program.asks(request)).await.map(drop)
        }
        "AuthService/ExchangeToken" => {
            let request = ExchangeTokenRequest { subject_token: "mwk_x.y".to_owned() };
            auth.exchange_token(program.asks(request)).await.map(drop)
        }
        "AuthService/GetJsonWebKeySet" => {
            auth.get_json_web_key_set(program.asks(GetJsonWebKeySetRequest::default())).await.map(drop)
        }
        "AuthService/ListSessions" => {
            let request = ListSessionsRequest { parent, ..Default::default() };
            auth.list_sessions(program.asks(request)).await.map(drop)
        }
        "AuthService/RefreshSession" => {
            auth.refresh_session(program.asks(RefreshSessionRequest { refresh_token })).await.map(drop)
        }
        "AuthService/RevokeSession" => {
            let request = RevokeSessionRequest { name: format!("{name}/sessions/none") };
            auth.revoke_session(program.asks(request)).await.map(drop)
        }
        "AuthService/SignIn" => {
            let request = SignInRequest { email: owner.user.email.clone(), password: PASSWORD.to_owned() };
            auth.sign_in(program.asks(request)).await.map(drop)
        }
        "AuthService/SignOut" => auth.sign_out(program.asks(SignOutRequest { refresh_token })).await.map(drop),
        "UserService/CreateUser" => users.create_user(program.asks(world.sign_up_request())).await.map(drop),
        "UserService/DeleteUser" => {
            users.delete_user(program.asks(DeleteUserRequest { name, ..Default::default() })).await.map(drop)
        }
        "UserService/GetUser" => users.get_user(program.asks(GetUserRequest { name })).await.map(drop),
        "UserService/ListUsers" => users.list_users(program.asks(ListUsersRequest::default())).await.map(drop),
        "UserService/UpdateUser" => {
            let user = User { name, display_name: "New".to_owned(), ..User::default() };
            let request = UpdateUserRequest { user: Some(user), ..Default::default() };
            users.update_user(program.asks(request)).await.map(drop)
        }
        _ => panic!("{method} is new: say here whether keys may call it, and how"),
    }
}

/// The methods come from the contracts: one that is new fails here until it has a case.
#[tokio::test]
async fn of_all_methods_keys_may_call_those_that_touch_no_credentials() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let program = world.program_of(&anna).await;
    let before = world.everything(&staff).await.len();
    let table = AccessTable::from_contracts().unwrap().layers();
    let methods = table.methods().filter_map(|(path, _)| path.strip_prefix("/meshwork.users.v1."));
    let methods: Vec<_> = methods.map(str::to_owned).collect();
    for method in &methods {
        let called = call(&world, method, &program, &anna).await;
        if ALLOWED.contains(&method.as_str()) {
            let reason = called.err().map(|status| format!("{status:?}")).unwrap_or_default();
            assert!(!reason.contains("NOT_FOR_KEYS"), "{method}: {reason}");
        } else {
            refused(called, Code::PermissionDenied, "NOT_FOR_KEYS");
            let scopes = vec![format!("meshwork.users.v1.{method}")];
            refused_fields(world.make_key(&anna, ApiKey { scopes, ..ApiKey::default() }).await, &["api_key.scopes[0]"]);
        }
    }
    assert!(methods.len() >= 16 && ALLOWED.iter().all(|allowed| methods.iter().any(|method| method == allowed)));
    // One has signed up.
    assert_eq!(world.everything(&staff).await.len(), before + 1);
}

#[tokio::test]
async fn a_key_changes_neither_addresses_nor_passwords_whoever_has_it() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let (of_anna, of_staff) = (world.program_of(&anna).await, world.program_of(&staff).await);
    let before = world.everything(&staff).await;
    let user = |email: &str, password: &str| User {
        name: anna.name(),
        email: email.to_owned(),
        display_name: "New".to_owned(),
        password: password.to_owned(),
        ..User::default()
    };
    let changes = [
        (user("new@example.com", ""), None),
        (user("", "another password"), None),
        (user(&anna.user.email, ""), Some(FieldMask { paths: vec!["*".to_owned()] })),
    ];
    for program in [&of_anna, &of_staff] {
        for (user, update_mask) in changes.clone() {
            let current_password = PASSWORD.to_owned();
            let request = UpdateUserRequest { user: Some(user), update_mask, current_password };
            let updated = world.users.clone().update_user(program.asks(request)).await.map(Response::into_inner);
            refused(updated, Code::PermissionDenied, "NOT_FOR_KEYS");
        }
    }
    // Somebody of the staff could sign in to what their program has made.
    for role in [Role::Staff, Role::Service] {
        let mut request = world.sign_up_request();
        request.user.as_mut().unwrap().role = role.into();
        let created = world.users.clone().create_user(of_staff.asks(request.clone())).await.map(Response::into_inner);
        refused(created, Code::PermissionDenied, "NOT_FOR_KEYS");
        let created = world.users.clone().create_user(of_anna.asks(request)).await.map(Response::into_inner);
        refused(created, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
    }
    // Nor do they take what is kept for such accounts.
    let mut request = CreateUserRequest { user_id: "service-tomorrow".to_owned(), ..world.sign_up_request() };
    request.user.as_mut().unwrap().email = "tomorrow@services.meshwork.local".to_owned();
    let created = world.users.clone().create_user(of_staff.asks(request)).await;
    refused_fields(created, &["user_id", "user.email"]);
    assert_eq!(world.everything(&staff).await, before);
}
