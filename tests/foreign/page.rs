//! A person at `/docs`, in headless Chromium.

use serde_json::Value;

use super::shop::{PRODUCT, Shop};
use super::tools::{file, program, run, variable};

/// A picture that is larger than this is of a page with something on it.
const LEAST_BYTES: u64 = 20_000;

#[test]
fn a_person_signs_in_at_docs_and_tries_a_method() {
    let (shop, web) = (Shop::open(&[]), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(variable("MESHWORK_TEST_NODE_MODULES"), web.path().join("node_modules")).unwrap();
    std::fs::copy(file("web/docs.mjs"), web.path().join("docs.mjs")).unwrap();
    let credentials = std::fs::read_to_string(shop.up.data().join("credentials/staff.json")).unwrap();
    let credentials: Value = serde_json::from_str(&credentials).unwrap();
    let [email, password] = ["email", "password"].map(|key| credentials[key].as_str().unwrap());
    let picture = web.path().join("docs.png");
    let mut browser = program("node");
    browser.arg("docs.mjs").arg(format!("http://{}", shop.address())).args([email, password, PRODUCT]).arg(&picture);
    let seen: Value = serde_json::from_str(&run(browser.current_dir(web.path()))).unwrap();

    assert_eq!(seen["found"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(seen["who"], "Signed in as users/staff");
    assert!(seen["status"].as_str().unwrap().starts_with("200 "), "{seen}");
    assert!(seen["answer"].as_str().unwrap().contains(r#""available": "1000""#), "{seen}");
    // What is to be copied has no secret in it.
    let curl = seen["curl"].as_str().unwrap();
    assert!(
        curl.contains("/v1/products/foreign-mug/stock") && curl.contains("$TOKEN") && !curl.contains("eyJ"),
        "{curl}"
    );
    let none = serde_json::json!([]);
    assert_eq!(seen["problems"], none, "the browser complains");
    assert_eq!(seen["elsewhere"], none, "the page loads something from elsewhere");
    assert_eq!(seen["inaccessible"], none, "axe complains");
    assert_eq!(seen["stored"], serde_json::json!([0, 0, 0]), "a token is kept outside of the page's memory");
    assert!(picture.metadata().unwrap().len() > LEAST_BYTES);
    // Where somebody wants to look at it.
    if let Some(folder) = std::env::var_os("MESHWORK_TEST_PICTURES") {
        std::fs::copy(&picture, std::path::Path::new(&folder).join("docs.png")).unwrap();
    }
}
