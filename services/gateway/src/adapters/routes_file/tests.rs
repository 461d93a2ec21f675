//! Tests of the file: what is refused and how it is told, and what counts as a change.

use std::os::unix::fs::symlink;

use super::*;
use crate::domain::{Admits, CallerKind, ContractsFrom, HeaderMatch, RouteSettings};

const ROUTE: &str = "[[routes]]\nservice = \"shop.Orders\"\n";

fn checked(text: &str) -> Result<RouteSettings, InvalidRoutes> {
    Document::parse(text)?.check().map(|(settings, _)| settings)
}

fn put(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

/// What a changed file says, which two looks see.
async fn settled(file: &RoutesFile) -> Result<Configured, InvalidRoutes> {
    assert!(file.changed().await.is_none(), "one look could have seen a part");
    file.changed().await.unwrap()
}

#[test]
fn all_keys_are_read() {
    let settings = checked(
        r#"
        [upstreams.orders-next]
        target = "dns:///orders-next:50051"

        [upstreams.weather]
        target = "http://127.0.0.1:9090"
        descriptors = "weather.binpb"
        access = { "weather.v1.Weather" = ["anyone"], "weather.v1.Weather/Report" = ["staff", "customer"] }
        services = ["weather.v1.Weather"]

        [upstreams.tides]
        target = "tides:1"
        access = { "tides.Tides" = ["signed_in", "staff"] }
        http_paths = ["/tides/v1/", "/tides/v2"]
        health = true

        [[routes]]
        service = "shop.Orders"
        method = "Get"
        headers = { x-canary = "always", x-user = { prefix = "beta-" }, x-other = { present = false } }
        to = [{ upstream = "orders", weight = 95 }, { upstream = "orders-next", weight = 5 }]
        sticky = "caller"
        mirror = [{ upstream = "orders-next", percent = 10.0, keep_authorization = true, side_effects = true }]

        [[routes]]
        service = "shop.Orders"
        mirror = [{ upstream = "orders-next" }]
        "#,
    )
    .unwrap();
    let contracts: Vec<_> = settings.upstreams.values().map(|upstream| upstream.contracts).collect();
    assert_eq!(contracts, [ContractsFrom::Nowhere, ContractsFrom::Reflection, ContractsFrom::File]);
    let weather = &settings.upstreams["weather"];
    assert_eq!(weather.access["weather.v1.Weather"], Admits::Anyone);
    let kinds = [CallerKind::Staff, CallerKind::Customer].into();
    assert_eq!(weather.access["weather.v1.Weather/Report"], Admits::Kinds(kinds));
    assert_eq!(settings.upstreams["tides"].access["tides.Tides"], Admits::SignedIn);
    assert_eq!(weather.http_paths, None);
    let checks: Vec<_> = settings.upstreams.values().map(|upstream| upstream.checks_health).collect();
    assert_eq!(checks, [true, true, false]);
    let paths = settings.upstreams["tides"].http_paths.clone().unwrap();
    assert_eq!(paths.into_iter().collect::<Vec<_>>(), ["/tides/v1/", "/tides/v2"]);
    let [first, second] = &settings.rules[..] else { panic!("{settings:?}") };
    let values: Vec<_> = first.headers.iter().map(|header| header.value.clone()).collect();
    assert_eq!(
        values,
        [HeaderMatch::Exact("always".to_owned()), HeaderMatch::Present(false), HeaderMatch::Prefix("beta-".to_owned())]
    );
    assert!(first.sticky && first.to.as_ref().unwrap().used().count() == 2 && first.mirrors[0].keep_authorization);
    let mirror = &second.mirrors[0];
    assert!(second.to.is_none() && !mirror.keep_authorization && !mirror.side_effects && mirror.percent.has(u64::MAX));
}

#[test]
fn what_is_wrong_is_told_with_its_key_and_what_is_right() {
    let to = |text: &str| format!("{ROUTE}to = [{text}]");
    let many =
        |number: usize| (0..number).map(|at| format!("[upstreams.u{at}]\ntarget = \"a:1\"\n")).collect::<String>();
    for (text, sentence) in [
        ("upstream = 1".to_owned(), "line 1 can't be understood: unknown field `upstream`"),
        ("[upstreams.a]\ntarget = \"a:1\"\nport = 1".to_owned(), "can't be understood: unknown field `port`"),
        ("[upstreams.a]\nservices = []".to_owned(), "upstreams.a can't be understood: missing field `target`"),
        (
            "[upstreams.a]\ntarget = 1".to_owned(),
            "line 2: upstreams.a.target can't be understood: invalid type: integer",
        ),
        (format!("{ROUTE}method = []"), "line 3: routes.method can't be understood: invalid type"),
        (
            format!("{ROUTE}headers = {{ x-a = {{ regex = \"a\" }} }}"),
            "unknown field `regex`, expected `prefix` or `present`",
        ),
        (format!("{ROUTE}headers = {{ x-a = 1 }}"), "expected a text, { prefix = \"…\" } or { present = true }"),
        (format!("{ROUTE}headers = {{ x-a = {{}} }}"), "one of `prefix` and `present`"),
        (format!("{ROUTE}sticky = \"address\""), "unknown variant `address`"),
        ("[upstreams.A]\ntarget = \"a:1\"".to_owned(), "upstreams has the name \"A\"; names are 1 to 63 of a-z"),
        (
            "[upstreams.orders]\ntarget = \"a:1\"".to_owned(),
            "upstreams.orders is the shop's own: set `gateway.upstreams.orders`",
        ),
        (
            "[upstreams.a]\ntarget = \"a:1\"\naccess = { \"a.B\" = [] }".to_owned(),
            "upstreams.a.access says nobody for a.B",
        ),
        (
            "[upstreams.a]\ntarget = \"a:1\"\naccess = { \"a.B\" = [\"everyone\"] }".to_owned(),
            "expected one of `anyone`, `signed_in`, `customer`, `staff`, `service`",
        ),
        (
            "[upstreams.a]\ntarget = \"a:1\"\naccess = { \"a.B/C/D\" = [\"anyone\"] }".to_owned(),
            "upstreams.a.access has \"a.B/C/D\"; names are package.Service or package.Service/Method",
        ),
        (
            "[upstreams.a]\ntarget = \"a:1\"\nservices = [\"a.B\"]".to_owned(),
            "upstreams.a.access says nothing of a.B, so that nobody may call it",
        ),
        (
            "[upstreams.a]\ntarget = \"a:1\"\nhttp_paths = [\"/a/{b=*}\"]".to_owned(),
            "upstreams.a.http_paths has \"/a/{b=*}\", which is no beginning of paths",
        ),
        (
            "[upstreams.a]\ntarget = \"a:1\"\nhttp_paths = [\"a/\"]".to_owned(),
            "upstreams.a.http_paths has \"a/\", which is no beginning of paths",
        ),
        (
            "[[routes]]\nservice = \"a b\"".to_owned(),
            "routes[0].service has \"a b\", which is no full name of a service",
        ),
        (ROUTE.to_owned(), "routes[0].to is not set; name who answers"),
        (to(""), "routes[0].to has no weight above 0"),
        (to("{ upstream = \"a\", weight = 0 }"), "routes[0].to has no weight above 0"),
        (to("{ upstream = \"a\" }, { upstream = \"a\" }"), "routes[0].to[1].upstream is a again"),
        (to("{ upstream = \"a\", weight = 2000000 }"), "routes[0].to[0].weight is 2000000; at most 1000000"),
        (to("{ upstream = \"a\", weight = -1 }"), "invalid value: integer `-1`"),
        (to("{ upstream = \"A\" }"), "routes[0].to[0].upstream is \"A\""),
        (
            format!("{ROUTE}mirror = [{{ upstream = \"a\", percent = 101 }}]"),
            "routes[0].mirror[0].percent is 101; it must",
        ),
        (format!("{ROUTE}headers = {{ X-A = \"a\" }}"), "routes[0].headers has \"X-A\"; names of headers are a-z"),
        (format!("{ROUTE}headers = {{ authorization = \"a\" }}"), "has authorization, by which calls can't be chosen"),
        (
            format!("{ROUTE}headers = {{ x-forwarded-for = \"a\" }}"),
            "has x-forwarded-for, by which calls can't be chosen",
        ),
        (format!("{ROUTE}headers = {{ x-a = \"\" }}"), "routes[0].headers.x-a must have 1 to 256 visible characters"),
        (many(65), "upstreams has 65 entries; at most 64 are taken"),
        (ROUTE.repeat(1_001), "routes has 1001 entries; at most 1000 are taken"),
    ] {
        let refused = checked(&text).unwrap_err().to_string();
        assert!(refused.contains(sentence), "{refused}\n{text}");
    }
    checked(&many(64)).unwrap();
}

#[test]
fn whatever_stands_there_is_told_in_a_short_sentence() {
    let long = "a".repeat(100_000);
    for text in [format!("[upstreams.A{long}]\ntarget = \"a\""), format!("[[routes]]\nservice = \"{long} \"\nto = []")]
    {
        assert!(checked(&text).unwrap_err().to_string().len() < 1_000);
    }
}

#[tokio::test]
async fn without_a_path_there_are_no_routes_and_no_changes() {
    let file = RoutesFile::new("");
    assert_eq!(file.changed().await.unwrap().unwrap().settings, RouteSettings::default());
    assert!(file.changed().await.is_none());
}

#[tokio::test]
async fn a_change_is_one_of_content_and_an_error_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.toml");
    let file = RoutesFile::new(&path);
    let refused = file.changed().await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("routes.toml can't be read: No such file"), "{refused}");
    assert!(file.changed().await.is_none());

    put(&path, b"");
    settled(&file).await.unwrap();
    assert!(file.changed().await.is_none());
    put(&path, b"");
    for _ in 0..2 {
        assert!(file.changed().await.is_none(), "another file of the same content");
    }
    put(&path, b"nonsense");
    let refused = settled(&file).await.unwrap_err();
    assert!(refused.key.ends_with("routes.toml: line 1"), "{refused}");
    assert!(file.changed().await.is_none());
    put(&path, b"");
    settled(&file).await.unwrap();
}

