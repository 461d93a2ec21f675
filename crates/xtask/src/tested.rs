//! How tests are built, and what they find.

use crate::process::Process;
use crate::setup::Tools;

/// What is checked is built with crash points and planted bugs, all of it, so that one build serves every step. Without them
/// it is compiled by `xtask bench` and `xtask soak`, and here by a long run.
pub const FEATURES: [&str; 2] = ["--features", "meshwork-cli/ablation,meshwork-cli/kubernetes"];

/// A run of tests that finds the tools.
pub fn with_tools(tests: Process, tools: &Tools) -> Process {
    tests
        .env("MESHWORK_TEST_GRPCURL", &tools.grpcurl)
        .env("MESHWORK_TEST_H2SPEC", &tools.h2spec)
        .env("MESHWORK_TEST_FERRETDB", &tools.ferretdb)
        .env("MESHWORK_TEST_NATS", &tools.nats)
        .env("MESHWORK_TEST_BUF", &tools.buf)
        .env("MESHWORK_TEST_CONNECTCONFORMANCE", &tools.foreign.conformance)
        .env("MESHWORK_TEST_REFERENCESERVER", &tools.foreign.conformance_server)
        .env("MESHWORK_TEST_GO_GENERATORS", &tools.foreign.generators)
        .env("MESHWORK_TEST_PYTHON_PACKAGES", &tools.foreign.python)
        .env("MESHWORK_TEST_NODE_MODULES", &tools.foreign.web)
}
