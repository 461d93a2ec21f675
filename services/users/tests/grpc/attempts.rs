//! How often somebody may try, at the address that the gateway names.

use std::num::NonZeroU32;

use meshwork_api::meshwork::users::v1::SignInRequest;
use meshwork_users::{Config, SignInConfig};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::world::{PASSWORD, World, config_in};

/// A request as the gateway passes it on for a caller at an address.
fn from<T>(address: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("meshwork-client-address", address.parse().unwrap());
    request
}

#[track_caller]
fn assert_too_many(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "TOO_MANY_ATTEMPTS");
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
}

async fn guess(world: &World, address: &str, email: &str, password: &str) -> Result<(), Status> {
    let request = SignInRequest { email: email.to_owned(), password: password.to_owned() };
    world.auth.clone().sign_in(from(address, request)).await.map(drop)
}

#[tokio::test]
async fn d11_one_address_finds_out_about_few_e_mail_addresses() {
    let world = World::start().await;
    let request = world.sign_up_request();
    world.users.clone().create_user(from("192.0.2.1", request.clone())).await.unwrap();
    for _ in 1..20 {
        let taken = world.users.clone().create_user(from("192.0.2.1", request.clone())).await.unwrap_err();
        assert_eq!(taken.code(), Code::AlreadyExists);
    }
    let taken = world.users.clone().create_user(from("192.0.2.1", request.clone())).await.unwrap_err();
    assert_too_many(&taken);
    let free = world.users.clone().create_user(from("192.0.2.1", world.sign_up_request())).await.unwrap_err();
    assert_too_many(&free);
    // Others don't notice, of IPv6 those in another /64; and staff are not limited.
    world.users.clone().create_user(from("192.0.2.2", world.sign_up_request())).await.unwrap();
    let staff = world.staff().await;
    let mut by_staff = staff.asks(world.sign_up_request());
    by_staff.metadata_mut().insert("meshwork-client-address", "192.0.2.1".parse().unwrap());
    world.users.clone().create_user(by_staff).await.unwrap();
}

#[tokio::test]
async fn d10_who_guesses_is_refused_alike_for_every_account_and_the_owner_signs_in_elsewhere() {
    let world = World::start().await;
    let owner = world.customer().await;
    for email in [owner.user.email.as_str(), "nobody@example.com"] {
        for _ in 0..10 {
            let wrong = guess(&world, "192.0.2.1", email, "a wrong password").await.unwrap_err();
            assert_eq!(wrong.code(), Code::Unauthenticated, "{wrong}");
        }
        assert_too_many(&guess(&world, "192.0.2.1", email, PASSWORD).await.unwrap_err());
    }
    guess(&world, "192.0.2.2", &owner.user.email, PASSWORD).await.unwrap();
    guess(&world, "2001:db8::1", &owner.user.email, PASSWORD).await.unwrap();
}

#[tokio::test]
async fn d10_an_ipv6_address_counts_by_its_network_and_services_by_none() {
    let folder = tempfile::tempdir().unwrap();
    let sign_in =
        SignInConfig { address_burst: NonZeroU32::new(2).unwrap(), address_per_second: 0.001, ..Default::default() };
    let config = Config { sign_in, ..config_in(folder.path()) };
    let world = World::start_as(folder, config).await;
    let owner = world.customer().await;
    for last in [1, 2] {
        guess(&world, &format!("2001:db8::{last}"), &owner.user.email, PASSWORD).await.unwrap();
    }
    assert_too_many(&guess(&world, "2001:db8::3", &owner.user.email, PASSWORD).await.unwrap_err());
    guess(&world, "2001:db8:0:1::3", &owner.user.email, PASSWORD).await.unwrap();
    // As services do: they call directly.
    for _ in 0..5 {
        world.first("orders").await;
    }
}
