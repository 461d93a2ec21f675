//! Builds container images: writes their layers itself, so that no other program and no base image is needed.

pub mod archive;
pub mod layer;
