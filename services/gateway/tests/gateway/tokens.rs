//! Tokens that aren't good, and headers that would say who calls: by gRPC and by HTTP/JSON, nothing of them reaches a service.

use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_api::meshwork::orders::v1::GetOrderRequest;
use meshwork_testkit::Issuer;
use meshwork_testkit::issuer::{AUDIENCE, ISSUER, signed_by_secret};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};

use crate::http::client::{Answer, ask, prefixed};
use crate::world::{BALANCER, World, error, told};

/// What a good token says: of one who may do everything.
fn claims() -> Value {
    let now = now();
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "users/anna", "role": "staff", "iat": now - 1, "exp": now + 600})
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// `whole` with these members, of which those that are null are left out.
fn with(mut whole: Value, members: Value) -> Value {
    let object = whole.as_object_mut().unwrap();
    for (name, value) in members.as_object().unwrap() {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    whole
}

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Asks for an order by gRPC, with these values of `authorization`.
async fn by_grpc(world: &World, values: &[&str]) -> Result<(), Status> {
    let mut request = Request::new(GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() });
    for value in values {
        request.metadata_mut().append("authorization", value.parse().unwrap());
    }
    world.get_with(request).await.map(drop)
}

/// The same by HTTP/JSON.
async fn by_json(world: &World, values: &[&str]) -> Answer {
    let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
    ask(world, "GET /v1/orders/a", &headers, b"").await
}

/// Makes sure that nobody takes these values of `authorization`, nor shows them.
async fn assert_refused(world: &World, what: &str, values: &[&str]) {
    let before = world.orders.calls();
    let refused = by_grpc(world, values).await.expect_err(what);
    assert_eq!(told(&refused), error(Code::Unauthenticated, "BAD_TOKEN"), "{what}: {refused:?}");
    let answer = by_json(world, values).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{what}: {answer:?}");
    assert_eq!(answer.json()["error"]["details"][0]["reason"], "BAD_TOKEN", "{what}: {answer:?}");
    let body = String::from_utf8_lossy(&answer.body);
    for value in values.iter().filter(|value| value.len() > 20) {
        assert!(!refused.message().contains(*value) && !body.contains(*value), "{what}: {refused:?}");
    }
    assert_eq!(world.orders.calls(), before, "{what}");
}

async fn assert_all_refused(world: &World, tokens: Vec<(String, String)>) {
    for (what, token) in tokens {
        assert_refused(world, &what, &[&format!("Bearer {token}")]).await;
    }
}

/// The header of the issuer's tokens.
fn header(issuer: &Issuer) -> Value {
    json!({"alg": "EdDSA", "typ": "JWT", "kid": issuer.public_key().kid})
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let world = World::start().await;
    let (header, now) = (header(&world.issuer), now());
    let signed = |members: Value| world.issuer.sign_any(&header, &with(claims(), members));
    let good = signed(json!({}));
    by_grpc(&world, &[&format!("Bearer {good}")]).await.unwrap();
    assert_eq!(by_json(&world, &[&format!("Bearer {good}")]).await.status, 200);
    let tokens = [
        json!({"exp": now - 60}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": null}),
        json!({"exp": (now + 600).to_string()}),
        json!({"exp": [now + 600]}),
        json!({"nbf": now + 300}),
        json!({"nbf": "now"}),
        json!({"iat": now + 300}),
        json!({"aud": "another"}),
        json!({"aud": ["another", "others"]}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"iss": "another"}),
        json!({"iss": "Meshwork"}),
        json!({"iss": null}),
        json!({"sub": null}),
        json!({"sub": 7}),
        json!({"role": "root"}),
        json!({"role": null}),
        json!({"role": ["staff"]}),
    ];
    assert_all_refused(&world, tokens.map(|members| (members.to_string(), signed(members))).into()).await;
    let no_object = world.issuer.sign_any(&header, &json!("users/anna"));
    assert_refused(&world, "claims that are a text", &[&format!("Bearer {no_object}")]).await;
}

