//! The description of the API and its page, over HTTP/1.1 as browsers ask for them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{BOUND, World};

/// The head and the body of the answer to a GET.
async fn get(world: &World, path: &str, headers: &str) -> (String, String) {
    ask(world, "GET", path, headers).await
}

/// As [`get`], by another method.
async fn ask(world: &World, method: &str, path: &str, headers: &str) -> (String, String) {
    let address = world.target.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(BOUND, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn the_description_and_its_page_need_no_token() {
    let world = World::start().await;
    let (head, body) = get(&world, "/openapi.json", "").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(body.contains("\"/v1/orders/{order}:cancel\""));

    let (head, body) = get(&world, "/docs", "").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    for header in ["content-security-policy: default-src 'none';", "x-content-type-options: nosniff"] {
        assert!(head.contains(header), "{header}: {head}");
    }
    for line in body.lines() {
        for part in line.split('"').filter(|part| part.starts_with("/docs/")) {
            let (head, _) = get(&world, part, "").await;
            assert!(head.starts_with("http/1.1 200 "), "{part}: {head}");
        }
    }
    let (head, _) = get(&world, "/docs/other.js", "").await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");
}

#[tokio::test]
async fn the_page_is_only_read() {
    let world = World::start().await;
    let (head, body) = ask(&world, "HEAD", "/docs", "").await;
    assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: text/html"), "{head}");
    assert!(body.is_empty(), "{body}");
    let (head, _) = ask(&world, "DELETE", "/docs", "").await;
    assert!(head.starts_with("http/1.1 405 ") && head.contains("allow: get, head"), "{head}");
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let world = World::start().await;
    let (head, _) = get(&world, "/docs/page.js", "").await;
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let (head, body) = get(&world, "/docs/page.js", &format!("if-none-match: {etag}\r\n")).await;
    assert!(head.starts_with("http/1.1 304 "), "{head}");
    assert!(body.is_empty());
}
