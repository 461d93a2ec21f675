//! Access tokens: which verify, and which don't.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meshwork_api::meshwork::users::v1::{GetJsonWebKeySetRequest, GetUserRequest, JsonWebKey};
use meshwork_chassis::auth::{Claims, GrpcKeys, Verifier};
use meshwork_chassis::{Principal, Role};
use meshwork_users::adapters::{Ed25519Issuer, load_signing_keys};
use meshwork_users::ports::{Basis, TokenIssuer};
use time::OffsetDateTime;
use tonic::Code;

use crate::world::{Caller, World, bearing, refused, refused_fields};

/// The only published key.
async fn key(world: &World) -> JsonWebKey {
    let request = GetJsonWebKeySetRequest { name: "jsonWebKeySet".to_owned() };
    let set = world.auth.clone().get_json_web_key_set(request).await.unwrap().into_inner();
    assert_eq!((set.name.as_str(), set.keys.len()), ("jsonWebKeySet", 1));
    set.keys.into_iter().next().unwrap()
}

#[tokio::test]
async fn tokens_verify_by_the_published_keys() {
    let world = World::start().await;
    let (anna, staff) = (world.customer().await, world.staff().await);
    let verifier = Verifier::new(Arc::new(GrpcKeys::new(world.channel.clone())), "meshwork", "meshwork");
    for (caller, role) in [(&anna, Role::Customer), (&staff, Role::Staff)] {
        let principal = Principal::User { name: caller.name().parse().unwrap(), role };
        assert_eq!(verifier.verify(&caller.session.access_token).await, Ok(principal));
    }
    let key = key(&world).await;
    let rest = (key.kty.as_str(), key.crv.as_str(), key.r#use.as_str(), key.alg.as_str());
    assert_eq!(rest, ("OKP", "Ed25519", "sig", "EdDSA"));
    let header = jsonwebtoken::decode_header(&anna.session.access_token).unwrap();
    assert_eq!((header.kid.as_deref(), header.alg), (Some(key.kid.as_str()), Algorithm::EdDSA));
}

#[tokio::test]
async fn the_key_set_has_one_name() {
    let world = World::start().await;
    world.auth.clone().get_json_web_key_set(GetJsonWebKeySetRequest::default()).await.unwrap();
    let request = GetJsonWebKeySetRequest { name: "other".to_owned() };
    refused_fields(world.auth.clone().get_json_web_key_set(request).await, &["name"]);
}

#[tokio::test]
async fn a_key_that_was_added_signs_after_a_restart_and_the_old_tokens_stay_good() {
    let world = World::start().await;
    let anna = world.customer().await;
    let old = key(&world).await;
    let own = world.config.data.join("signing-key-2027-01-31.pem");
    let folder = world.stop().await;
    let pem = SigningKey::from_bytes(&[9; 32]).to_pkcs8_pem(LineEnding::LF).unwrap();
    std::fs::write(own, pem).unwrap();

    let world = World::start_in(folder).await;
    let set = world.auth.clone().get_json_web_key_set(GetJsonWebKeySetRequest::default()).await.unwrap().into_inner();
    let [new, retired] = set.keys.try_into().unwrap();
    assert_eq!(retired, old);
    let staff = world.staff().await;
    for (token, kid) in [(&staff.session.access_token, &new.kid), (&anna.session.access_token, &old.kid)] {
        assert_eq!(jsonwebtoken::decode_header(token).unwrap().kid.as_ref(), Some(kid));
        let request = bearing(token, GetUserRequest { name: anna.name() });
        assert_eq!(world.users.clone().get_user(request).await.unwrap().into_inner(), anna.user);
    }
}

/// The claims of a token that would be good.
fn claims(caller: &Caller) -> Claims {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (iss, aud) = ("meshwork".to_owned(), "meshwork".to_owned());
    Claims { iss, aud, sub: caller.name(), role: Role::Staff, iat: now, exp: now + 600, sid: None }
}

/// A token with this header and these claims, whose signature `sign` makes.
fn token(header: &str, claims: &Claims, sign: impl Fn(&str) -> String) -> String {
    let part = |json: &[u8]| URL_SAFE_NO_PAD.encode(json);
    let message = format!("{}.{}", part(header.as_bytes()), part(&serde_json::to_vec(claims).unwrap()));
    let signature = sign(&message);
    format!("{message}.{signature}")
}

async fn is_refused(world: &World, token: &str, what: &str) {
    let request = bearing(token, GetUserRequest { name: "users/staff".to_owned() });
    let status = refused(world.users.clone().get_user(request).await, Code::Unauthenticated, "BAD_TOKEN");
    assert!(!status.message().contains(token), "{what}: the message shows the token");
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let world = World::start().await;
    let anna = world.customer().await;
    let key = key(&world).await;
    let own = load_signing_keys(&world.config.data).unwrap().current;
    let name = anna.name().parse().unwrap();
    let role = meshwork_users::domain::Role::Staff;
    let now = OffsetDateTime::now_utc();
    let issue = |key: &SigningKey, issuer, audience, lives: Duration| {
        let token = Ed25519Issuer::new(key, issuer, audience).unwrap();
        let (issued, expires) = (now - Duration::from_secs(3600), now - Duration::from_secs(60) + lives);
        token.issue(&name, role, Basis::Session("s"), issued, expires).unwrap()
    };
    let hour = Duration::from_secs(3600);
    let good = issue(&own, "meshwork", "meshwork", hour);
    let request = bearing(good.expose(), GetUserRequest { name: "users/staff".to_owned() });
    world.users.clone().get_user(request).await.expect("what the forged ones are like is good");

    is_refused(&world, issue(&own, "meshwork", "meshwork", Duration::ZERO).expose(), "expired").await;
    is_refused(&world, issue(&own, "meshwork", "other", hour).expose(), "another audience").await;
    is_refused(&world, issue(&own, "other", "meshwork", hour).expose(), "another issuer").await;
    let stranger = SigningKey::from_bytes(&[7; 32]);
    is_refused(&world, issue(&stranger, "meshwork", "meshwork", hour).expose(), "another key").await;

    let kid = &key.kid;
    let own_header = format!(r#"{{"typ":"JWT","alg":"EdDSA","kid":"{kid}"}}"#);
    let by_stranger = |message: &str| {
        use ed25519_dalek::Signer;
        URL_SAFE_NO_PAD.encode(stranger.sign(message.as_bytes()).to_bytes())
    };
    is_refused(&world, &token(&own_header, &claims(&anna), by_stranger), "another key with our id").await;
    for none in ["none", "None", "NONE"] {
        let header = format!(r#"{{"typ":"JWT","alg":"{none}","kid":"{kid}"}}"#);
        is_refused(&world, &token(&header, &claims(&anna), |_| String::new()), "no algorithm").await;
    }
    // The classic: the public key, taken for the secret of an HMAC.
    let public = URL_SAFE_NO_PAD.decode(&key.x).unwrap();
    for secret in [public.as_slice(), key.x.as_bytes()] {
        let header = Header { kid: Some(kid.clone()), ..Header::new(Algorithm::HS256) };
        let hmac = jsonwebtoken::encode(&header, &claims(&anna), &EncodingKey::from_secret(secret)).unwrap();
        is_refused(&world, &hmac, "HMAC by the public key").await;
    }

    let parts: Vec<_> = anna.session.access_token.split('.').collect();
    let staffs = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims(&anna)).unwrap());
    is_refused(&world, &[parts[0], &staffs, parts[2]].join("."), "other claims under a good signature").await;
    is_refused(&world, &parts[..2].join("."), "no signature").await;
    is_refused(&world, &format!("{}.{}.", parts[0], parts[1]), "an empty signature").await;
    let no_kid = r#"{"typ":"JWT","alg":"EdDSA"}"#;
    is_refused(&world, &token(no_kid, &claims(&anna), by_stranger), "no key id").await;
    for garbage in ["x", "a.b.c", "..", "🦀"] {
        is_refused_raw(&world, &format!("Bearer {garbage}")).await;
    }
    is_refused_raw(&world, &format!("Basic {}", anna.session.access_token)).await;
    is_refused_raw(&world, &anna.session.access_token).await;
}

async fn is_refused_raw(world: &World, header: &str) {
    let mut request = tonic::Request::new(GetUserRequest { name: "users/staff".to_owned() });
    let value = tonic::metadata::AsciiMetadataValue::try_from(header.as_bytes()).unwrap();
    request.metadata_mut().insert("authorization", value);
    refused(world.users.clone().get_user(request).await, Code::Unauthenticated, "BAD_TOKEN");
}