#[tokio::test]
async fn algorithms_of_the_callers_choice_are_refused() {
    let world = World::start().await;
    let (header, claims) = (header(&world.issuer), claims());
    let key = world.issuer.public_key();
    let mut tokens = Vec::new();
    let payload = part(&claims.to_string());
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(header.clone(), json!({"alg": alg}));
        tokens.push((format!("{alg} without a signature"), format!("{}.{payload}.", part(&header.to_string()))));
        tokens.push((format!("{alg} with one"), world.issuer.sign_any(&header, &claims)));
    }
    for alg in
        [json!("ES256"), json!("RS256"), json!("PS512"), json!("Ed448"), json!("eddsa"), json!(["EdDSA"]), json!(null)]
    {
        let header = with(header.clone(), json!({"alg": alg}));
        tokens.push((header.to_string(), world.issuer.sign_any(&header, &claims)));
    }
    // What is public is no secret, in whatever form somebody may have it at hand.
    let raw = URL_SAFE_NO_PAD.decode(&key.x).unwrap();
    let spki = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), &raw].concat();
    let jwk = json!({"kty": key.kty, "crv": key.crv, "kid": key.kid, "use": key.r#use, "alg": key.alg, "x": key.x});
    for secret in [raw, key.x.clone().into_bytes(), spki, jwk.to_string().into_bytes(), Vec::new()] {
        for alg in ["HS256", "HS384", "HS512"] {
            let header = with(header.clone(), json!({"alg": alg}));
            let token = signed_by_secret(&secret, &header, &claims);
            tokens.push((format!("{alg} by {} public bytes", secret.len()), token));
        }
    }
    assert_all_refused(&world, tokens).await;
}

#[tokio::test]
async fn keys_of_the_callers_choice_are_neither_used_nor_fetched() {
    let world = World::start().await;
    let theirs = Issuer::start().await;
    let bait = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", bait.local_addr().unwrap());
    let (header, claims, key) = (header(&world.issuer), claims(), theirs.public_key());
    let jwk = json!({"kty": key.kty, "crv": key.crv, "kid": "theirs", "alg": key.alg, "x": key.x});
    let mut tokens = vec![("another key under our id".to_owned(), theirs.token("anna", "staff"))];
    for members in [
        json!({"kid": "theirs"}),
        json!({"kid": "../../../../dev/null"}),
        json!({"kid": "/dev/null"}),
        json!({"kid": "x' UNION SELECT 'key"}),
        json!({"kid": url}),
        json!({"kid": "x".repeat(5000)}),
        json!({"kid": ""}),
        json!({"kid": 7}),
        json!({"kid": null}),
        json!({"kid": "theirs", "jwk": jwk}),
        json!({"kid": "theirs", "jku": url}),
        json!({"kid": "theirs", "x5u": url}),
        json!({"kid": "theirs", "x5c": ["AAAA"]}),
        json!({"jwk": jwk}),
        json!({"jku": url, "x5u": url}),
    ] {
        let header = with(header.clone(), members.clone());
        tokens.push((members.to_string(), theirs.sign_any(&header, &claims)));
    }
    // Ours, with extensions that must be understood and are not (RFC 7515, section 4.1.11).
    for members in [json!({"crit": ["exp"], "exp": 1}), json!({"crit": ["b64"], "b64": false}), json!({"crit": ["x"]})]
    {
        let header = with(header.clone(), members.clone());
        tokens.push((members.to_string(), world.issuer.sign_any(&header, &claims)));
    }
    assert_all_refused(&world, tokens).await;
    bait.set_nonblocking(true).unwrap();
    assert_eq!(bait.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody has fetched keys");
}

#[tokio::test]
async fn texts_that_are_not_one_good_token_are_refused() {
    let world = World::start().await;
    let (header, claims) = (header(&world.issuer), claims());
    let good = world.issuer.sign_any(&header, &claims);
    let other = world.issuer.sign_any(&header, &with(claims.clone(), json!({"sub": "users/bert"})));
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let [_, others, another] = other.split('.').collect::<Vec<_>>().try_into().unwrap();
    let reversed: String = signature.chars().rev().collect();
    let long = world.issuer.sign_any(&header, &with(claims, json!({"padding": "x".repeat(8 << 10)})));
    let texts = [
        format!("{head}.{payload}.{another}"),
        format!("{head}.{others}.{signature}"),
        format!("{head}.{payload}.{reversed}"),
        format!("{head}.{payload}."),
        format!("{head}.{payload}"),
        format!("{head}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{head}.{payload}.{signature}."),
        format!("{head}.{payload}.{signature}.{signature}"),
        format!("{head}.{payload}.{signature}="),
        format!("{head}.{payload}.{signature}A"),
        good[..good.len() - 1].to_owned(),
        good[..good.len() / 2].to_owned(),
        format!("{good} {good}"),
        format!("{good},{good}"),
        long,
        "..".to_owned(),
        "x".repeat(9000),
        format!("{}.{}.{}", "A".repeat(3000), "A".repeat(3000), "A".repeat(3000)),
    ];
    assert_all_refused(&world, texts.map(|text| (text.chars().take(60).collect::<String>(), text)).into()).await;
    let bearer = format!("Bearer {good}");
    for value in [
        "",
        "Bearer",
        "Basic YW5uYTpzZWNyZXQ=",
        "Negotiate abc",
        &good,
        &format!("Basic {good}"),
        &format!("Token {good}"),
        &format!("Bearer{good}"),
        &format!("Bearer,{good}"),
        &format!("Bearer\t{good}"),
        &format!("Bearer token={good}"),
        &format!("{bearer}, {bearer}"),
        &format!("Basic YTpi, {bearer}"),
    ] {
        assert_refused(&world, value, &[value]).await;
    }
    // Of two it would be open whose call it is, also when they are the same.
    for second in [format!("Bearer {other}"), bearer.clone(), "Basic YTpi".to_owned()] {
        let values = [bearer.as_str(), second.as_str()];
        assert_refused(&world, "two headers", &values).await;
    }
    // Schemes have no case (RFC 9110, section 11.1).
    for scheme in ["bearer", "BEARER", "bEARER"] {
        by_grpc(&world, &[&format!("{scheme} {good}")]).await.unwrap();
        assert_eq!(by_json(&world, &[&format!("{scheme} {good}")]).await.status, 200);
    }
}

/// Headers by which a caller might name itself, or be named.
fn smuggled(staff: &str) -> Vec<(&'static str, String)> {
    let mut headers = vec![("grpc-metadata-authorization", format!("Bearer {staff}"))];
    for name in [
        "meshwork-client-address",
        "x-forwarded-for",
        "x-real-ip",
        "true-client-ip",
        "grpc-metadata-meshwork-client-address",
        "grpc-metadata-x-forwarded-for",
    ] {
        headers.push((name, "192.0.2.66".to_owned()));
    }
    for (name, value) in [
        ("forwarded", "for=192.0.2.66;by=203.0.113.1"),
        ("meshwork-mirrored", "true"),
        ("x-user", "users/root"),
        ("x-role", "staff"),
        ("x-forwarded-client-cert", "URI=spiffe://shop/orders"),
        ("proxy-authorization", "Basic YTpi"),
        ("cookie", "session=1"),
    ] {
        headers.push((name, value.to_owned()));
    }
    headers
}

/// Whom the upstream saw since this was asked last: the one call's `authorization`, and the address of its caller.
#[track_caller]
fn seen(world: &World) -> (Vec<String>, Vec<String>) {
    let calls: Vec<MetadataMap> = world.orders.orders.seen.lock().unwrap().drain(..).collect();
    let [metadata] = calls.try_into().expect("it was called once");
    let headers = metadata.into_headers();
    assert!(!headers.contains_key("x-forwarded-for"), "{headers:?}");
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    (all("authorization"), all("meshwork-client-address"))
}

#[tokio::test]
async fn headers_that_name_a_caller_change_nothing_of_whom_a_service_sees() {
    let world = World::start().await;
    let anna = format!("Bearer {}", world.issuer.token("anna", "customer"));
    let expected = (vec![anna.clone()], vec!["127.0.0.1".to_owned()]);
    let headers = smuggled(&world.issuer.token("root", "staff"));
    world.orders.orders.seen.lock().unwrap().clear();
    let mut request = Request::new(GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() });
    request.metadata_mut().insert("authorization", anna.parse().unwrap());
    for (name, value) in &headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    world.get_with(request).await.unwrap();
    assert_eq!(seen(&world), expected);

    let message = prost::Message::encode_to_vec(&GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() });
    let rpc = "POST /meshwork.orders.v1.OrderService/GetOrder";
    let (json, web) = ("application/json", "application/grpc-web+proto");
    for (start, media_type, body) in [
        ("GET /v1/orders/a", None, Vec::new()),
        (rpc, Some(json), br#"{"name":"orders/a"}"#.to_vec()),
        (rpc, Some(web), prefixed(0, &message)),
    ] {
        // What `connection` names is of the connection alone, and no name of somebody else.
        for connection in ["keep-alive", "meshwork-client-address, x-forwarded-for", "te, grpc-timeout, x-user"] {
            let mut all = vec![("authorization", anna.as_str()), ("connection", connection)];
            all.extend(media_type.map(|media_type| ("content-type", media_type)));
            all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
            let answer = ask(&world, start, &all, &body).await;
            assert_eq!(answer.status, 200, "{start}: {answer:?}");
            assert_eq!(seen(&world), expected, "{start}, {connection}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_takes_the_token_away_calls_for_nobody() {
    let world = World::start().await;
    let anna = format!("Bearer {}", world.issuer.token("anna", "customer"));
    let before = world.orders.calls();
    for connection in ["authorization", "close, Authorization"] {
        let headers = [("authorization", anna.as_str()), ("connection", connection)];
        let answer = ask(&world, "GET /v1/orders/a", &headers, b"").await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    // Nor does it have a second name.
    let renamed = ask(&world, "GET /v1/orders/a", &[("grpc-metadata-authorization", anna.as_str())], b"").await;
    assert_eq!(renamed.status, 401, "{renamed:?}");
    assert_eq!(world.orders.calls(), before);
}

#[tokio::test]
async fn a_client_behind_a_balancer_can_not_hide_behind_it() {
    let world = World::start().await;
    let anna = format!("Bearer {}", world.issuer.token("anna", "customer"));
    world.orders.orders.seen.lock().unwrap().clear();
    for written in ["", "x-forwarded-for: 192.0.2.66\r\n", "connection: x-forwarded-for\r\n"] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{BALANCER}:0").parse().unwrap()).unwrap();
        let gateway = world.target.strip_prefix("http://").unwrap().parse().unwrap();
        let mut stream = socket.connect(gateway).await.unwrap();
        let request = format!(
            "GET /v1/orders/a HTTP/1.1\r\nhost: gateway\r\nauthorization: {anna}\r\n{written}\
             x-forwarded-for: 192.0.2.7\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(seen(&world), (vec![anna.clone()], vec!["192.0.2.7".to_owned()]), "{written:?}");
    }
}
