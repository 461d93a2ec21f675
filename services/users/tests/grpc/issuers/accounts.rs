//! Whose account a token of another issuer leads to.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use meshwork_api::meshwork::users::v1::{
    ApiKey, CreateApiKeyRequest, CreateUserRequest, DeleteUserRequest, ExchangedToken, GetUserRequest,
    ListApiKeysRequest, ListUsersRequest, RevokeApiKeyRequest, Role, UpdateUserRequest, User,
};
use meshwork_users::Config;
use prost_types::FieldMask;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::Code;

use super::provider::{Provider, now};
use super::{exchange, world, world_in};
use crate::world::{PASSWORD, World, bearing, config_in, eventually, refused, refused_fields};

/// What the account of a token says of itself.
async fn account(world: &World, exchanged: &ExchangedToken) -> User {
    let request = bearing(&exchanged.access_token, GetUserRequest { name: exchanged.user.clone() });
    world.users.clone().get_user(request).await.unwrap().into_inner()
}

fn claims(exchanged: &ExchangedToken) -> Value {
    let claims = exchanged.access_token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn who_comes_first_gets_an_account_and_has_it_from_then_on() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({}))]).await;
    let first = exchange(&world, &provider.token("anna")).await.unwrap();
    let own = account(&world, &first).await;
    let shown = (own.email.as_str(), own.display_name.as_str(), own.role());
    assert_eq!(shown, ("", "Customer", Role::Customer), "what the token says of roles is nothing to us");
    let again = exchange(&world, &provider.token("anna")).await.unwrap();
    let other = exchange(&world, &provider.token("Anna")).await.unwrap();
    assert_eq!(again.user, first.user);
    assert_ne!(other.user, first.user, "subjects are compared to the letter");
    let claims = claims(&first);
    assert_eq!((&claims["role"], claims.get("sid")), (&json!("customer"), None));
    let list = bearing(&first.access_token, ListUsersRequest::default());
    refused(world.users.clone().list_users(list).await, Code::PermissionDenied, "NOT_ALLOWED");
}

#[tokio::test]
async fn our_token_ends_with_the_other_one() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({}))]).await;
    let ends = now() + 30;
    let exchanged = exchange(&world, &provider.token_with("anna", &json!({ "exp": ends }))).await.unwrap();
    assert_eq!(claims(&exchanged)["exp"], json!(ends));
    assert_eq!(exchanged.access_token_expire_time.unwrap().seconds, i64::try_from(ends).unwrap());
    let exchanged =
        exchange(&world, &provider.token_with("anna", &json!({ "exp": 1_000_000_000_000_u64 }))).await.unwrap();
    let most = now() + world.config.access_token_ttl.as_secs();
    assert!(claims(&exchanged)["exp"].as_u64().unwrap() <= most);
    // By the skew of clocks it is good for a moment longer, in which there is nothing left to give.
    let over = exchange(&world, &provider.token_with("anna", &json!({ "exp": now() - 1 }))).await;
    refused(over, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
}

#[tokio::test]
async fn of_calls_that_race_to_make_an_account_all_get_the_same() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({}))]).await;
    let staff = world.staff().await;
    let before = world.everything(&staff).await.len();
    let token = provider.token("anna");
    let exchanged = join_all((0..16).map(|_| exchange(&world, &token))).await;
    let names: std::collections::HashSet<_> = exchanged.into_iter().map(|exchanged| exchanged.unwrap().user).collect();
    assert_eq!(names.len(), 1);
    assert_eq!(world.everything(&staff).await.len(), before + 1);
}

#[tokio::test]
async fn the_same_subject_of_another_issuer_is_somebody_else() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let world = world(vec![first.settings(&json!({})), second.settings(&json!({}))]).await;
    let of_first = exchange(&world, &first.token("anna")).await.unwrap();
    let of_second = exchange(&world, &second.token("anna")).await.unwrap();
    assert_ne!(of_first.user, of_second.user);
    // Signed by one in the name of the other.
    let forged = first.signer.sign(&second.claims("anna", &json!({})));
    refused(exchange(&world, &forged).await, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
}

#[tokio::test]
async fn roles_come_from_the_settings_with_each_token() {
    let provider = Provider::start().await;
    let roles = json!({ "roles": { "anna": "staff", "bert": "customer" } });
    let world = world(vec![provider.settings(&roles)]).await;
    let anna = exchange(&world, &provider.token("anna")).await.unwrap();
    let list = || ListUsersRequest::default();
    world.users.clone().list_users(bearing(&anna.access_token, list())).await.unwrap();
    assert_eq!(account(&world, &anna).await.role(), Role::Customer, "the account keeps nothing of it");
    let bert = exchange(&world, &provider.token("bert")).await.unwrap();
    assert_eq!(claims(&bert)["role"], json!("customer"));

    let world = world_in(world.stop().await, vec![provider.settings(&json!({}))]).await;
    let again = exchange(&world, &provider.token("anna")).await.unwrap();
    assert_eq!((&again.user, &claims(&again)["role"]), (&anna.user, &json!("customer")));
}

