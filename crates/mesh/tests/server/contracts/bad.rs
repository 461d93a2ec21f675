//! Contracts that can't be offered are refused, and leave everything as it was.

use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{ContractSet, Contracts, ServerError};
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, FileDescriptorProto, FileOptions, SourceCodeInfo};
use tonic::Code;

use super::support::{Far, METHODS, SHOP, SHOP_UNARY, described, encoded, file, shop};
use crate::plans::failed;
use crate::support::{Echo, Running, UNARY, descriptors, unary};

fn only(descriptors: Vec<u8>) -> ContractSet {
    ContractSet { descriptors: vec![descriptors], ..ContractSet::default() }
}

fn message(name: Option<&str>) -> DescriptorProto {
    DescriptorProto { name: name.map(str::to_owned), ..DescriptorProto::default() }
}

/// A file with these messages.
fn messages(name: &str, package: &str, messages: Vec<DescriptorProto>) -> FileDescriptorProto {
    let (name, package) = (Some(name.to_owned()), Some(package.to_owned()));
    FileDescriptorProto { name, package, message_type: messages, ..FileDescriptorProto::default() }
}

/// Each with what its error says, and the file that it names.
fn bad() -> Vec<(ContractSet, &'static str, Option<&'static str>)> {
    let many: Vec<_> = (0..10_001).map(|at| format!("M{at}")).collect();
    let methods: Vec<_> = many.iter().map(|name| (name.as_str(), false, false)).collect();
    let table =
        many.iter().fold(AccessTable::new(), |table, name| table.method(format!("/a.A/{name}"), Access::Public));
    let one = || file("a.proto", "a", "A", &METHODS);
    let fields = (0..250_000).map(|_| message(Some("M"))).collect::<Vec<_>>();
    vec![
        (only(b"\xff\xff nonsense".to_vec()), "descriptors[0] can't be read", None),
        // A file that is none.
        (only(b"\x0a\x02\xff\xff".to_vec()), "descriptors[0] can't be read", None),
        // A service that is none, in a file that has a name.
        (only(b"\x0a\x09\x0a\x03a.p\x32\x02\xff\xff".to_vec()), "the file a.p can't be read", Some("a.p")),
        (only(encoded([messages("", "a", Vec::new())])), "has a file without a name", None),
        (
            only(encoded([messages("a.proto", "a", vec![message(None)])])),
            "a.proto has a message without",
            Some("a.proto"),
        ),
        (
            only(encoded([one(), file("a.proto", "a", "A", &METHODS[1..])])),
            "the file a.proto is there twice with other contents",
            Some("a.proto"),
        ),
        (
            only(encoded([one(), file("b.proto", "a", "A", &METHODS[1..])])),
            "the files a.proto and b.proto describe the service a.A in two ways",
            Some("b.proto"),
        ),
        // A great many files with nothing in them.
        (only(b"\x0a\x00".repeat(1 << 20)), "at most 10000 files", None),
        (only(vec![0; (16 << 20) + 1]), "at most 16777216 bytes of descriptors", None),
        (
            only(encoded([messages("a.proto", "a", vec![message(Some(&"m".repeat(1 << 20)))])])),
            "at most 1048576 bytes in a file",
            Some("a.proto"),
        ),
        (only(described("a.proto", "a", "A", &methods)), "at most 10000 methods", Some("a.proto")),
        (ContractSet { access: table, ..ContractSet::default() }, "at most 10000 methods", None),
        (
            only(encoded((0..10_001).map(|at| messages(&format!("{at}.proto"), "a", Vec::new())))),
            "at most 10000 files",
            None,
        ),
        (
            only(encoded(
                fields
                    .chunks(100_000)
                    .enumerate()
                    .map(|(at, chunk)| messages(&format!("{at}.proto"), "a", [chunk, &fields[..1]].concat())),
            )),
            "at most 250000 messages",
            Some("2.proto"),
        ),
        (
            // Each name is written out with its package.
            only(encoded([messages("a.proto", &"p".repeat(500_000), vec![message(Some("M")); 100])])),
            "bytes of full names",
            Some("a.proto"),
        ),
        (
            ContractSet { shown: vec!["a.A".to_owned(); 1001], ..ContractSet::default() },
            "at most 1000 services that are shown",
            None,
        ),
        (
            ContractSet { shown: vec!["a".repeat(65_537)], ..ContractSet::default() },
            "at most 65536 bytes of names of services",
            None,
        ),
    ]
}

