//! SignIn, RefreshSession and SignOut.

use std::time::{Duration, SystemTime};

use meshwork_api::meshwork::users::v1::{GetUserRequest, RefreshSessionRequest, Session, SignOutRequest};
use tonic::{Code, Response, Status};

use crate::world::{PASSWORD, World, bearing, refused, refused_fields};

async fn refresh(world: &World, token: &str) -> Result<Session, Status> {
    let request = RefreshSessionRequest { refresh_token: token.to_owned() };
    world.auth.clone().refresh_session(request).await.map(Response::into_inner)
}

async fn sign_out(world: &World, token: &str) -> Result<(), Status> {
    let request = SignOutRequest { refresh_token: token.to_owned() };
    world.auth.clone().sign_out(request).await.map(Response::into_inner)
}

#[tokio::test]
async fn who_signs_in_wrongly_is_not_told_what_is_wrong() {
    let world = World::start().await;
    let anna = world.customer().await;
    let wrong =
        refused(world.sign_in(&anna.user.email, "a bad password").await, Code::Unauthenticated, "BAD_CREDENTIALS");
    let unknown =
        refused(world.sign_in("nobody@example.com", PASSWORD).await, Code::Unauthenticated, "BAD_CREDENTIALS");
    assert_eq!((wrong.message(), wrong.details()), (unknown.message(), unknown.details()));
    refused(world.sign_in(&anna.user.email, "x").await, Code::Unauthenticated, "BAD_CREDENTIALS");
    refused_fields(world.sign_in("", "").await, &["email", "password"]);
    refused_fields(world.sign_in("nonsense", PASSWORD).await, &["email"]);
    refused_fields(world.sign_in(&anna.user.email, &"a".repeat(257)).await, &["password"]);
}

#[tokio::test]
async fn tokens_live_as_long_as_the_settings_say() {
    let world = World::start().await;
    let session = world.customer().await.session;
    let left = |time: Option<prost_types::Timestamp>| {
        SystemTime::try_from(time.unwrap()).unwrap().duration_since(SystemTime::now()).unwrap()
    };
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    // With what clocks may differ by, five minutes.
    let access = left(session.access_token_expire_time);
    assert!(access <= Duration::from_secs(290) && access > minutes(4), "{access:?}");
    let refresh = left(session.refresh_token_expire_time);
    assert!(refresh <= minutes(30 * 24 * 60) && refresh > minutes(30 * 24 * 60 - 1), "{refresh:?}");
}

#[tokio::test]
async fn a_refresh_token_gives_the_next_tokens_once() {
    let world = World::start().await;
    let anna = world.customer().await;
    let other = world.sign_in(&anna.user.email, PASSWORD).await.unwrap();
    let second = refresh(&world, &anna.session.refresh_token).await.unwrap();
    assert_eq!(second.user, anna.name());
    assert_ne!(second.refresh_token, anna.session.refresh_token);
    let get = GetUserRequest { name: anna.name() };
    world.users.clone().get_user(bearing(&second.access_token, get)).await.unwrap();
    let third = refresh(&world, &second.refresh_token).await.unwrap();

    // The first one again: a copy. The session ends for everybody.
    for token in [&anna.session.refresh_token, &third.refresh_token, &second.refresh_token] {
        refused(refresh(&world, token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    // The account's other session goes on.
    refresh(&world, &other.refresh_token).await.unwrap();
}

#[tokio::test]
async fn signing_out_ends_the_session_and_may_be_repeated() {
    let world = World::start().await;
    let anna = world.customer().await;
    for _ in 0..2 {
        sign_out(&world, &anna.session.refresh_token).await.unwrap();
        refused(refresh(&world, &anna.session.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    sign_out(&world, "a token that nobody ever had").await.unwrap();
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused() {
    let world = World::start().await;
    refused(refresh(&world, "a token that nobody ever had").await, Code::Unauthenticated, "SESSION_ENDED");
    for token in [String::new(), "a".repeat(257)] {
        refused_fields(refresh(&world, &token).await, &["refresh_token"]);
        refused_fields(sign_out(&world, &token).await, &["refresh_token"]);
    }
    // An access token is none, and a refresh token is no access token.
    let anna = world.customer().await;
    assert!(refresh(&world, &anna.session.access_token).await.is_err());
    let get = bearing(&anna.session.refresh_token, GetUserRequest { name: anna.name() });
    refused(world.users.clone().get_user(get).await, Code::Unauthenticated, "BAD_TOKEN");
}

#[tokio::test]
async fn no_secret_is_on_the_disk() {
    let world = World::start().await;
    let anna = world.customer().await;
    let refreshed = refresh(&world, &anna.session.refresh_token).await.unwrap();
    let secrets = [
        PASSWORD.to_owned(),
        world.credentials("staff").password.expose().to_owned(),
        anna.session.refresh_token,
        refreshed.refresh_token,
        refreshed.access_token,
    ];
    let (mut files, mut known) = (0, false);
    for folder in [&world.config.data, &world.config.bus] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            known |= holds(&anna.user.email);
            files += 1;
            for secret in &secrets {
                assert!(!holds(secret), "{} holds a secret", path.display());
            }
        }
    }
    assert!(files >= 3 && known, "the files were found and hold the account");
}