/// The settings may take the role away, and the issuer its tokens; a key would go on for a year.
#[tokio::test]
async fn an_account_of_another_issuers_subject_makes_no_keys() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({ "roles": { "anna": "staff" } }))]).await;
    for subject in ["anna", "bert"] {
        let exchanged = exchange(&world, &provider.token(subject)).await.unwrap();
        let make = async |scopes: &[&str]| {
            let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            let api_key = Some(ApiKey { display_name: "Nightly".to_owned(), scopes, ..ApiKey::default() });
            let parent = exchanged.user.clone();
            let request = CreateApiKeyRequest { parent, api_key, ..CreateApiKeyRequest::default() };
            world.keys.clone().create_api_key(bearing(&exchanged.access_token, request)).await
        };
        for scopes in [&[][..], &["meshwork.users.v1.UserService"]] {
            refused(make(scopes).await, Code::FailedPrecondition, "NO_PASSWORD");
        }
        let request = ListApiKeysRequest { parent: exchanged.user.clone(), ..ListApiKeysRequest::default() };
        let listed = world.keys.clone().list_api_keys(bearing(&exchanged.access_token, request)).await.unwrap();
        assert!(listed.into_inner().api_keys.is_empty());
    }
}

/// Makes a customer's key one of the account `user`, as an earlier release could make it, and returns its secret.
async fn hand_over(world: &World, key: &ApiKey, user: &str) -> String {
    let id = user.strip_prefix("users/").unwrap();
    let (_, random) = key.secret.split_once('.').unwrap();
    let secret = format!("mwk_{}.{random}", URL_SAFE_NO_PAD.encode(id));
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.config.data.join("users.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let given = sqlx::query("UPDATE api_keys SET user_id = $1, digest = $2 WHERE id = $3")
        .bind(id)
        .bind(Sha256::digest(&secret).to_vec())
        .bind(key.name.rsplit('/').next().unwrap())
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(given.rows_affected(), 1);
    secret
}

#[tokio::test]
async fn a_key_of_another_issuers_subject_is_exchanged_for_nothing() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({}))]).await;
    let (bert, carl) = (world.customer().await, world.customer().await);
    let key = world.make_key(&bert, ApiKey::default()).await.unwrap();
    let of_carl = hand_over(&world, &key, &carl.name()).await;
    assert_eq!(exchange(&world, &of_carl).await.unwrap().user, carl.name());
    let anna = exchange(&world, &provider.token("anna")).await.unwrap();
    let of_anna = hand_over(&world, &key, &anna.user).await;
    refused(exchange(&world, &of_anna).await, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
    // It is seen and revoked as any.
    let name = key.name.replace(&bert.name(), &anna.user);
    let revoke = bearing(&anna.access_token, RevokeApiKeyRequest { name: name.clone() });
    let revoked = world.keys.clone().revoke_api_key(revoke).await.unwrap().into_inner();
    assert!(revoked.name == name && revoked.revoke_time.is_some(), "{revoked:?}");
}

#[tokio::test]
async fn without_new_accounts_only_those_who_are_known_come_in() {
    let provider = Provider::start().await;
    let open = world(vec![provider.settings(&json!({}))]).await;
    let known = exchange(&open, &provider.token("anna")).await.unwrap();
    let closed = provider.settings(&json!({ "create_accounts": false, "roles": { "bert": "customer" } }));
    let world = world_in(open.stop().await, vec![closed]).await;
    assert_eq!(exchange(&world, &provider.token("anna")).await.unwrap().user, known.user);
    exchange(&world, &provider.token("bert")).await.unwrap();
    let stranger = exchange(&world, &provider.token("carl")).await;
    refused(stranger, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
    let world = world_in(world.stop().await, Vec::new()).await;
    refused(exchange(&world, &provider.token("anna")).await, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
}

#[tokio::test]
async fn a_deleted_account_stays_deleted() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({}))]).await;
    let anna = exchange(&world, &provider.token("anna")).await.unwrap();
    let request = DeleteUserRequest { name: anna.user.clone(), ..DeleteUserRequest::default() };
    world.users.clone().delete_user(bearing(&anna.access_token, request)).await.unwrap();
    for _ in 0..2 {
        let refusal = exchange(&world, &provider.token("anna")).await;
        refused(refusal, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
    }
    let staff = world.staff().await;
    let all = world.everything(&staff).await;
    let of_anna: Vec<_> = all.iter().filter(|user| user.name == anna.user).collect();
    assert!(matches!(of_anna[..], [user] if user.delete_time.is_some() && user.email.is_empty()), "{of_anna:?}");
}

