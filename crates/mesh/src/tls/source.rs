//! Where certificates, keys and roots come from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The places of everything that TLS needs.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub roots: Vec<Pem>,
    /// The certificate and its key.
    pub identity: Option<(Pem, Pem)>,
    /// How often files are looked at, at most.
    pub interval: Duration,
}

impl Default for Sources {
    fn default() -> Self {
        Self { roots: Vec::new(), identity: None, interval: Duration::from_secs(10) }
    }
}

impl Sources {
    /// Whether anything comes from a file.
    pub fn has_files(&self) -> bool {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.roots.iter().chain(identity).any(|pem| matches!(pem, Pem::File(_)))
    }
}

/// Where PEM comes from.
#[derive(Clone)]
pub(crate) enum Pem {
    Given { bytes: Arc<[u8]>, origin: &'static str },
    File(PathBuf),
}

impl Pem {
    pub fn given(bytes: &[u8], origin: &'static str) -> Self {
        Self::Given { bytes: bytes.into(), origin }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given { origin, .. } => f.write_str(origin),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Never the bytes: they may be a private key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given { bytes, .. } => write!(f, "{} bytes", bytes.len()),
            Self::File(path) => path.fmt(f),
        }
    }
}
