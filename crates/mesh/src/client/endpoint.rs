//! What a resolver finds: endpoints, each with the addresses of one server.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::uri::Authority;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix domain socket.
    Unix(PathBuf),
    /// A name that a [`Connector`](crate::client::connect::Connector) of one's own understands, such as one in memory.
    Named(Arc<str>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// One server: the addresses that lead to it, and what a balancer may want to know of it.
///
/// Two endpoints with the same set of addresses are the same server (gRFC A50, A61); weight, zone and attributes may
/// change from one resolution to the next without losing its connection or its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    addresses: Vec<Address>,
    weight: u32,
    zone: Option<Arc<str>>,
    authority: Option<Authority>,
    attributes: Attributes,
}

impl Endpoint {
    /// An endpoint with one address, weight 1, no zone and no attributes.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::of(vec![address.into()])
    }

    /// An endpoint with several addresses of one server, such as IPv6 and IPv4, in the order of preference (gRFC A61).
    /// `None` when there is no address.
    pub fn with_addresses(addresses: impl IntoIterator<Item = Address>) -> Option<Self> {
        let mut seen = HashSet::new();
        let unique: Vec<_> = addresses.into_iter().filter(|address| seen.insert(address.clone())).collect();
        (!unique.is_empty()).then(|| Self::of(unique))
    }

    fn of(addresses: Vec<Address>) -> Self {
        Self { addresses, weight: 1, zone: None, authority: None, attributes: Attributes::default() }
    }

    /// How much of the traffic this endpoint should get against others; 1 unless said. Zero counts as 1.
    ///
    /// ```
    /// # use meshwork::endpoint::Endpoint;
    /// # let address = std::net::SocketAddr::from(([127, 0, 0, 1], 50051));
    /// assert_eq!(Endpoint::new(address).weight(3).get_weight(), 3);
    /// ```
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight.max(1);
        self
    }

    /// The zone that the endpoint is in.
    ///
    /// ```
    /// # use meshwork::endpoint::Endpoint;
    /// # let address = std::net::SocketAddr::from(([127, 0, 0, 1], 50051));
    /// assert_eq!(Endpoint::new(address).zone("a").get_zone(), Some("a"));
    /// ```
    #[must_use]
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// The name of the server where it is not that of the target: the `:authority` of calls to it, and the name that its
    /// certificate must hold. [`Builder::origin`](crate::Builder::origin) overrides it for all endpoints, and
    /// [`TlsOptions::domain_name`](crate::client::connect::TlsOptions::domain_name) the name in the certificate.
    ///
    /// ```
    /// # use meshwork::endpoint::Endpoint;
    /// # fn main() -> Result<(), http::uri::InvalidUri> {
    /// # let address = std::net::SocketAddr::from(([127, 0, 0, 1], 50051));
    /// let endpoint = Endpoint::new(address).authority("users-1.example.com:50051".parse()?);
    /// assert_eq!(endpoint.get_authority().map(|authority| authority.host()), Some("users-1.example.com"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn authority(mut self, authority: Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// Adds a value for balancers of one's own; one value a type.
    ///
    /// ```
    /// # use meshwork::endpoint::Endpoint;
    /// # let address = std::net::SocketAddr::from(([127, 0, 0, 1], 50051));
    /// #[derive(Debug, PartialEq)]
    /// struct Shard(u32);
    ///
    /// assert_eq!(Endpoint::new(address).attribute(Shard(7)).get_attribute::<Shard>(), Some(&Shard(7)));
    /// ```
    #[must_use]
    pub fn attribute<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.attributes.0.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    /// The addresses, in the order of preference; never empty.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The weight, at least 1.
    pub fn get_weight(&self) -> u32 {
        self.weight
    }

    /// The zone, if the resolver knows it.
    pub fn get_zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The name of the server, where it is not that of the target.
    pub fn get_authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// The attribute of type `T`.
    pub fn get_attribute<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.attributes.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            if index > 0 {
                f.write_str("|")?;
            }
            address.fmt(f)?;
        }
        Ok(())
    }
}

/// Values for balancers of one's own, by their type.
#[derive(Clone, Default)]
struct Attributes(BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl PartialEq for Attributes {
    /// The same values, not equal ones: the types need not know equality.
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|(id, value)| other.0.get(id).is_some_and(|there| Arc::ptr_eq(value, there)))
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attributes", self.0.len())
    }
}
