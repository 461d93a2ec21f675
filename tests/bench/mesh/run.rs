//! A path made ready for a run.

use std::net::SocketAddr;

use crate::paths;
use crate::processes::{self, Fleet, Obedient};
use crate::proxies::Running;

/// A path, with its proxy when it has one.
pub struct Way {
    pub name: String,
    proxy: Option<Running>,
}

impl Way {
    /// Starts the proxy, if there is one.
    ///
    /// # Errors
    /// Why the path can't be taken.
    pub fn open(name: &str, fleet: &Fleet) -> Result<Self, String> {
        let proxy = paths::proxy(name).map(|proxy| proxy.start(fleet.addresses())).transpose()?;
        Ok(Self { name: name.to_owned(), proxy })
    }

    pub fn client(&self, fleet: &Fleet) -> Obedient {
        processes::client(&self.name, &self.addresses(fleet))
    }

    /// Where its client connects to.
    pub fn addresses(&self, fleet: &Fleet) -> Vec<SocketAddr> {
        self.proxy.as_ref().map_or_else(|| fleet.addresses().to_vec(), |proxy| vec![proxy.address()])
    }

    pub fn proxy_cpu_us(&self) -> f64 {
        self.proxy.as_ref().map_or(0.0, Running::cpu_us)
    }
}
