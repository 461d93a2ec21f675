//! How much callers may have of each resource.

use super::resource::{PerResource, Resource};

/// How much of one resource callers may have; 0: no limit of that kind. By default there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerLimits {
    /// Of all callers together, above what each has of its [`own`](Self::own).
    pub total: usize,
    /// Of one principal.
    pub per_principal: usize,
    /// Of callers without a principal at one address. Where callers are known, those who aren't get no more than one
    /// who is; where nobody is, this is the limit of a whole client.
    pub per_stranger: usize,
    /// Of one address (of IPv6, one /64), whoever it belongs to. On a port that everybody may reach it bounds what one
    /// machine gets with many accounts. Behind a proxy that isn't [trusted](crate::server::Builder::trusted_proxies) all callers have
    /// the proxy's address; the connections of one that is are its own all the same.
    pub per_address: usize,
    /// What each caller, a principal or the strangers at one address, may have whatever others do. A caller that has
    /// neither an address nor a principal has nothing of its own.
    pub own: usize,
}

/// The limits of all resources.
///
/// | resource | total | principal | strangers | address | own |
/// |---|---|---|---|---|---|
/// | calls | 4096 | 1024 | | | 8 |
/// | streams | 2048 | 64 | | | 4 |
/// | streams of health and reflection | 1024 | | | 128 | 4 |
/// | connections | 10,000 | | | 1000 | |
/// | bytes that arrive | 64 MiB | | | 64 MiB | 64 KiB |
/// | bytes that aren't read | 64 MiB | 16 MiB | 32 MiB | | 256 KiB |
///
/// ```
/// use meshwork::server::{CallerLimits, Limits, Resource};
///
/// let limits = Limits::default();
/// let streams = CallerLimits { per_address: 256, ..limits.get(Resource::Streams) };
/// let limits = limits.with(Resource::Streams, streams);
/// assert_eq!(limits.get(Resource::Streams).per_principal, 64);
/// ```
#[derive(Clone, Debug)]
pub struct Limits(PerResource<CallerLimits>);

impl Limits {
    /// These, and `limits` for `resource`.
    #[must_use]
    pub fn with(mut self, resource: Resource, limits: CallerLimits) -> Self {
        *self.0.get_mut(resource) = limits;
        self
    }

    /// Those of `resource`.
    #[inline]
    pub fn get(&self, resource: Resource) -> CallerLimits {
        *self.0.get(resource)
    }
}

impl Default for Limits {
    fn default() -> Self {
        let none = CallerLimits::default();
        Self(PerResource::from_fn(|resource| match resource {
            Resource::Calls => CallerLimits { total: 4096, per_principal: 1024, own: 8, ..none },
            Resource::Streams => CallerLimits { total: 2048, per_principal: 64, own: 4, ..none },
            Resource::Watches => CallerLimits { total: 1024, per_address: 128, own: 4, ..none },
            Resource::Connections => CallerLimits { total: 10_000, per_address: 1000, ..none },
            Resource::ArrivingBytes => CallerLimits { total: 64 << 20, per_address: 64 << 20, own: 64 << 10, ..none },
            Resource::UnreadBytes => {
                let (per_principal, per_stranger) = (16 << 20, 32 << 20);
                CallerLimits { total: 64 << 20, per_principal, per_stranger, per_address: 0, own: 256 << 10 }
            }
        }))
    }
}
