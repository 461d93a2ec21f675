//! A refresh whose answer was lost may be asked for again (D9).

use std::time::Duration;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use meshwork_api::meshwork::users::v1::{GetUserRequest, RefreshSessionRequest, Session};
use meshwork_users::Config;
use tempfile::TempDir;
use tonic::{Code, Response, Status};

use crate::world::{World, bearing, config_in, refused};

async fn refresh(world: &World, token: &str) -> Result<Session, Status> {
    let request = RefreshSessionRequest { refresh_token: token.to_owned() };
    world.auth.clone().refresh_session(request).await.map(Response::into_inner)
}

/// A world on what is in `folder`, whose tokens give their answers again for as long as may be.
async fn patient(folder: TempDir) -> World {
    let config = Config { refresh_repeat: Duration::from_secs(300), ..config_in(folder.path()) };
    World::start_as(folder, config).await
}

#[tokio::test]
async fn d9_who_has_lost_the_answer_gets_the_same_refresh_token_again() {
    let world = World::start().await;
    let anna = world.customer().await;
    let first = anna.session.refresh_token.as_str();
    let lost = refresh(&world, first).await.unwrap();
    let again = refresh(&world, first).await.unwrap();
    assert_eq!(again.refresh_token, lost.refresh_token);
    assert_eq!(again.refresh_token_expire_time, lost.refresh_token_expire_time);
    let get = GetUserRequest { name: anna.name() };
    world.users.clone().get_user(bearing(&again.access_token, get)).await.unwrap();

    // Once the successor was used, its predecessor is a copy's.
    let next = refresh(&world, &again.refresh_token).await.unwrap();
    for token in [first, &next.refresh_token] {
        refused(refresh(&world, token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
}

#[tokio::test]
async fn d9_the_answer_is_the_same_after_a_restart_and_with_a_new_key() {
    let world = patient(tempfile::tempdir().unwrap()).await;
    let anna = world.customer().await;
    let first = anna.session.refresh_token.as_str();
    let lost = refresh(&world, first).await.unwrap().refresh_token;
    let world = patient(world.stop().await).await;
    assert_eq!(refresh(&world, first).await.unwrap().refresh_token, lost);
    let (old, new) = ("signing-key.pem", "signing-key-2027-01-31.pem");
    let (old, new) = (world.config.data.join(old), world.config.data.join(new));
    let folder = world.stop().await;
    std::fs::write(new, SigningKey::from_bytes(&[9; 32]).to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap();
    let world = patient(folder).await;
    assert_eq!(refresh(&world, first).await.unwrap().refresh_token, lost);
    // Without the key that has made it, it can't be made again: the session ends, as with any copy.
    let folder = world.stop().await;
    std::fs::remove_file(old).unwrap();
    let world = patient(folder).await;
    for token in [first, &lost] {
        refused(refresh(&world, token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
}

#[tokio::test]
async fn d9_a_setting_turns_it_off() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { refresh_repeat: Duration::ZERO, ..config_in(folder.path()) };
    let world = World::start_as(folder, config).await;
    let anna = world.customer().await;
    let second = refresh(&world, &anna.session.refresh_token).await.unwrap();
    for token in [&anna.session.refresh_token, &second.refresh_token] {
        refused(refresh(&world, token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
}
