//! Keys, and what they are exchanged for.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_api::meshwork::users::v1::{
    ApiKey, CreateApiKeyRequest, DeleteUserRequest, ExchangeTokenRequest, GetApiKeyRequest, GetUserRequest,
    ListApiKeysRequest, ListApiKeysResponse, RevokeApiKeyRequest,
};
use meshwork_chassis::auth::{AccessTable, Claims};
use meshwork_users::{Config, SignInConfig};
use prost_types::Timestamp;
use tonic::{Code, Request, Response, Status};

use crate::world::{Caller, World, bearing, config_in, refused, refused_fields};

async fn get(world: &World, caller: &Caller, name: &str) -> Result<ApiKey, Status> {
    let request = GetApiKeyRequest { name: name.to_owned() };
    world.keys.clone().get_api_key(caller.asks(request)).await.map(Response::into_inner)
}

async fn revoke(world: &World, caller: &Caller, name: &str) -> Result<ApiKey, Status> {
    let request = RevokeApiKeyRequest { name: name.to_owned() };
    world.keys.clone().revoke_api_key(caller.asks(request)).await.map(Response::into_inner)
}

async fn page(world: &World, caller: &Caller, request: ListApiKeysRequest) -> Result<ListApiKeysResponse, Status> {
    world.keys.clone().list_api_keys(caller.asks(request)).await.map(Response::into_inner)
}

/// The first page of an account's keys.
async fn list(world: &World, caller: &Caller, parent: &str) -> Result<Vec<ApiKey>, Status> {
    let request = ListApiKeysRequest { parent: parent.to_owned(), ..ListApiKeysRequest::default() };
    page(world, caller, request).await.map(|page| page.api_keys)
}

