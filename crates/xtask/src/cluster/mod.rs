//! `cargo xtask cluster`: a real Kubernetes node on this machine, and the tests that run on it.

pub mod check;
pub mod kit;
mod node;
mod stand_ins;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};

use crate::image::{self, Build};
use crate::workspace::Workspace;

use check::{Given, Scope};
use kit::Kit;
use node::Node;

/// What there is to do with a cluster.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a Kubernetes node on this machine, with the images that the chart needs, and print how to use it.
    ///
    /// Needs Linux and root. The first start builds Kubernetes, which takes minutes; later ones take seconds.
    Up {
        /// Which image of `meshwork` it gets.
        #[arg(long, value_enum, default_value_t = Meshwork::Release)]
        image: Meshwork,
    },

    /// End that node and remove all that it has left.
    Down,

    /// Run the cluster's tests, on a node that is started for them and ended after them, unless one is up.
    Test {
        /// Only the short ones: an install, `helm test`, and a restart under load.
        #[arg(long)]
        smoke: bool,

        /// Use a cluster that is already there: the context of that name in your kubeconfig.
        #[arg(long, requires = "image")]
        context: Option<String>,

        /// What that cluster pulls as `meshwork`: REPOSITORY:TAG.
        #[arg(long, requires = "context")]
        image: Option<String>,
    },

    /// Put the images of a file into the running node.
    Load {
        /// The file, as `cargo xtask image` and `docker save` make it.
        file: PathBuf,

        /// More names for the image, each REPOSITORY:TAG.
        names: Vec<String>,
    },
}

/// An image of `meshwork` that a node can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Meshwork {
    /// What `cargo xtask image` builds.
    Release,
    /// What `cargo xtask image --debug` builds.
    Debug,
    /// None.
    None,
}

impl Meshwork {
    /// Builds it and returns its archive.
    fn build(self) -> Result<Option<PathBuf>> {
        let build = match self {
            Self::Release => Build::Release,
            Self::Debug => Build::Debug,
            Self::None => return Ok(None),
        };
        image::run(build).map(Some)
    }
}

/// Does it.
///
/// # Errors
/// When the machine can't do it, something doesn't start, or a test fails; the message says what to do.
pub fn run(command: Command) -> Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Up { image } => up(&workspace, image),
        Command::Down => Node::of(&workspace)?.down(None),
        Command::Test { smoke, context, image } => {
            let scope = if smoke { Scope::Smoke } else { Scope::All };
            match (context, image) {
                (Some(context), Some(image)) => check::on_given(&workspace, scope, &Given { context, image }),
                _ => check::on_own(&workspace, scope, Build::Release),
            }
        }
        Command::Load { file, names } => {
            let node = Node::of(&workspace)?;
            if node.status()? != node::Status::Up {
                bail!("no cluster runs in {}; start one with `cargo xtask cluster up`", node.state().display());
            }
            node.load(&file, &names)
        }
    }
}

fn up(workspace: &Workspace, meshwork: Meshwork) -> Result<()> {
    let node = Node::of(workspace)?;
    node.check()?;
    let kit = Kit::provide()?;
    let archive = meshwork.build()?;
    node.up(&kit, archive.as_deref())?;
    println!("export KUBECONFIG={}", node.kubeconfig().display());
    println!("export PATH={}:\"$PATH\"", kit.bin.display());
    eprintln!(
        "\nWith the two lines above in your shell, this is the shop, and a client of it that places an order:\n\n    \
         helm install meshwork helm/meshwork --wait\n    helm test meshwork\n\n`cargo xtask cluster down` ends it all."
    );
    Ok(())
}