#[tokio::test]
async fn a_change_is_taken_when_two_looks_have_seen_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.toml");
    let one = "[upstreams.a]\ntarget = \"a:1\"\n";
    put(&path, one.as_bytes());
    let file = RoutesFile::new(&path);
    let upstreams = |configured: Configured| configured.settings.upstreams.len();
    assert_eq!(upstreams(file.changed().await.unwrap().unwrap()), 1, "at the start there is nothing to lose");
    // As it grows, each part of it could be meant.
    let whole = format!("{one}[upstreams.b]\ntarget = \"b:1\"\n[upstreams.c]\ntarget = \"c:1\"\n");
    for written in [1, one.len() + 29, whole.len()] {
        fs::write(&path, &whole[..written]).unwrap();
        assert!(file.changed().await.is_none(), "{written} bytes");
    }
    assert_eq!(upstreams(file.changed().await.unwrap().unwrap()), 3);
    assert!(file.changed().await.is_none());
    // What comes back to what it was is no change, and has to be seen twice again after it.
    put(&path, one.as_bytes());
    assert!(file.changed().await.is_none());
    put(&path, whole.as_bytes());
    assert!(file.changed().await.is_none());
    put(&path, one.as_bytes());
    assert_eq!(upstreams(settled(&file).await.unwrap()), 1);
}

