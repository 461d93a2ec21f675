//! The chart, installed.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::pods;

/// The name of the release, and so of its objects.
pub const RELEASE: &str = "meshwork";
/// The namespace that it is in.
pub const NAMESPACE: &str = "shop";
/// The folder of the chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/meshwork");
/// Limits that are no test's matter.
const UNLIMITED: [&str; 2] = ["--set=gateway.rateLimit.burst=1000000", "--set=gateway.rateLimit.perSecond=1000000"];

/// An installed shop.
pub struct Shop {
    pub cluster: Cluster,
    folder: TempDir,
}

impl Shop {
    /// Installs it by the chart's own values, and `more`, and waits until all is ready.
    pub async fn install(cluster: &Cluster, more: &[&str]) -> Self {
        let shop = Self { cluster: cluster.clone(), folder: tempfile::tempdir().unwrap() };
        shop.cluster.helm(&shop.arguments("install", &shop.cluster.image, &[&["--create-namespace"], more].concat()));
        shop.all_ready();
        shop
    }

    /// The arguments of an install or an upgrade to an image.
    fn arguments<'a>(&'a self, verb: &'a str, image: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let (repository, tag) = image.rsplit_once(':').expect("an image has a tag");
        let image = [format!("--set=image.repository={repository}"), format!("--set=image.tag={tag}")];
        // They live as long as the test.
        let image = image.map(|flag| &*Box::leak(flag.into_boxed_str()));
        let chart = [verb, RELEASE, CHART, "--namespace", NAMESPACE, "--wait", "--wait-for-jobs", "--timeout=5m"];
        [&chart[..], &image, &UNLIMITED, more].concat()
    }

    /// Upgrades it to an image and values.
    pub fn upgrade(&self, image: &str, more: &[&str]) {
        self.cluster.helm(&self.arguments("upgrade", image, more));
        self.all_ready();
    }

    /// `helm test`, which places an order.
    pub async fn test(&self) {
        let printed = self.cluster.helm(&["test", RELEASE, "--namespace", NAMESPACE, "--logs", "--timeout=3m"]);
        assert!(printed.contains("Phase:          Succeeded"), "{printed}");
    }

    /// Runs `kubectl` in the namespace.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(&[&["--namespace", NAMESPACE], args].concat())
    }

    /// Every pod that is to run is ready, and the Job is done.
    fn all_ready(&self) {
        for pod in pods::all(self) {
            assert!(pod.is_ready() || pod.is_done(), "{} isn't ready: {}", pod.name, pod.json["status"]);
        }
    }

    /// Where the gateway is, as a URL that works from here.
    pub fn url(&self) -> String {
        let service =
            self.kubectl(&["get", "service", &format!("{RELEASE}-gateway"), "--output=jsonpath={.spec.clusterIP}"]);
        format!("http://{service}:8080")
    }

    /// What a Secret holds under a key.
    pub fn secret(&self, name: &str, key: &str) -> Vec<u8> {
        let secret = self.cluster.json(&["get", "secret", &format!("{RELEASE}-{name}"), "--namespace", NAMESPACE]);
        let text = secret["data"][key].as_str().unwrap_or_else(|| panic!("{name} has no {key}"));
        STANDARD.decode(text).unwrap()
    }

    /// The same in a file.
    pub fn secret_file(&self, name: &str, key: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}-{key}"));
        std::fs::write(&path, self.secret(name, key)).unwrap();
        path
    }

    /// A file for a test's use, that isn't there.
    pub fn new_file(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::remove_file(&path).ok();
        path
    }

    /// A folder for the state of commands.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}
