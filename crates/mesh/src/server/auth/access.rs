//! Who may call which method.

use std::collections::{BTreeSet, HashMap, HashSet};

use foldhash::fast::RandomState;

use super::Principal;

/// Whom a method admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, with or without credentials.
    Public,
    /// Everybody whose credentials were verified. Whose resource it is, the handler decides.
    Authenticated,
    /// Principals that have one of these roles. None of them: nobody.
    Roles(BTreeSet<String>),
}

impl Access {
    /// Admits principals that have one of `roles`.
    ///
    /// ```
    /// use meshwork::server::auth::Access;
    /// let access = Access::roles(["staff", "service"]);
    /// ```
    pub fn roles<R: Into<String>>(roles: impl IntoIterator<Item = R>) -> Self {
        Self::Roles(roles.into_iter().map(Into::into).collect())
    }

    /// Whether `principal` is admitted; `None` is an anonymous caller.
    pub fn admits(&self, principal: Option<&Principal>) -> bool {
        match self {
            Self::Public => true,
            Self::Authenticated => principal.is_some(),
            Self::Roles(roles) => principal.is_some_and(|principal| principal.roles().any(|role| roles.contains(role))),
        }
    }
}

/// Whom each method admits. A method that isn't in the table is refused.
#[derive(Clone, Debug, Default)]
pub struct AccessTable {
    /// By path, `/package.Service/Method`.
    methods: HashMap<String, Access, RandomState>,
    /// `package.Service` of each method.
    services: HashSet<String, RandomState>,
    unknown: Unknown,
}

/// What is left to the router.
#[derive(Clone, Copy, Debug, Default)]
enum Unknown {
    #[default]
    Nothing,
    Services,
    Methods,
}

/// The service of a method's path, `/package.Service/Method`.
fn service_of(path: &str) -> Option<&str> {
    Some(path.strip_prefix('/')?.split_once('/')?.0)
}

impl AccessTable {
    /// A table without methods, which refuses them all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the method at `path`, `/package.Service/Method`.
    ///
    /// ```
    /// use meshwork::server::auth::{Access, AccessTable};
    /// let table = AccessTable::new().method("/shop.v1.Orders/Get", Access::Authenticated);
    /// ```
    #[must_use]
    pub fn method(mut self, path: impl Into<String>, access: Access) -> Self {
        let path = path.into();
        if let Some(service) = service_of(&path) {
            self.services.insert(service.to_owned());
        }
        self.methods.insert(path, access);
        self
    }

    /// Lets calls pass whose service the table doesn't name at all, so that the router answers them: UNIMPLEMENTED, if the
    /// server doesn't have the service either. Only for a table with every service of the server, since one that was forgotten
    /// there would be open to everybody. By default such calls are refused.
    ///
    /// ```
    /// use meshwork::server::auth::{Access, AccessTable};
    /// let table = AccessTable::new().method("/shop.v1.Orders/Get", Access::Authenticated).pass_unknown_services();
    /// ```
    #[must_use]
    pub fn pass_unknown_services(mut self) -> Self {
        self.unknown = Unknown::Services;
        self
    }

    /// Lets calls pass of any method that the table doesn't name. Only for a table that was made of the descriptors of all
    /// services of the server, so that what it doesn't name can't be there: a method that admits nobody must be in it, with
    /// no roles.
    ///
    /// ```
    /// use meshwork::server::auth::{Access, AccessTable};
    /// let table = AccessTable::new().method("/shop.v1.Orders/Get", Access::Authenticated).pass_unknown_methods();
    /// ```
    #[must_use]
    pub fn pass_unknown_methods(mut self) -> Self {
        self.unknown = Unknown::Methods;
        self
    }

    /// Whether a method that isn't in the table is left to the router.
    pub(super) fn passes(&self, path: &str) -> bool {
        match self.unknown {
            Unknown::Nothing => false,
            Unknown::Services => !service_of(path).is_some_and(|service| self.services.contains(service)),
            Unknown::Methods => true,
        }
    }

    /// Whom the method at `path` admits; `None` when the table has no such method.
    pub fn get(&self, path: &str) -> Option<&Access> {
        self.methods.get(path)
    }

    /// The methods and whom they admit.
    pub fn methods(&self) -> impl Iterator<Item = (&str, &Access)> {
        self.methods.iter().map(|(path, access)| (path.as_str(), access))
    }
}