#[tokio::test]
async fn a_file_that_is_emptied_is_a_problem_and_one_without_routes_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.toml");
    put(&path, b"\n");
    let file = RoutesFile::new(&path);
    file.changed().await.unwrap().unwrap();
    put(&path, b"[upstreams.a]\ntarget = \"a:1\"\n");
    settled(&file).await.unwrap();
    for empty in [&b""[..], b" \n"] {
        put(&path, empty);
        let refused = settled(&file).await.unwrap_err();
        assert!(refused.to_string().contains("routes.toml is empty and was not before"), "{refused}");
        assert!(file.changed().await.is_none(), "it is told once");
    }
    put(&path, b"# none\n");
    assert_eq!(settled(&file).await.unwrap().settings, RouteSettings::default());
}

#[tokio::test]
async fn what_the_file_names_is_followed_through_links() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let routes = b"[upstreams.a]\ntarget = \"a:1\"\ndescriptors = \"a.binpb\"";
    // A set of one file without content, and one of two.
    for (folder, set) in [(&first, &b"\x0a\x00"[..]), (&second, b"\x0a\x00\x0a\x00")] {
        fs::create_dir(folder).unwrap();
        put(&folder.join("routes.toml"), routes);
        put(&folder.join("a.binpb"), set);
    }
    // As Kubernetes lays out what it mounts.
    let (data, new) = (folder.path().join("..data"), folder.path().join("..new"));
    symlink(&first, &data).unwrap();
    for name in ["routes.toml", "a.binpb"] {
        symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
    }
    let file = RoutesFile::new(folder.path().join("routes.toml"));
    let files = |configured: Configured| configured.descriptors["a"].len();
    assert_eq!(files(file.changed().await.unwrap().unwrap()), 1);
    assert!(file.changed().await.is_none());
    symlink(&second, &new).unwrap();
    fs::rename(&new, &data).unwrap();
    assert_eq!(files(settled(&file).await.unwrap()), 2);
    assert!(file.changed().await.is_none());
    fs::remove_file(second.join("a.binpb")).unwrap();
    let refused = settled(&file).await.unwrap_err();
    assert!(refused.to_string().contains("routes.toml: upstreams.a.descriptors names "), "{refused}");
}