#[track_caller]
fn refused(contracts: &Contracts, set: ContractSet, expected: &str, file: Option<&str>) {
    match contracts.set(set) {
        Err(ServerError::Contracts(why)) => {
            assert!(why.to_string().contains(expected), "{expected}: {why}");
            assert_eq!(why.file(), file, "{why}");
        }
        other => panic!("{expected}: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn bad_contracts_are_refused_and_those_before_are_offered_still() {
    let far = Far::start(Server::builder().access(AccessTable::new()));
    far.upstream.add(SHOP);
    let channel = far.server.channel();
    // The server listens when it has answered.
    assert_eq!(unary(&channel, SHOP_UNARY, "x").await.unwrap_err().code(), Code::Unauthenticated);
    far.contracts.set(shop(&Access::Public)).unwrap();
    let contradicting = only(described("test.proto", "far.v1", "Shop", &METHODS));
    let contradicting = (contradicting, "test.proto is there twice with other contents", Some("test.proto"));
    for (set, expected, file) in bad().into_iter().chain([contradicting]) {
        refused(&far.contracts, set, expected, file);
        assert_eq!(unary(&channel, SHOP_UNARY, "x").await.unwrap(), "x", "{expected}");
    }
}

#[test]
fn what_holds_as_much_as_it_may_and_says_the_same_twice_is_taken() {
    let shop = || file("far/v1/shop.proto", "far.v1", "Shop", &METHODS);
    let place = Location { path: vec![6, 0], span: vec![1, 2, 3], ..Location::default() };
    let annotated = FileDescriptorProto { source_code_info: Some(SourceCodeInfo { location: vec![place] }), ..shop() };
    let moved = FileDescriptorProto { name: Some("shop.proto".to_owned()), ..shop() };
    let timestamp = |package: &str| FileDescriptorProto {
        options: Some(FileOptions { go_package: Some(package.to_owned()), ..FileOptions::default() }),
        ..messages("google/protobuf/timestamp.proto", "google.protobuf", vec![message(Some("Timestamp"))])
    };
    let many: Vec<_> = (0..10_000).map(|at| format!("M{at}")).collect();
    let methods: Vec<_> = many.iter().map(|name| (name.as_str(), false, true)).collect();
    for (what, files) in [
        ("the same file", vec![shop(), shop()]),
        ("comments", vec![shop(), annotated]),
        ("the same service in another file", vec![shop(), moved]),
        ("protobuf's own files", vec![timestamp("a"), timestamp("b")]),
        ("health of another make", vec![file("health.proto", "grpc.health.v1", "Health", &METHODS), shop()]),
        ("as many methods as there may be", vec![file("a.proto", "a", "A", &methods)]),
    ] {
        let taken = Contracts::new().set(only(encoded(files)));
        assert!(taken.is_ok(), "{what}: {taken:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_servers_change_or_none_does() {
    let far = Far::start(Server::builder().access(AccessTable::new()));
    far.upstream.add(SHOP);
    let own = described("far/v1/shop.proto", "other.v1", "Shop", &METHODS);
    let other = Running::start(far.offering(Server::builder().descriptors(own.clone())));
    let (channel, of_other) = (far.server.channel(), other.channel());
    assert_eq!(unary(&of_other, UNARY, "x").await.unwrap(), "x");
    assert_eq!(unary(&channel, SHOP_UNARY, "x").await.unwrap_err().code(), Code::Unauthenticated);
    refused(&far.contracts, shop(&Access::Public), "far/v1/shop.proto is there twice", Some("far/v1/shop.proto"));
    assert_eq!(unary(&channel, SHOP_UNARY, "x").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(unary(&of_other, UNARY, "x").await.unwrap(), "x");
    // Without it there is no contradiction; and with these contracts it doesn't start.
    other.stop();
    other.ended().await;
    far.contracts.set(shop(&Access::Public)).unwrap();
    assert_eq!(unary(&channel, SHOP_UNARY, "x").await.unwrap(), "x");
    let builder = Server::builder().add_service(Echo::default()).descriptors(descriptors());
    let error = failed(far.offering(builder.descriptors(own))).await;
    assert!(matches!(&error, ServerError::Contracts(why) if why.file() == Some("far/v1/shop.proto")), "{error}");
}
