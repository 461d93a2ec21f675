//! Installs what the tests need and is missing.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Result, bail};

use crate::packages::{self, Packages};
use crate::process::{Process, find_program, is_program};
use crate::tool::{INSTALL_LIMIT, Source, Tool, ToolsFolder};

/// A client that knows nothing of our stubs: it calls the services as a foreign user would.
const GRPCURL: Tool = Tool {
    name: "grpcurl",
    version: "1.9.4",
    variables: &[],
    source: Source::Go { package: "github.com/fullstorydev/grpcurl/cmd/grpcurl" },
};

/// Holds an HTTP/2 server against the RFCs. Later versions are no Go modules of this path.
const H2SPEC: Tool = Tool {
    name: "h2spec",
    version: "2.2.1+incompatible",
    variables: &[],
    source: Source::Go { package: "github.com/summerwind/h2spec/cmd/h2spec" },
};

/// Checks the contracts.
const BUF: Tool =
    Tool { name: "buf", version: "1.75.0", variables: &[], source: Source::Npm { package: "@bufbuild/buf" } };

/// Speaks MongoDB's protocol, over SQLite, and where there is no `mongod` over PostgreSQL.
const FERRETDB: Tool = Tool {
    name: "ferretdb",
    version: "1.24.2",
    variables: &[],
    source: Source::Module { folder: "tests/servers/ferretdb" },
};

/// Carries events between services.
const NATS: Tool = Tool {
    name: "nats-server",
    version: "2.15.2",
    variables: &[],
    source: Source::Go { package: "github.com/nats-io/nats-server/v2" },
};

/// Runs the conformance suite of Connect, gRPC and gRPC-Web.
const CONNECTCONFORMANCE: Tool = Tool {
    name: "connectconformance",
    version: "1.0.7",
    variables: &[],
    source: Source::Go { package: "connectrpc.com/conformance/cmd/connectconformance" },
};

/// Answers the calls of the conformance suite, behind the gateway.
const REFERENCESERVER: Tool = Tool {
    name: "referenceserver",
    version: "1.0.7",
    variables: &[],
    source: Source::Go { package: "connectrpc.com/conformance/cmd/referenceserver" },
};

/// Generates messages in Go.
const PROTOC_GEN_GO: Tool = Tool {
    name: "protoc-gen-go",
    version: "1.36.12",
    variables: &[],
    source: Source::Go { package: "google.golang.org/protobuf/cmd/protoc-gen-go" },
};

/// Generates clients in Go.
const PROTOC_GEN_GO_GRPC: Tool = Tool {
    name: "protoc-gen-go-grpc",
    version: "1.6.2",
    variables: &[],
    source: Source::Go { package: "google.golang.org/grpc/cmd/protoc-gen-go-grpc" },
};

/// Clients in Python, and what holds the gateway to its OpenAPI document.
const PYTHON: Packages =
    Packages { name: "python", source: packages::Source::Python { requirements: "tests/foreign/requirements.txt" } };

/// Clients for browsers, and what drives one.
const WEB: Packages = Packages { name: "node", source: packages::Source::Node { folder: "tests/foreign/web" } };

/// Programs that come as packages of Debian, each with the packages that bring it.
///
/// SQLite is compiled from C; the README's lines of HTTP are run by curl (7.82 or later, for `--json`); rate limits
/// are tested on a real Redis, read models on a real PostgreSQL; clients of other languages run in Python and in a browser.
const DEBIAN: &[(&str, &[&str])] = &[
    ("cc", &["gcc", "libc6-dev"]),
    ("curl", &["curl"]),
    ("redis-server", &["redis-server"]),
    ("initdb", &["postgresql"]),
    ("pip3", &["python3", "python3-pip"]),
    ("chromium", &["chromium"]),
];

/// Where Debian keeps the server programs of PostgreSQL, by version: they are not on the PATH.
pub const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Where else programs are that may not be on the PATH: those of the administrator, and plugins of container networks.
const ELSEWHERE: &[&str] = &["/usr/sbin", "/sbin", "/usr/lib/cni", "/opt/cni/bin"];

/// Parts of the Rust toolchain that `cargo xtask test` calls, each as (cargo command, component).
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

/// Where the installed tools are.
#[derive(Debug)]
pub struct Tools {
    /// `grpcurl`.
    pub grpcurl: PathBuf,
    /// `buf`.
    pub buf: PathBuf,
    /// `h2spec`.
    pub h2spec: PathBuf,
    /// FerretDB.
    pub ferretdb: PathBuf,
    /// `nats-server`.
    pub nats: PathBuf,
    /// What clients of other languages need.
    pub foreign: ForeignTools,
}

/// What clients of other languages need.
#[derive(Debug)]
pub struct ForeignTools {
    /// `connectconformance`.
    pub conformance: PathBuf,
    /// The server of the conformance suite.
    pub conformance_server: PathBuf,
    /// The folder with the programs that generate Go.
    pub generators: PathBuf,
    /// The folder with the packages of Python.
    pub python: PathBuf,
    /// The folder `node_modules` of the clients for browsers.
    pub web: PathBuf,
}

