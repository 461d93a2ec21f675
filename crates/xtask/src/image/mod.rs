//! Builds container images: writes their layers itself, so that no other program and no base image is needed.

pub mod archive;
mod binary;
mod elf;
pub mod layer;
mod libraries;
mod ours;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use self::archive::Packing;
use self::layer::Layer;
use crate::workspace::Workspace;

/// The most that the layers of an image for others may have, as packed.
const LIMIT: u64 = 25 << 20;

/// Which image is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// What is given to others: one static binary, built for it, and packed.
    Release,
    /// The binary that `cargo build` made, with this machine's libraries, not packed.
    Debug,
}

/// Builds the image `meshwork` and returns the path of its archive. What it is like is printed.
///
/// # Errors
/// When it can't be built, or is too large.
pub fn run(build: Build) -> Result<PathBuf> {
    let workspace = Workspace::find()?;
    let folder = workspace.target.join("image");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let sources = sources::sources(&workspace.root)?;
    let (binary, packing, name) = match build {
        Build::Release => (binary::release(&workspace)?, Packing::Gzip, "meshwork.tar"),
        Build::Debug => (binary::debug(&workspace, &folder)?, Packing::Plain, "meshwork-debug.tar"),
    };
    let image = ours::image(Layer::new().program("/meshwork", &binary)?, sources, packing)?;
    let path = folder.join(name);
    let written = image.write(&path)?;
    println!("image   {}", image.reference);
    println!("file    {}", path.display());
    println!("id      {}", written.id);
    println!("digest  {}", written.digest);
    println!("binary  {} MiB", mebibytes(size_of(&binary)?));
    println!("layers  {} MiB", mebibytes(written.packed));
    check(build, written.packed)?;
    Ok(path)
}

/// Puts the files of the image `meshwork` into `folder`, for a program that packs them itself.
///
/// # Errors
/// When it can't be built, or the files can't be given to their owners.
pub fn unpack(folder: &Path) -> Result<()> {
    let workspace = Workspace::find()?;
    let sources = sources::sources(&workspace.root)?;
    let binary = binary::release(&workspace)?;
    let image = ours::image(Layer::new().program("/meshwork", &binary)?, sources, Packing::Plain)?;
    for layer in &image.layers {
        layer.unpack(folder, image.time)?;
    }
    Ok(())
}

fn check(build: Build, packed: u64) -> Result<()> {
    ensure!(
        build == Build::Debug || packed <= LIMIT,
        "the layers have {} MiB, which is more than {}; `cargo bloat` tells what is large in the binary",
        mebibytes(packed),
        mebibytes(LIMIT)
    );
    Ok(())
}

fn size_of(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len())
}

/// With one place after the point; too large is never rounded to what fits.
fn mebibytes(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_too_large_is_refused() {
        assert!(check(Build::Release, 25 << 20).is_ok());
        let error = check(Build::Release, (25 << 20) + 1).unwrap_err().to_string();
        assert!(error.starts_with("the layers have 25.1 MiB, which is more than 25.0; "), "{error}");
        assert!(check(Build::Debug, 1 << 30).is_ok(), "nobody pulls it");
    }
}
