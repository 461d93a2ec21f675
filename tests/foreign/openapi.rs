//! Schemathesis makes requests of all kinds out of the OpenAPI document, good and bad ones, and looks whether the answers are
//! what the document says: no fault of the server, no undocumented status, no body of another shape, nothing wrong that is taken.
//!
//! Not asked for is that every request which fits the document is carried out (`positive_data_acceptance`): rules such as the
//! length of a name or the currencies in use stand in the descriptions, since `google.api` has no words for them. That requests
//! without credentials are refused, all of them, is tested where the methods are: `ignored_auth` leaves one of the two kinds out,
//! token and key, and wonders that the other does, and `missing_required_header` counts a 400 that comes before.

use super::shop::Shop;
use super::tools::{python, run, variable};

/// How many requests it makes of each method and phase; more with `cargo xtask test --full`.
const EXAMPLES: &str = "10";
const MANY_EXAMPLES: &str = "200";

/// The checks, by schemathesis's names.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method,use_after_free";

#[test]
fn the_gateway_answers_as_its_openapi_document_says() {
    let shop = Shop::open(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let staff = runtime.block_on(shop.up.gateway().staff());
    let folder = tempfile::tempdir().unwrap();
    let examples = if std::env::var_os("MESHWORK_TEST_FULL").is_some() { MANY_EXAMPLES } else { EXAMPLES };
    let mut schemathesis = python();
    schemathesis.arg(variable("MESHWORK_TEST_PYTHON_PACKAGES").join("bin/schemathesis")).current_dir(folder.path());
    schemathesis.args(["run", &format!("http://{}/openapi.json", shop.address()), "--no-color", "--checks", CHECKS]);
    schemathesis.args(["--header", &format!("authorization: {}", staff.to_str().unwrap())]);
    schemathesis.args(["--max-examples", examples, "--request-timeout", "10", "--workers", "1", "--seed", "1"]);
    let said = run(&mut schemathesis);
    // It fails when it has found something; and it has to have found the methods.
    assert!(said.contains("POST /v1/orders") && said.contains(" generated, "), "{said}");
}
