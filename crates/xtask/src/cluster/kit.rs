//! Provides what a cluster is made of.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::Process;
use crate::schemas;
use crate::setup::install_debian_packages;
use crate::tool::{Source, Tool, ToolsFolder};

/// etcd, the API server, the controller manager, the scheduler, the kubelet, kube-proxy and kubectl, in one program.
///
/// Unless the linker is told versions, Helm takes the server for a Kubernetes of years ago.
const KUBE: Tool = Tool {
    name: "kube",
    version: "1.34.4",
    variables: &[
        ("k8s.io/component-base/version.gitVersion", "v1.34.4"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "34"),
        ("k8s.io/component-base/version.gitTreeState", "clean"),
        ("k8s.io/client-go/pkg/version.gitVersion", "v1.34.4"),
        ("k8s.io/client-go/pkg/version.gitMajor", "1"),
        ("k8s.io/client-go/pkg/version.gitMinor", "34"),
        ("k8s.io/client-go/pkg/version.gitTreeState", "clean"),
    ],
    source: Source::Module { folder: "tests/cluster/kube" },
};

/// Holds a pod's network namespace.
const PAUSE: Tool =
    Tool { name: "pause", version: "1", variables: &[], source: Source::Module { folder: "tests/cluster/pause" } };

/// The cluster's DNS.
const COREDNS: Tool = Tool {
    name: "coredns",
    version: "1.15.0",
    variables: &[],
    source: Source::Go { package: "github.com/coredns/coredns" },
};

/// Installs charts.
///
/// Unless the linker is told, it renders for a Kubernetes of years ago; these are what its releases are built with.
const HELM: Tool = Tool {
    name: "helm",
    version: "3.19.5",
    variables: &[
        ("helm.sh/helm/v3/internal/version.version", "v3.19.5"),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor", "1"),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor", "34"),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor", "1"),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor", "34"),
    ],
    source: Source::Go { package: "helm.sh/helm/v3/cmd/helm" },
};

/// Holds manifests against the schemas of Kubernetes.
const KUBECONFORM: Tool = Tool {
    name: "kubeconform",
    version: "0.8.0",
    variables: &[],
    source: Source::Go { package: "github.com/yannh/kubeconform/cmd/kubeconform" },
};

/// Programs that come as packages of Debian, each with the packages that bring it: those that run containers, those that
/// kube-proxy and the network's plugin call, those that our scripts call, and what stand-ins of images are made from.
const DEBIAN: &[(&str, &[&str])] = &[
    ("containerd", &["containerd"]),
    ("runc", &["runc"]),
    // Not by `bridge`: iproute2 has a program of that name.
    ("host-local", &["containernetworking-plugins"]),
    ("iptables", &["iptables"]),
    ("conntrack", &["conntrack"]),
    ("ip", &["iproute2"]),
    ("openssl", &["openssl"]),
    ("curl", &["curl"]),
    ("busybox", &["busybox-static"]),
];

/// What the manifests' script for Secrets calls.
const OF_MANIFESTS: &[(&str, &[&str])] = &[("openssl", &["openssl"])];

/// How long another setup may be making the schemas.
const SCHEMAS_LIMIT: Duration = Duration::from_secs(900);

/// Where the parts of a cluster are.
pub struct Kit {
    /// The folder of the programs, for a `PATH`.
    pub bin: PathBuf,
    /// The folder of the images that a node has from its start.
    pub images: PathBuf,
    /// `pause`.
    pub pause: PathBuf,
    /// `helm`.
    pub helm: PathBuf,
    /// `kubectl`.
    pub kubectl: PathBuf,
}

/// Tools for charts, which need no cluster.
pub struct ChartTools {
    /// `helm`.
    pub helm: PathBuf,
    /// `kubeconform`.
    pub kubeconform: PathBuf,
    /// `kubectl`.
    pub kubectl: PathBuf,
    /// The folder of the schemas of Kubernetes' objects.
    pub schemas: PathBuf,
}