impl Tools {
    /// The MongoDB-compatible server that the tests run on, for people.
    pub fn mongodb(&self) -> String {
        let named = env::var_os("MESHWORK_TEST_MONGODB_URI").is_some_and(|uri| !uri.is_empty());
        let server = match find_program("mongod") {
            _ if named => "the server of MESHWORK_TEST_MONGODB_URI".to_owned(),
            Some(_) => "private `mongod`s from the PATH".to_owned(),
            None => "private FerretDBs over private PostgreSQLs".to_owned(),
        };
        format!("{server}; the suite of every store on FerretDB {} over SQLite too", FERRETDB.version)
    }
}

/// Installs what is missing and says where the tools are.
///
/// # Errors
/// When something is missing that can't be installed from here; the message says how to install it.
pub fn run() -> Result<Tools> {
    install_debian_packages(DEBIAN)?;
    install_components()?;
    let folder = ToolsFolder::of_user()?;
    Ok(Tools {
        grpcurl: folder.provide(&GRPCURL)?,
        buf: folder.provide(&BUF)?,
        h2spec: folder.provide(&H2SPEC)?,
        ferretdb: folder.provide(&FERRETDB)?,
        nats: folder.provide(&NATS)?,
        foreign: foreign(&folder)?,
    })
}

fn foreign(folder: &ToolsFolder) -> Result<ForeignTools> {
    let generators = [folder.provide(&PROTOC_GEN_GO)?, folder.provide(&PROTOC_GEN_GO_GRPC)?];
    Ok(ForeignTools {
        conformance: folder.provide(&CONNECTCONFORMANCE)?,
        conformance_server: folder.provide(&REFERENCESERVER)?,
        generators: generators[0].parent().map(Path::to_owned).unwrap_or_default(),
        python: folder.provide_packages(&PYTHON)?,
        web: folder.provide_packages(&WEB)?.join("node_modules"),
    })
}

/// The folder `name` among the user's tools, whether it is there or not.
///
/// # Errors
/// When no variable of the environment tells where tools are.
pub fn folder(name: &str) -> Result<PathBuf> {
    Ok(ToolsFolder::of_user()?.path.join(name))
}

/// Adds what is missing of the Rust toolchain.
fn install_components() -> Result<()> {
    let missing: Vec<_> = COMPONENTS
        .iter()
        .filter(|(command, _)| Process::new("cargo").args([*command, "--version"]).output().is_err())
        .map(|(_, component)| *component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if find_program("rustup").is_none() {
        bail!(
            "the Rust toolchain lacks {}, and there is no `rustup` to add it; install it the way Rust was installed",
            missing.join(" and ")
        );
    }
    Process::new("rustup").args(["component", "add"]).args(missing).limit(INSTALL_LIMIT).progress().run()
}

/// Whether a program is on the PATH, elsewhere, or among the servers of PostgreSQL.
fn is_installed(program: &str) -> bool {
    let versions = fs::read_dir(POSTGRESQL).into_iter().flatten().flatten();
    find_program(program).is_some()
        || ELSEWHERE.iter().any(|folder| is_program(&Path::new(folder).join(program)))
        || versions.map(|entry| entry.path()).any(|path| path.join("bin").join(program).exists())
}

/// Installs the packages of the programs that are missing, each program with the packages that bring it.
///
/// # Errors
/// When they can't be installed from here; the message names them.
pub fn install_debian_packages(wanted: &[(&str, &[&str])]) -> Result<()> {
    let missing: Vec<_> = wanted.iter().filter(|(program, _)| !is_installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs = missing.iter().map(|(program, _)| format!("`{program}`")).collect::<Vec<_>>().join(", ");
    let packages: Vec<_> = missing.iter().flat_map(|(_, packages)| packages.iter().copied()).collect();
    if find_program("apt-get").is_none() {
        bail!("{programs} is missing; install it (on Debian: {})", packages.join(" "));
    }
    let is_root = Process::new("id").arg("-u").output()?.trim() == "0";
    if !is_root && find_program("sudo").is_none() {
        bail!("{programs} is missing; run `apt-get install {}` as root", packages.join(" "));
    }
    apt_get(is_root, &["update"]).run()?;
    apt_get(is_root, &["install", "--yes", "--no-install-recommends"]).args(packages).run()
}

/// A call of `apt-get` that asks no questions.
fn apt_get(is_root: bool, args: &[&str]) -> Process {
    let process = if is_root {
        Process::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive")
    } else {
        // sudo drops the environment.
        Process::new("sudo").args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
    };
    process.args(args.iter().copied()).limit(INSTALL_LIMIT).progress()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_get_asks_no_questions_and_needs_root() {
        assert_eq!(apt_get(true, &["update"]).line(), "DEBIAN_FRONTEND=noninteractive apt-get update");
        assert_eq!(apt_get(false, &["update"]).line(), "sudo env DEBIAN_FRONTEND=noninteractive apt-get update");
    }

    #[test]
    fn no_packages_are_installed_when_nothing_is_missing() {
        install_debian_packages(&[]).unwrap();
        install_debian_packages(&[("sh", &["no-such-package"])]).unwrap();
    }
}
