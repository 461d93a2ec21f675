//! Clients of other languages place an order and follow it until it is confirmed.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use super::shop::{PRODUCT, Shop};
use super::tools::{file, generate, program, python, run, variable};

/// What each of them has to print: a line of JSON with the order, its states as they were watched, what an error told.
fn assert_ordered(printed: &str) {
    let line = printed.lines().last().unwrap_or_default();
    let told: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert!(told["order"].as_str().unwrap().starts_with("orders/"), "{told}");
    let states: Vec<_> = told["states"].as_array().unwrap().iter().map(|state| state.as_str().unwrap()).collect();
    assert_eq!(states.last(), Some(&"STATE_CONFIRMED"), "{told}");
    // The total is a 64-bit number, which JSON and JavaScript hold in other ways.
    assert_eq!(told["total"], "25", "{told}");
    // A call that fails has its code and the reason of its `ErrorInfo`.
    assert_eq!((&told["code"], &told["reason"]), (&"NOT_FOUND".into(), &"PRODUCT_NOT_FOUND".into()), "{told}");
}

#[test]
fn a_client_in_python_places_an_order() {
    let (shop, stubs) = (Shop::open(&[]), tempfile::tempdir().unwrap());
    let proto = Path::new(super::tools::ROOT).join("proto");
    let mut protoc = python();
    protoc.args(["-m", "grpc_tools.protoc", "--proto_path"]).arg(&proto);
    for out in ["--python_out", "--grpc_python_out"] {
        protoc.arg(out).arg(stubs.path());
    }
    protoc.args(proto_files(&proto));
    run(&mut protoc);
    let mut client = python();
    let packages = variable("MESHWORK_TEST_PYTHON_PACKAGES");
    client.env("PYTHONPATH", std::env::join_paths([packages.as_path(), stubs.path()]).unwrap());
    client.arg(file("python/client.py")).args([&shop.address(), PRODUCT]);
    assert_ordered(&run(&mut client));
}

#[test]
fn a_client_in_go_places_an_order() {
    let (shop, module) = (Shop::open(&[]), tempfile::tempdir().unwrap());
    for name in ["go.mod", "go.sum", "main.go"] {
        std::fs::copy(file("go").join(name), module.path().join(name)).unwrap();
    }
    let generators = variable("MESHWORK_TEST_GO_GENERATORS");
    generate("go", module.path(), &generators, &["--exclude-path", "proto/google"]);
    let client = module.path().join("client");
    let mut build = program("go");
    // Modules come by their sums in go.sum, and nothing but modules.
    build.args(["build", "-mod=readonly", "-o"]).arg(&client).arg(".").current_dir(module.path());
    run(build.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off"));
    assert_ordered(&run(program(client).args([&shop.address(), PRODUCT])));
}

#[test]
fn a_page_of_another_origin_places_an_order_by_grpc_web_and_by_connect() {
    // The page's own server, whose origin the gateway admits.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let origin = format!("http://127.0.0.1:{port}");
    let shop = Shop::open(&[("MESHWORK_GATEWAY__HTTP__CORS_ORIGINS", &format!("[\"{origin}\"]"))]);
    let web = tempfile::tempdir().unwrap();
    let modules = variable("MESHWORK_TEST_NODE_MODULES");
    std::os::unix::fs::symlink(&modules, web.path().join("node_modules")).unwrap();
    for name in ["client.ts", "order.mjs"] {
        std::fs::copy(file("web").join(name), web.path().join(name)).unwrap();
    }
    generate("web", web.path(), &modules.join(".bin"), &[]);
    let mut bundle = program(modules.join(".bin/esbuild"));
    bundle.args(["client.ts", "--bundle", "--format=iife", "--outfile=client.js", "--log-level=warning"]);
    run(bundle.current_dir(web.path()));
    for transport in ["grpc-web", "connect"] {
        let mut browser = program("node");
        browser.args(["order.mjs", &port.to_string(), &format!("http://{}", shop.address()), PRODUCT, transport]);
        assert_ordered(&run(browser.current_dir(web.path())));
    }
}

/// All contracts, by their paths in `proto/`.
fn proto_files(proto: &Path) -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![proto.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                files.push(path.strip_prefix(proto).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}
