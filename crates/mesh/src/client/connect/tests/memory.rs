use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::client::connect::{Connector as _, Memory, MemoryListener};
use crate::client::endpoint::Address;
use crate::transport::Io;

const WHILE: Duration = Duration::from_secs(3600);

fn users() -> Address {
    Address::Named("users".into())
}

async fn pair(network: &Memory, listener: &mut MemoryListener) -> (Box<dyn Io>, super::super::MemoryStream) {
    let client = network.connect(&users()).await.unwrap();
    (client, listener.accept().await.unwrap())
}

fn refused(result: std::io::Result<Box<dyn Io>>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_before_and_after_a_listener() {
    let network = Memory::new();
    assert!(refused(network.connect(&users()).await));
    let listener = network.listen("users").unwrap();
    assert_eq!(network.listen("users").unwrap_err().kind(), ErrorKind::AddrInUse);
    network.connect(&users()).await.unwrap();
    drop(listener);
    assert!(refused(network.connect(&users()).await));
    let _again = network.listen("users").unwrap();
    network.connect(&users()).await.unwrap();
    assert_eq!(network.connects("users"), 4);
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_and_a_dropped_end_is_an_end_of_file() {
    let network = Memory::new();
    let mut listener = network.listen("users").unwrap();
    let (mut client, mut server) = pair(&network, &mut listener).await;
    client.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).await.unwrap();
    server.write_all(b"pong").await.unwrap();
    assert_eq!(network.open_connections("users"), 1);
    drop(server);
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"pong");
    assert_eq!(client.read(&mut bytes).await.unwrap(), 0);
    drop(client);
    assert_eq!(network.open_connections("users"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_address_of_a_socket_is_a_name() {
    let network = Memory::new();
    let _listener = network.listen("10.0.0.1:50051").unwrap();
    network.connect(&Address::Tcp("10.0.0.1:50051".parse().unwrap())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refuse_and_hang_hold_until_restored() {
    let network = Memory::new();
    let _listener = network.listen("users").unwrap();
    network.refuse("users");
    assert!(refused(network.connect(&users()).await));
    network.hang("users");
    let (there, at) = (network.clone(), users());
    let mut hanging = tokio::spawn(async move { there.connect(&at).await.is_ok() });
    assert!(timeout(WHILE, &mut hanging).await.is_err());
    network.restore("users");
    assert!(hanging.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn cut_wakes_both_ends_with_a_reset() {
    let network = Memory::new();
    let mut listener = network.listen("users").unwrap();
    let (mut client, mut server) = pair(&network, &mut listener).await;
    let (_quiet, mut full) = pair(&network, &mut listener).await;
    let reads = tokio::spawn(async move { client.read_u8().await.unwrap_err().kind() });
    let listens = tokio::spawn(async move { server.read_u8().await.unwrap_err().kind() });
    let writes = tokio::spawn(async move { full.write_all(&[0; 1 << 20]).await.unwrap_err().kind() });
    assert!(timeout(WHILE, std::future::pending::<()>()).await.is_err());
    assert_eq!(network.cut("users"), 2);
    assert_eq!(reads.await.unwrap(), ErrorKind::ConnectionReset);
    assert_eq!(listens.await.unwrap(), ErrorKind::ConnectionReset);
    assert_eq!(writes.await.unwrap(), ErrorKind::ConnectionReset);
    assert_eq!((network.cut("users"), network.open_connections("users")), (0, 0));
    network.connect(&users()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn frozen_takes_bytes_until_its_buffer_is_full_and_says_nothing() {
    let network = Memory::new();
    let mut listener = network.listen("users").unwrap();
    let (mut client, mut server) = pair(&network, &mut listener).await;
    network.freeze("users");
    client.write_all(&[1; 1000]).await.unwrap();
    let echo = tokio::spawn(async move {
        let mut bytes = [0; 1000];
        server.read_exact(&mut bytes).await.unwrap();
        server.write_all(&bytes).await.unwrap();
    });
    assert!(timeout(WHILE, client.read_u8()).await.is_err());
    assert!(timeout(WHILE, client.write_all(&[1; 1 << 20])).await.is_err());
    // A new connection is made, and as silent.
    let (mut other, _held) = pair(&network, &mut listener).await;
    other.write_all(&[1]).await.unwrap();
    network.restore("users");
    echo.await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), 1);
}
