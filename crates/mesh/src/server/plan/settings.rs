//! Limits of single methods, beside those of the whole server.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::server::router::service_of;

/// What holds for a method in the place of the server's own settings; what is `None` is as the server has it.
///
/// ```
/// # use std::time::Duration; use meshwork::server::MethodSetting;
/// let setting = MethodSetting { timeout: Some(Duration::from_secs(5)), ..MethodSetting::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodSetting {
    /// How long a call may take, streams included. The least of this, the server's timeout and what the client allows
    /// holds.
    pub timeout: Option<Duration>,
    /// The most bytes of a message of a request, be it more or less than the server takes elsewhere.
    pub max_request_message_bytes: Option<usize>,
    /// How long the first message may take; of a method that takes one message, it is the only one.
    pub first_message: Option<Duration>,
    /// How many calls may be in flight; one more is answered with UNAVAILABLE, and 0 admits none. Each method has a
    /// count of its own, also by a setting of its service. Methods that the descriptors don't know share one for each
    /// service.
    pub max_concurrent_calls: Option<usize>,
}

/// Settings by method, by service, and for what neither names. One holds for a call: that of its method, else that of
/// its service, else the one for all, as in gRPC's service config. Nothing of the others is mixed in.
///
/// Health checks and reflection, which probes and tools need, are under no setting but those that name them.
///
/// ```
/// use std::time::Duration;
///
/// use meshwork::server::{MethodSetting, MethodSettings};
///
/// let upload = MethodSetting { max_request_message_bytes: Some(64 << 20), ..MethodSetting::default() };
/// let settings = MethodSettings::new().method("/shop.v1.Pictures/Upload", upload);
/// assert_eq!(settings.get("/shop.v1.Pictures/Upload"), upload);
/// assert_eq!(settings.get("/shop.v1.Pictures/Get"), MethodSetting::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodSettings {
    /// By path, `/package.Service/Method`.
    pub(super) methods: HashMap<Box<str>, MethodSetting, RandomState>,
    /// By `package.Service`.
    pub(super) services: HashMap<Box<str>, MethodSetting, RandomState>,
    pub(super) default: Option<MethodSetting>,
}

impl MethodSettings {
    /// Without any setting.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what holds for the method at `path`, `/package.Service/Method`.
    ///
    /// ```
    /// # use meshwork::server::{MethodSetting, MethodSettings};
    /// let few = MethodSetting { max_concurrent_calls: Some(4), ..MethodSetting::default() };
    /// let settings = MethodSettings::new().method("/shop.v1.Reports/Make", few);
    /// ```
    #[must_use]
    pub fn method(mut self, path: impl Into<Box<str>>, setting: MethodSetting) -> Self {
        self.methods.insert(path.into(), setting);
        self
    }

    /// Sets what holds for the methods of `service`, `package.Service`, that have no setting of their own.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::server::{MethodSetting, MethodSettings};
    /// let short = MethodSetting { timeout: Some(Duration::from_secs(1)), ..MethodSetting::default() };
    /// let settings = MethodSettings::new().service("shop.v1.Carts", short);
    /// assert_eq!(settings.get("/shop.v1.Carts/Get"), short);
    /// ```
    #[must_use]
    pub fn service(mut self, service: impl Into<Box<str>>, setting: MethodSetting) -> Self {
        self.services.insert(service.into(), setting);
        self
    }

    /// Sets what holds for all methods that have no setting by themselves or by their service.
    ///
    /// ```
    /// # use meshwork::server::{MethodSetting, MethodSettings};
    /// let small = MethodSetting { max_request_message_bytes: Some(64 << 10), ..MethodSetting::default() };
    /// let settings = MethodSettings::new().others(small);
    /// assert_eq!(settings.get("/shop.v1.Carts/Get"), small);
    /// ```
    #[must_use]
    pub fn others(mut self, setting: MethodSetting) -> Self {
        self.default = Some(setting);
        self
    }

    /// What holds for the method at `path`.
    pub fn get(&self, path: &str) -> MethodSetting {
        self.named(path).or(self.default).unwrap_or_default()
    }

    /// What is set for the method at `path` by its own name or that of its service.
    pub(super) fn named(&self, path: &str) -> Option<MethodSetting> {
        let service = || self.services.get(service_of(path)?);
        self.methods.get(path).or_else(service).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(calls: usize) -> MethodSetting {
        MethodSetting { max_concurrent_calls: Some(calls), ..MethodSetting::default() }
    }

    #[test]
    fn the_setting_of_the_method_goes_before_that_of_its_service_and_that_before_the_one_for_all() {
        let settings = MethodSettings::new()
            .others(MethodSetting { timeout: Some(Duration::from_secs(1)), ..setting(1) })
            .service("a.v1.A", setting(2))
            .method("/a.v1.A/Get", setting(3));
        assert_eq!(settings.get("/a.v1.A/Get"), setting(3));
        // Nothing of the one for all is mixed in.
        assert_eq!(settings.get("/a.v1.A/List"), setting(2));
        for other in ["/a.v1.B/Get", "/a.v1/A/Get", "/", "", "a.v1.A/Get"] {
            assert_eq!(settings.get(other).max_concurrent_calls, Some(1), "{other}");
            assert_eq!(settings.named(other), None, "{other}");
        }
        assert_eq!(MethodSettings::new().get("/a.v1.A/Get"), MethodSetting::default());
    }
}