fn claims(token: &str) -> Claims {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

fn after(life: Duration) -> Timestamp {
    (SystemTime::now() + life).into()
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn a_program_calls_by_what_its_key_is_exchanged_for() {
    let world = World::start().await;
    let anna = world.customer().await;
    let made = world.make_key(&anna, ApiKey { display_name: "Nightly".to_owned(), ..ApiKey::default() }).await.unwrap();
    let (account, random) = made.secret.strip_prefix("mwk_").unwrap().split_once('.').unwrap();
    assert_eq!((account, random.len()), (URL_SAFE_NO_PAD.encode(&anna.name()[6..]).as_str(), 43));
    let days = made.expire_time.unwrap().seconds - made.create_time.unwrap().seconds;
    assert_eq!((days, made.revoke_time), (90 * 24 * 60 * 60, None));
    // The secret is told once.
    let seen = ApiKey { secret: String::new(), ..made.clone() };
    assert_eq!(get(&world, &anna, &made.name).await.unwrap(), seen);
    assert_eq!(list(&world, &anna, &anna.name()).await.unwrap(), [seen]);

    let exchanged = world.exchange(&made.secret).await.unwrap();
    assert_eq!(exchanged.user, anna.name());
    let request = bearing(&exchanged.access_token, GetUserRequest { name: anna.name() });
    assert_eq!(world.users.clone().get_user(request).await.unwrap().into_inner(), anna.user);
    let Claims { sub, iat, exp, sid, scope, key, .. } = claims(&exchanged.access_token);
    assert_eq!((sub, sid, scope), (anna.name(), None, None));
    assert_eq!(key.as_deref(), made.name.rsplit('/').next());
    assert!(exp - iat <= 290, "{exp} - {iat}");
    assert_eq!(exchanged.access_token_expire_time.unwrap().seconds, exp.cast_signed());
}

#[tokio::test]
async fn a_token_lives_no_longer_than_its_key_and_carries_its_scopes() {
    let world = World::start().await;
    let staff = world.staff().await;
    let scopes = ["meshwork.users.v1.UserService/ListUsers", "meshwork.orders.v1.OrderService"].map(str::to_owned);
    let expire_time = Some(after(Duration::from_secs(60)));
    let key = ApiKey { scopes: scopes.to_vec(), expire_time, ..ApiKey::default() };
    let made = world.make_key(&staff, key).await.unwrap();
    assert_eq!(made.scopes, scopes);
    let exchanged = world.exchange(&made.secret).await.unwrap();
    assert_eq!(exchanged.access_token_expire_time, made.expire_time);
    let claims = claims(&exchanged.access_token);
    assert_eq!(claims.scope, Some(scopes.join(" ")));
    assert_eq!(claims.exp.cast_signed(), made.expire_time.unwrap().seconds);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_key_the_answer_is_one() {
    let world = World::start().await;
    let (staff, anna, bert) = (world.staff().await, world.customer().await, world.customer().await);
    let mut secrets = Vec::new();
    for (caller, by) in [(&anna, &anna), (&anna, &staff)] {
        let key = world.make_key(caller, ApiKey::default()).await.unwrap();
        let first = revoke(&world, by, &key.name).await.unwrap();
        assert!(first.revoke_time.is_some() && first.secret.is_empty());
        assert_eq!(revoke(&world, by, &key.name).await.unwrap(), first);
        secrets.push(key.secret);
    }
    // By the account of another, and for one that nobody has.
    let of_bert = world.make_key(&bert, ApiKey::default()).await.unwrap().secret;
    let random = of_bert.split_once('.').unwrap().1;
    let of = |id: &str| format!("mwk_{}.{random}", URL_SAFE_NO_PAD.encode(id));
    secrets.extend([of(&anna.name()[6..]), of("nobody"), "mwk_".to_owned(), "mwk_x.y".to_owned()]);
    secrets.extend(["x".to_owned(), anna.session.access_token.clone(), anna.session.refresh_token.clone()]);
    world.exchange(&of_bert).await.unwrap();
    let delete = DeleteUserRequest { name: bert.name(), ..DeleteUserRequest::default() };
    world.users.clone().delete_user(bert.asks(delete)).await.unwrap();
    secrets.push(of_bert);
    for secret in secrets {
        let status = refused(world.exchange(&secret).await, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
        assert_eq!(status.message(), "the key or the token can't be exchanged", "{secret}");
    }
    for text in [String::new(), "x".repeat(8193)] {
        refused_fields(world.exchange(&text).await, &["subject_token"]);
    }
}

#[tokio::test]
async fn who_tries_many_wrong_keys_is_refused_and_right_ones_do_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let sign_in =
        SignInConfig { address_burst: NonZeroU32::new(3).unwrap(), address_per_second: 0.001, ..Default::default() };
    let config = Config { sign_in, ..config_in(folder.path()) };
    let world = World::start_as(folder, config).await;
    let anna = world.customer().await;
    let key = world.make_key(&anna, ApiKey::default()).await.unwrap();
    let exchange = async |address: &str, text: &str| {
        let mut request = Request::new(ExchangeTokenRequest { subject_token: text.to_owned() });
        request.metadata_mut().insert("meshwork-client-address", address.parse().unwrap());
        world.auth.clone().exchange_token(request).await
    };
    for _ in 0..10 {
        exchange("192.0.2.1", &key.secret).await.unwrap();
    }
    for _ in 0..3 {
        refused(exchange("192.0.2.1", "mwk_x.y").await, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
    }
    for text in ["mwk_x.y", &key.secret] {
        refused(exchange("192.0.2.1", text).await, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
    }
    exchange("192.0.2.2", &key.secret).await.unwrap();
}

#[tokio::test]
async fn bad_keys_lists_and_names_are_refused() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let good = || ApiKey { display_name: "Nightly".to_owned(), ..ApiKey::default() };
    let create = async |key: Option<ApiKey>, id: &str| {
        let request = CreateApiKeyRequest { parent: anna.name(), api_key: key, api_key_id: id.to_owned() };
        world.keys.clone().create_api_key(anna.asks(request)).await
    };
    let scopes = |texts: &[&str]| ApiKey { scopes: texts.iter().map(|text| (*text).to_owned()).collect(), ..good() };
    let nanos = Timestamp { seconds: 1, nanos: -1 };
    let cases = [
        (None, "", "api_key"),
        (Some(ApiKey { display_name: String::new(), ..good() }), "", "api_key.display_name"),
        (Some(ApiKey { display_name: "a".repeat(101), ..good() }), "", "api_key.display_name"),
        (Some(ApiKey { expire_time: Some(after(Duration::ZERO)), ..good() }), "", "api_key.expire_time"),
        (Some(ApiKey { expire_time: Some(after(401 * DAY)), ..good() }), "", "api_key.expire_time"),
        (Some(ApiKey { expire_time: Some(nanos), ..good() }), "", "api_key.expire_time"),
        (Some(good()), "K", "api_key_id"),
        (Some(scopes(&["meshwork.orders.v1.OrderService", "all of it"])), "", "api_key.scopes[1]"),
        // What customers may not call, and what no key may.
        (Some(scopes(&["meshwork.users.v1.UserService/ListUsers"])), "", "api_key.scopes[0]"),
        (Some(scopes(&["meshwork.users.v1.ApiKeyService"])), "", "api_key.scopes[0]"),
        (Some(scopes(&["meshwork.orders.v1.OrderService"; 101])), "", "api_key.scopes"),
        (Some(scopes(&["meshwork.notifications.v1.NotificationService"; 100])), "", "api_key.scopes"),
    ];
    for (key, id, field) in cases {
        let missing = key.is_none();
        let created = create(key, id).await;
        if missing {
            refused_fields(created, &["api_key", "api_key.display_name"]);
        } else {
            refused_fields(created, &[field]);
        }
    }
    create(Some(good()), "nightly").await.unwrap();
    refused(create(Some(good()), "nightly").await, Code::AlreadyExists, "API_KEY_ID_TAKEN");
    let of_anna = || ListApiKeysRequest { parent: anna.name(), ..ListApiKeysRequest::default() };
    create(Some(good()), "").await.unwrap();
    let first = page(&world, &staff, ListApiKeysRequest { page_size: 1, ..of_anna() }).await.unwrap();
    let next = page(&world, &staff, ListApiKeysRequest { page_token: first.next_page_token.clone(), ..of_anna() });
    assert_eq!(next.await.unwrap().api_keys.len(), 1);
    for (request, field) in [
        (ListApiKeysRequest::default(), "parent"),
        (ListApiKeysRequest { page_size: -1, ..of_anna() }, "page_size"),
        (ListApiKeysRequest { page_token: "nonsense".to_owned(), ..of_anna() }, "page_token"),
        (ListApiKeysRequest { parent: staff.name(), page_token: first.next_page_token, page_size: 1 }, "page_token"),
    ] {
        refused_fields(page(&world, &staff, request).await, &[field]);
    }
    refused(list(&world, &staff, "users/nobody").await, Code::NotFound, "USER_NOT_FOUND");
    for name in ["", "users/anna", "users/anna/apiKeys/", "users/anna/sessions/x"] {
        refused_fields(get(&world, &staff, name).await, &["name"]);
        refused_fields(revoke(&world, &staff, name).await, &["name"]);
    }
}

/// The methods come from the contracts: one that is new fails here until it has a case.
#[tokio::test]
async fn every_method_for_owners_refuses_another_customer() {
    let world = World::start().await;
    let (staff, anna, bert) = (world.staff().await, world.customer().await, world.customer().await);
    let service = world.first("orders").await;
    let key = world.make_key(&anna, ApiKey::default()).await.unwrap();
    let names = [key.name.clone(), format!("{}/apiKeys/none", anna.name())];
    let before = list(&world, &anna, &anna.name()).await.unwrap();
    assert_eq!(list(&world, &staff, &anna.name()).await.unwrap(), before);
    let table = AccessTable::from_contracts().unwrap();
    let owned = table.owned().into_iter().filter_map(|path| path.strip_prefix("/meshwork.users.v1.ApiKeyService/"));
    let mut tested = 0;
    for method in owned {
        for caller in [&bert, &service] {
            match method {
                "CreateApiKey" => {
                    // Nor do the staff make keys of others.
                    for caller in [caller, &staff] {
                        let api_key = Some(ApiKey { display_name: "Mine".to_owned(), ..ApiKey::default() });
                        let request = CreateApiKeyRequest { parent: anna.name(), api_key, ..Default::default() };
                        let created = world.keys.clone().create_api_key(caller.asks(request)).await;
                        refused(created, Code::PermissionDenied, "NOT_ALLOWED");
                    }
                }
                "ListApiKeys" => {
                    let listed = list(&world, caller, &anna.name()).await;
                    refused(listed, Code::PermissionDenied, "NOT_ALLOWED");
                }
                // Whether there is such a key is nobody's business.
                "GetApiKey" => {
                    for name in &names {
                        refused(get(&world, caller, name).await, Code::NotFound, "API_KEY_NOT_FOUND");
                    }
                }
                "RevokeApiKey" => {
                    for name in &names {
                        refused(revoke(&world, caller, name).await, Code::NotFound, "API_KEY_NOT_FOUND");
                    }
                    // Nor is it revoked under one's own name.
                    let own = key.name.replace(&anna.name(), &caller.name());
                    refused(revoke(&world, caller, &own).await, Code::NotFound, "API_KEY_NOT_FOUND");
                }
                _ => panic!("{method} is for owners: add a call by another customer"),
            }
        }
        tested += 1;
    }
    assert_eq!(tested, 4);
    let anonymous = Request::new(RevokeApiKeyRequest { name: key.name });
    refused(world.keys.clone().revoke_api_key(anonymous).await, Code::Unauthenticated, "NOT_SIGNED_IN");
    assert_eq!(list(&world, &anna, &anna.name()).await.unwrap(), before);
}
