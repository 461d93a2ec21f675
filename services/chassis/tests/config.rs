//! Settings that every service has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use meshwork_chassis::config::{Credentials, Listen, Secret};

#[test]
fn a_secret_is_shown_nowhere() {
    let secret = Secret::new("swordfish");
    assert_eq!(format!("{secret:?}"), "[redacted]");
    assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
    assert_eq!(secret.expose(), "swordfish");
    let folder = std::env::temp_dir().join(format!("meshwork-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("bad.json");
    std::fs::write(&file, "{\"email\": \"a@b\", \"password\": swordfish}").unwrap();
    let problem = Credentials::read(&file).unwrap_err();
    assert!(problem.contains("bad.json") && !problem.contains("swordfish"), "{problem}");
    std::fs::write(&file, "{\"email\": \"a@b\", \"password\": \"swordfish\"}").unwrap();
    let credentials = Credentials::read(&file).unwrap();
    assert_eq!(credentials.password.expose(), "swordfish");
    assert!(!format!("{credentials:?}").contains("swordfish"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_bound_address_is_nobody_else_s_until_it_is_used() {
    let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listen.address();
    assert_ne!(address.port(), 0);
    assert!(Listen::bind(address).is_err());
    assert_eq!(listen.clone().listener().unwrap().local_addr().unwrap(), address);

    let read: Listen = serde_json::from_str("\"127.0.0.1:8080\"").unwrap();
    assert_eq!(read.address(), "127.0.0.1:8080".parse::<SocketAddr>().unwrap());
    assert_eq!(serde_json::to_string(&read).unwrap(), "\"127.0.0.1:8080\"");
    assert!(serde_json::from_str::<Listen>("\"nowhere\"").is_err());
}

#[test]
fn s7_many_connections_may_wait_to_be_accepted() {
    // More than the 128 of the standard library; nobody accepts any of them.
    let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let connect = || TcpStream::connect_timeout(&listen.address(), Duration::from_secs(10)).unwrap();
    let waiting: Vec<_> = (0..300).map(|_| connect()).collect();
    assert_eq!(waiting.len(), 300);
}
