//! What the image `meshwork` is: its files, and how it is run.

use anyhow::{Context as _, Result};
use pem_rfc7468::LineEnding;

use super::archive::{Image, Packing};
use super::layer::{Layer, Owner};

/// Its name, as everybody who pulls or loads it knows it.
pub const REFERENCE: &str = concat!("docker.io/library/meshwork:", env!("CARGO_PKG_VERSION"));

/// As whom it runs: a user without any rights.
const USER: u32 = 65_532;

/// The folder that its user may write to, when nothing is mounted over it.
const DATA: &str = "/data";

/// The certification authorities that the world trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The sources that an image is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Their commit, when they are just as in it.
    pub revision: Option<String>,
    /// The time that everything in the image gets, in seconds since 1970.
    pub time: u64,
}

/// The image around a layer that holds `/meshwork`.
///
/// # Errors
/// When an authority's certificate can't be encoded.
pub fn image(program: Layer, sources: Sources, packing: Packing) -> Result<Image> {
    let mut labels = vec![
        label("title", "meshwork"),
        label("description", "Every service of the Meshwork back end: `meshwork serve SERVICE`"),
        label("version", env!("CARGO_PKG_VERSION")),
        label("licenses", env!("CARGO_PKG_LICENSE")),
    ];
    labels.extend(sources.revision.map(|revision| label("revision", &revision)));
    Ok(Image {
        reference: REFERENCE.to_owned(),
        // What seldom changes comes first, so that nodes keep it.
        layers: vec![base()?, program.symlink("/bin/meshwork", "/meshwork")],
        entrypoint: vec!["/meshwork".to_owned()],
        cmd: Vec::new(),
        user: format!("{USER}:{USER}"),
        env: vec!["PATH=/bin".to_owned(), format!("MESHWORK_DATA={DATA}"), format!("SSL_CERT_FILE={AUTHORITIES}")],
        workdir: DATA.to_owned(),
        stop_signal: String::new(),
        // The services, what operators look at, and the health of the services for those who have no certificate.
        ports: ["8080/tcp", "9090/tcp", "9091/tcp"].map(str::to_owned).to_vec(),
        labels,
        time: sources.time,
        packing,
    })
}

fn label(name: &str, value: &str) -> (String, String) {
    (format!("org.opencontainers.image.{name}"), value.to_owned())
}

/// What a program finds on an installed system and the image has no system for.
fn base() -> Result<Layer> {
    let passwd = format!("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:{DATA}:/sbin/nologin\n");
    let group = format!("root:x:0:\nnonroot:x:{USER}:\n");
    Ok(Layer::new()
        .bytes("/etc/passwd", passwd, 0o644, Owner::ROOT)
        .bytes("/etc/group", group, 0o644, Owner::ROOT)
        .bytes(AUTHORITIES, authorities()?, 0o644, Owner::ROOT)
        .dir("/tmp", 0o1777, Owner::ROOT)
        .dir(DATA, 0o755, Owner::of(USER)))
}

/// Mozilla's list, from a package that `Cargo.lock` pins: the machine's own would change with the machine.
fn authorities() -> Result<String> {
    let encode = |certificate: &[u8]| {
        pem_rfc7468::encode_string("CERTIFICATE", LineEnding::LF, certificate)
            .map_err(|error| anyhow::anyhow!("{error}"))
            .context("cannot encode an authority's certificate")
    };
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|certificate| encode(certificate)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::{env, fs};

    use super::*;

    fn ours() -> Image {
        image(Layer::new(), Sources::default(), Packing::Gzip).unwrap()
    }

    /// The text of the Dockerfile. Its place is asked at run time, because checkouts may share one build folder.
    fn dockerfile() -> String {
        let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
        fs::read_to_string(folder.join("../../Dockerfile")).unwrap().replace("\\\n", " ")
    }

    /// What the Dockerfile says after each `instruction` of its last stage.
    fn says(instruction: &str) -> Vec<String> {
        let text = dockerfile();
        let stage = text.rsplit("\nFROM ").next().unwrap();
        let lines = stage.lines().filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn the_dockerfile_says_the_same() {
        let image = ours();
        assert_eq!(says("USER"), [image.user]);
        assert_eq!(says("WORKDIR"), [image.workdir]);
        assert_eq!(says("ENV"), [image.env.join(" ")]);
        assert_eq!(says("EXPOSE"), [image.ports.join(" ").replace("/tcp", "")]);
        assert_eq!(says("ENTRYPOINT"), [serde_json::to_string(&image.entrypoint).unwrap()]);
        assert_eq!(says("CMD"), Vec::<String>::new());
        for (name, value) in image.labels {
            assert!(says("LABEL").contains(&format!("{name}={value:?}")), "LABEL {name}={value:?}");
        }
    }

    #[test]
    fn the_dockerfile_builds_with_the_rust_of_the_workspace() {
        let wanted = format!("\nFROM rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
        assert!(dockerfile().contains(&wanted), "the Dockerfile lacks `{}`", wanted.trim());
    }

    #[test]
    fn the_chart_runs_it_as_its_user() {
        let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..");
        let text = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
        let version = format!("\nappVersion: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(
            text("helm/meshwork/Chart.yaml").replace('"', "").contains(&version),
            "Chart.yaml lacks `{}`",
            version.trim()
        );
        let trial = text("tests/chart/golden/trial.yaml");
        let (reference, _) = REFERENCE.split_once("meshwork:").unwrap();
        assert_eq!(reference, "docker.io/library/", "what `meshwork:TAG` of the chart means to a node");
        for wanted in [format!("runAsUser: {USER}"), format!("meshwork:{}", env!("CARGO_PKG_VERSION"))] {
            assert!(trial.contains(&wanted), "the rendered chart lacks `{wanted}`");
        }
    }

    #[test]
    fn only_a_commit_is_named() {
        let revision = |image: Image| {
            image
                .labels
                .into_iter()
                .find(|(name, _)| name == "org.opencontainers.image.revision")
                .map(|(_, value)| value)
        };
        assert_eq!(revision(ours()), None);
        let sources = Sources { revision: Some("abc".to_owned()), time: 7 };
        let image = image(Layer::new(), sources, Packing::Plain).unwrap();
        assert_eq!((image.time, revision(image)), (7, Some("abc".to_owned())));
    }

    #[test]
    fn the_authorities_are_mozillas() {
        let text = authorities().unwrap();
        let count = text.matches("-----BEGIN CERTIFICATE-----\n").count();
        assert!(count > 100, "{count} authorities");
        assert_eq!(count, text.matches("-----END CERTIFICATE-----\n").count());
        for line in text.lines() {
            assert!(line.len() <= 64, "{line}");
        }
    }
}