impl Kit {
    /// Installs what is missing and says where it is.
    ///
    /// # Errors
    /// When something can't be installed from here; the message says how to install it.
    pub fn provide() -> Result<Self> {
        install_debian_packages(DEBIAN)?;
        let folder = folder()?;
        let kubectl = kubectl(&folder)?;
        folder.provide(&COREDNS)?;
        Ok(Self {
            bin: folder.path.join("bin"),
            images: folder.make("images")?,
            pause: folder.provide(&PAUSE)?,
            helm: folder.provide(&HELM)?,
            kubectl,
        })
    }
}

impl ChartTools {
    /// Installs what is missing and says where it is.
    ///
    /// # Errors
    /// As [`Kit::provide`].
    pub fn provide() -> Result<Self> {
        install_debian_packages(OF_MANIFESTS)?;
        let folder = folder()?;
        let kubectl = kubectl(&folder)?;
        let (helm, kubeconform) = (folder.provide(&HELM)?, folder.provide(&KUBECONFORM)?);
        Ok(Self { helm, kubeconform, kubectl, schemas: made_schemas(&folder)? })
    }

    /// A run of tests that finds them.
    pub fn given_to(&self, tests: Process) -> Process {
        tests
            .env("MESHWORK_TEST_HELM", &self.helm)
            .env("MESHWORK_TEST_KUBECONFORM", &self.kubeconform)
            .env("MESHWORK_TEST_KUBECTL", &self.kubectl)
            .env("MESHWORK_TEST_SCHEMAS", &self.schemas)
    }
}

fn folder() -> Result<ToolsFolder> {
    Ok(ToolsFolder::of_user()?.inner("cluster"))
}

/// `kubectl`, which is the one program of Kubernetes under another name.
fn kubectl(folder: &ToolsFolder) -> Result<PathBuf> {
    let kubectl = folder.path.join("bin").join("kubectl");
    folder.provide(&KUBE)?;
    link("kube", &kubectl)?;
    Ok(kubectl)
}

/// The folder of the schemas, which are made when they are missing.
fn made_schemas(folder: &ToolsFolder) -> Result<PathBuf> {
    let schemas = folder.path.join("schemas");
    if !schemas::are_in(&schemas) {
        let _lock = folder.lock(SCHEMAS_LIMIT)?;
        // Another setup may have made them while this one waited.
        if !schemas::are_in(&schemas) {
            schemas::make(&schemas)?;
        }
    }
    Ok(schemas)
}

/// Lets a program be called by a second name.
#[cfg(unix)]
fn link(to: &str, name: &std::path::Path) -> Result<()> {
    match std::os::unix::fs::symlink(to, name) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && fs::read_link(name).is_ok_and(|it| it == *to) => {
            Ok(())
        }
        made => made.with_context(|| format!("cannot make the link {}; remove what is there", name.display())),
    }
}

#[cfg(not(unix))]
fn link(_to: &str, _name: &std::path::Path) -> Result<()> {
    anyhow::bail!("the programs of Kubernetes are built for Unix alone");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn the_version_that_kubernetes_tells_is_the_one_it_is_built_from() {
        let root = Workspace::find().unwrap().root;
        let text = fs::read_to_string(root.join("tests/cluster/kube/go.mod")).unwrap();
        let line = format!("require k8s.io/kubernetes v{}", KUBE.version);
        assert!(text.lines().any(|found| found == line), "no line `{line}`");
        let minor = KUBE.version.split('.').nth(1).unwrap();
        for (variable, value) in KUBE.variables {
            match variable.rsplit_once('.').unwrap().1 {
                "gitVersion" => assert_eq!(*value, format!("v{}", KUBE.version)),
                "gitMinor" => assert_eq!(*value, minor),
                "gitMajor" => assert_eq!(*value, "1"),
                other => assert_eq!((other, *value), ("gitTreeState", "clean")),
            }
        }
    }
}
