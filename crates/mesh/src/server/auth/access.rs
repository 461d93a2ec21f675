//! Who may call which method.

use std::collections::{BTreeSet, HashMap};

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

/// Whom each method admits. A method that isn't in the table, and that something answers, is refused; what nothing
/// answers is UNIMPLEMENTED.
#[derive(Clone, Debug, Default)]
pub struct AccessTable {
    /// By path, `/package.Service/Method`.
    methods: HashMap<String, Access, RandomState>,
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
        self.methods.insert(path.into(), access);
        self
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
