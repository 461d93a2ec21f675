//! The node: starts, fills and ends it, by the scripts of tests/cluster/node/.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::kit::Kit;
use super::stand_ins;
use crate::process::Process;
use crate::tool::ToolsFolder;
use crate::workspace::Workspace;

/// The longest that a start may take; the script has bounds of its own for each step, which tell more.
const START_LIMIT: Duration = Duration::from_secs(400);

/// The longest that anything else may take.
const LIMIT: Duration = Duration::from_secs(120);

/// How long another command may be starting or ending the node.
const LOCK_LIMIT: Duration = Duration::from_secs(600);

/// The node of this user: a machine may have several, each with another state folder.
pub struct Node {
    scripts: PathBuf,
    root: PathBuf,
    state: PathBuf,
}

/// What the state folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing.
    None,
    /// A node that is Ready.
    Up,
    /// What is left of one.
    Broken,
}

impl Node {
    /// The node whose state is in `$MESHWORK_CLUSTER_STATE`, else in `meshwork-cluster` in the folder for temporary files.
    ///
    /// # Errors
    /// When that is no path.
    pub fn of(workspace: &Workspace) -> Result<Self> {
        let state = env::var_os("MESHWORK_CLUSTER_STATE")
            .filter(|path| !path.is_empty())
            .map_or_else(|| env::temp_dir().join("meshwork-cluster"), PathBuf::from);
        Ok(Self {
            scripts: workspace.root.join("tests/cluster/node"),
            root: workspace.root.clone(),
            state: std::path::absolute(state)?,
        })
    }

    /// Its state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What clients of it need to know.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Whether this machine can run one.
    ///
    /// # Errors
    /// When it can't; the message says what is missing, and of what else use can be made.
    pub fn check(&self) -> Result<()> {
        if cfg!(not(target_os = "linux")) {
            bail!(
                "a cluster of one's own needs Linux; for another cluster there is `cargo xtask cluster test --context`"
            );
        }
        self.script("check.sh").output().map(drop)
    }

    /// Starts it, unless it is up; what is left of one that broke is removed first. In either case it gets the image of
    /// `archive` and the stand-ins of the images that the chart names. Returns whether it was started.
    ///
    /// # Errors
    /// When it doesn't start; its logs are shown and kept.
    pub fn up(&self, kit: &Kit, archive: Option<&Path>) -> Result<bool> {
        let stand_ins = stand_ins::provide(&self.root, kit)?;
        let _lock = lock()?;
        let status = self.status()?;
        if status == Status::Broken {
            eprintln!("removing what is left of a cluster in {}", self.state.display());
            self.script("down.sh").limit(LIMIT).run()?;
        }
        if status == Status::Up {
            eprintln!("a cluster is up in {}", self.state.display());
            for image in stand_ins {
                self.load(&image, &[])?;
            }
        } else {
            self.script("up.sh")
                .env("MESHWORK_CLUSTER_BIN", &kit.bin)
                .env("MESHWORK_CLUSTER_IMAGES", &kit.images)
                .limit(START_LIMIT)
                .progress()
                .run()?;
        }
        if let Some(archive) = archive {
            self.load(archive, &[])?;
        }
        Ok(status != Status::Up)
    }

    /// What there is of it.
    ///
    /// # Errors
    /// When that can't be found out.
    pub fn status(&self) -> Result<Status> {
        let bin = ToolsFolder::of_user()?.inner("cluster").path.join("bin");
        let answer = self.script("status.sh").env("MESHWORK_CLUSTER_BIN", bin).limit(LIMIT).output()?;
        match answer.trim() {
            "none" => Ok(Status::None),
            "up" => Ok(Status::Up),
            "broken" => Ok(Status::Broken),
            other => bail!("status.sh said `{other}`; see {}", self.scripts.display()),
        }
    }

    /// Puts the images of a file into it, while it runs, and gives the one image in it more names.
    ///
    /// # Errors
    /// When it doesn't run, or there is no image in the file.
    pub fn load(&self, archive: &Path, names: &[String]) -> Result<()> {
        self.script("load-image.sh").arg(archive).args(names).limit(LIMIT).progress().run()
    }

    /// Ends it and removes all that there is of it. Its logs go to the folder `logs` first.
    ///
    /// # Errors
    /// When something stays; the message names it.
    pub fn down(&self, logs: Option<&Path>) -> Result<()> {
        let _lock = lock()?;
        let down = self.script("down.sh").limit(LIMIT);
        logs.iter().fold(down, |down, logs| down.env("KEEP_LOGS", *logs)).run()
    }

    fn script(&self, name: &str) -> Process {
        Process::new(self.scripts.join(name)).env("MESHWORK_CLUSTER_STATE", &self.state).limit(LIMIT)
    }
}

/// Keeps other commands from starting or ending a node meanwhile.
fn lock() -> Result<std::fs::File> {
    let folder = ToolsFolder::of_user()?.inner("cluster").inner("node");
    folder.make("")?;
    folder.lock(LOCK_LIMIT)
}