#[tokio::test]
async fn an_erased_account_lets_its_subject_in_no_more() {
    let provider = Provider::start().await;
    let issuers = || vec![provider.settings(&json!({}))];
    let before = world(issuers()).await;
    let anna = exchange(&before, &provider.token("anna")).await.unwrap();
    let request = DeleteUserRequest { name: anna.user.clone(), ..DeleteUserRequest::default() };
    before.users.clone().delete_user(bearing(&anna.access_token, request)).await.unwrap();
    let folder = before.stop().await;
    let config = Config { issuers: issuers(), erase_after: Duration::ZERO, ..config_in(folder.path()) };
    let world = World::start_as(folder, config).await;
    let staff = world.staff().await;
    let shown = async || {
        let get = staff.asks(GetUserRequest { name: anna.user.clone() });
        world.users.clone().get_user(get).await.unwrap().into_inner()
    };
    eventually("the account to be erased", async || shown().await.display_name.is_empty()).await;
    let refusal = exchange(&world, &provider.token("anna")).await;
    refused(refusal, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
    let erased = shown().await;
    assert!(erased.delete_time.is_some() && erased.email.is_empty(), "{erased:?}");
}

#[tokio::test]
async fn an_account_of_another_issuers_subject_gets_no_address_and_no_password() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({}))]).await;
    let anna = exchange(&world, &provider.token("anna")).await.unwrap();
    let staff = world.staff().await;
    let update = |user: User, current_password: &str| UpdateUserRequest {
        user: Some(User { name: anna.user.clone(), ..user }),
        current_password: current_password.to_owned(),
        ..UpdateUserRequest::default()
    };
    let password = || User { password: PASSWORD.to_owned(), ..User::default() };
    let email = || User { email: "anna@example.com".to_owned(), ..User::default() };
    for request in
        [update(password(), ""), update(password(), PASSWORD), update(email(), ""), update(email(), PASSWORD)]
    {
        for token in [&anna.access_token, &staff.session.access_token] {
            let updated = world.users.clone().update_user(bearing(token, request.clone())).await;
            refused(updated, Code::FailedPrecondition, "NO_PASSWORD");
        }
    }
    let name = update(User { display_name: "Anna K".to_owned(), ..User::default() }, "");
    let updated = world.users.clone().update_user(bearing(&anna.access_token, name)).await.unwrap().into_inner();
    assert_eq!((updated.display_name.as_str(), updated.email.as_str()), ("Anna K", ""));
    // Replaced by what was read, as any.
    let all = UpdateUserRequest {
        user: Some(User { display_name: "Anna".to_owned(), ..updated }),
        update_mask: Some(FieldMask { paths: vec!["*".to_owned()] }),
        ..UpdateUserRequest::default()
    };
    let replaced = world.users.clone().update_user(bearing(&anna.access_token, all)).await.unwrap().into_inner();
    assert_eq!((replaced.display_name.as_str(), replaced.email.as_str()), ("Anna", ""));
    assert_eq!(exchange(&world, &provider.token("anna")).await.unwrap().user, anna.user);
}

#[tokio::test]
async fn nobody_takes_the_account_of_somebody_who_has_not_come_yet() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({}))]).await;
    let anna = exchange(&world, &provider.token("anna")).await.unwrap();
    let staff = world.staff().await;
    let id = anna.user.strip_prefix("users/").unwrap().to_owned();
    let mut next = id.clone();
    next.replace_range(..8, "00000000");
    for user_id in [id, next] {
        let request = CreateUserRequest { user_id, ..world.sign_up_request() };
        refused_fields(world.users.clone().create_user(request.clone()).await, &["user_id"]);
        refused_fields(world.users.clone().create_user(staff.asks(request)).await, &["user_id"]);
    }
    let mut request = world.sign_up_request();
    request.user.as_mut().unwrap().email = "Anna@Foreign.INVALID".to_owned();
    refused_fields(world.users.clone().create_user(request).await, &["user.email"]);
}

#[tokio::test]
async fn an_account_with_a_password_is_nobody_elses() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({}))]).await;
    let anna = exchange(&world, &provider.token("anna")).await.unwrap();
    // As an earlier release beside this one could make it.
    let file = world.config.data.join("users.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let taken = sqlx::query("UPDATE users SET password_hash = '$argon2id$x' WHERE id = $1")
        .bind(anna.user.strip_prefix("users/").unwrap())
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(taken.rows_affected(), 1);
    refused(exchange(&world, &provider.token("anna")).await, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
}
