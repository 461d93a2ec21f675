//! What a server counts for its callers.

use std::fmt;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Calls in flight of methods that stream neither way.
    Calls,
    /// Calls in flight of methods that stream, those of [`Watches`](Self::Watches) apart.
    Streams,
    /// Calls in flight of the streams that are open to everybody: health's `Watch`, and reflection.
    Watches,
    /// Connections.
    Connections,
    /// Bytes of messages that are not whole yet.
    ArrivingBytes,
    /// Bytes of answers that wait to be read.
    UnreadBytes,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Calls, Self::Streams, Self::Watches, Self::Connections, Self::ArrivingBytes, Self::UnreadBytes];

    /// Its name as a label of metrics.
    ///
    /// ```
    /// use meshwork::server::Resource;
    /// assert_eq!(Resource::UnreadBytes.as_str(), "unread_bytes");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Streams => "streams",
            Self::Watches => "watches",
            Self::Connections => "connections",
            Self::ArrivingBytes => "arriving_bytes",
            Self::UnreadBytes => "unread_bytes",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One `T` for each resource.
#[derive(Clone, Debug, Default)]
pub(super) struct PerResource<T>([T; Resource::ALL.len()]);

impl<T> PerResource<T> {
    pub fn from_fn(of: impl FnMut(Resource) -> T) -> Self {
        Self(Resource::ALL.map(of))
    }

    // A resource's number is its place in `ALL`, so that neither of the two can fail.
    #[inline]
    pub fn get(&self, resource: Resource) -> &T {
        &self.0[resource as usize]
    }

    pub fn get_mut(&mut self, resource: Resource) -> &mut T {
        &mut self.0[resource as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_has_a_place_of_its_own() {
        let mut names = PerResource::from_fn(Resource::as_str);
        for resource in Resource::ALL {
            assert_eq!(*names.get(resource), resource.as_str());
        }
        *names.get_mut(Resource::Streams) = "other";
        assert_eq!((*names.get(Resource::Streams), *names.get(Resource::Calls)), ("other", "calls"));
    }
}
