//! Routes: from a method to the upstream that answers it.

use std::collections::{BTreeMap, HashMap};

/// The request metadata by which a caller names the upstream that it means, where several answer a service.
pub const SERVICE: &str = "meshwork-service";

/// The package of what administers services.
const ADMIN: &str = "meshwork.admin.";

/// Who answers the services of [`ADMIN`]: what is there is no upstream's own.
const ADMINISTERED: [(&str, &[Upstream]); 4] = [
    ("AuditService", &Upstream::ALL),
    // The others cache nothing.
    ("CacheService", &[Upstream::Users, Upstream::Products]),
    ("DeadLetterService", &Upstream::ALL),
    // Only the orders are projected from events.
    ("ProjectionService", &[Upstream::Orders]),
];

/// A service behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Upstream {
    /// Accounts and sessions.
    Users,
    /// Products and their stock.
    Products,
    /// Orders.
    Orders,
    /// Messages to people.
    Notifications,
}

impl Upstream {
    /// All services.
    pub const ALL: [Upstream; 4] = [Upstream::Users, Upstream::Products, Upstream::Orders, Upstream::Notifications];

    /// The service's word, as settings and error messages have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Upstream::Users => "users",
            Upstream::Products => "products",
            Upstream::Orders => "orders",
            Upstream::Notifications => "notifications",
        }
    }

    /// The upstreams that answer a service of a package of the contracts, such as `UserService` of `meshwork.users.v1`;
    /// none when nobody does.
    fn of_service(package: &str, service: &str) -> &'static [Self] {
        if package.starts_with(ADMIN) {
            let administered = ADMINISTERED.iter().find(|(name, _)| *name == service);
            return administered.map_or(&[], |(_, upstreams)| upstreams);
        }
        let name = package.strip_prefix("meshwork.").and_then(|rest| rest.split_once('.')).map(|(name, _version)| name);
        let own = Self::ALL.iter().find(|upstream| Some(upstream.as_str()) == name);
        own.map_or(&[], std::slice::from_ref)
    }
}

/// A method of the contracts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// The package, such as `meshwork.orders.v1`.
    pub package: String,
    /// The service in it, such as `OrderService`.
    pub service: String,
    /// The method, such as `WatchOrder`.
    pub name: String,
}

impl Method {
    /// Its path, `/package.Service/Method`.
    pub fn path(&self) -> String {
        format!("/{}.{}/{}", self.package, self.service, self.name)
    }
}

/// How a method is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it may go; there is at least one.
    pub upstreams: &'static [Upstream],
}

impl Route {
    /// Where a call goes whose caller has `named` upstreams by [`SERVICE`]: to the named one, or to the only one when none
    /// is named. `None` when that isn't one.
    pub fn choose<'n>(self, mut named: impl Iterator<Item = &'n [u8]>) -> Option<Upstream> {
        match (named.next(), named.next(), self.upstreams) {
            (None, _, [only]) => Some(*only),
            (Some(name), None, all) => all.iter().copied().find(|upstream| upstream.as_str().as_bytes() == name),
            _ => None,
        }
    }
}

/// All routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// By path, `/package.Service/Method`.
    methods: HashMap<String, Route>,
    services: BTreeMap<String, &'static [Upstream]>,
}

impl RouteTable {
    /// The routes of those `methods` that an upstream answers.
    pub fn new(methods: impl IntoIterator<Item = Method>) -> Self {
        let mut table = Self::default();
        for method in methods {
            let upstreams = Upstream::of_service(&method.package, &method.service);
            if !upstreams.is_empty() {
                table.methods.insert(method.path(), Route { upstreams });
                table.services.insert(format!("{}.{}", method.package, method.service), upstreams);
            }
        }
        table
    }

    /// The route of the method at `path`, `/package.Service/Method`.
    pub fn find(&self, path: &str) -> Option<Route> {
        self.methods.get(path).copied()
    }

    /// The full names of the services, each with the upstreams that have it, in order of their names.
    pub fn services(&self) -> impl Iterator<Item = (&str, &'static [Upstream])> {
        self.services.iter().map(|(name, upstreams)| (name.as_str(), *upstreams))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_OF_DEAD_LETTERS: &[Upstream] = &Upstream::ALL;
    const THOSE_WITH_CACHES: &[Upstream] = &[Upstream::Users, Upstream::Products];

    fn method(package: &str, service: &str, name: &str) -> Method {
        Method { package: package.to_owned(), service: service.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn methods_go_to_the_service_of_their_package() {
        let table = RouteTable::new([
            method("meshwork.users.v1", "UserService", "GetUser"),
            method("meshwork.orders.v2", "OrderService", "WatchOrder"),
            method("meshwork.admin.v1", "ProjectionService", "GetProjection"),
            method("meshwork.admin.v1", "DeadLetterService", "ListDeadLetters"),
            method("meshwork.admin.v1", "CacheService", "GetCacheStats"),
            method("meshwork.admin.v1", "OtherService", "Get"),
            method("meshwork.orderss.v1", "OrderService", "GetOrder"),
            method("meshwork.orders", "OrderService", "GetOrder"),
            method("other.users.v1", "UserService", "GetUser"),
        ]);
        let route = |upstreams| Some(Route { upstreams });
        assert_eq!(table.find("/meshwork.users.v1.UserService/GetUser"), route(&[Upstream::Users]));
        assert_eq!(table.find("/meshwork.orders.v2.OrderService/WatchOrder"), route(&[Upstream::Orders]));
        assert_eq!(table.find("/meshwork.admin.v1.ProjectionService/GetProjection"), route(&[Upstream::Orders]));
        assert_eq!(table.find("/meshwork.admin.v1.DeadLetterService/ListDeadLetters"), route(ALL_OF_DEAD_LETTERS));
        assert_eq!(table.find("/meshwork.admin.v1.CacheService/GetCacheStats"), route(THOSE_WITH_CACHES));
        for path in [
            "/meshwork.users.v1.UserService/GetUsers",
            "/meshwork.users.v1.UserService/GetUser/",
            "meshwork.users.v1.UserService/GetUser",
            "/meshwork.admin.v1.OtherService/Get",
            "/meshwork.orderss.v1.OrderService/GetOrder",
            "/meshwork.orders.OrderService/GetOrder",
            "/other.users.v1.UserService/GetUser",
            "/",
            "",
        ] {
            assert_eq!(table.find(path), None, "{path}");
        }
        let services: Vec<_> = table.services().collect();
        assert_eq!(
            services,
            [
                ("meshwork.admin.v1.CacheService", THOSE_WITH_CACHES),
                ("meshwork.admin.v1.DeadLetterService", ALL_OF_DEAD_LETTERS),
                ("meshwork.admin.v1.ProjectionService", &[Upstream::Orders]),
                ("meshwork.orders.v2.OrderService", &[Upstream::Orders]),
                ("meshwork.users.v1.UserService", &[Upstream::Users])
            ]
        );
    }

    #[test]
    fn callers_choose_among_the_upstreams_of_a_service_and_no_others() {
        let choose = |upstreams, named: &[&str]| Route { upstreams }.choose(named.iter().map(|name| name.as_bytes()));
        for upstream in ALL_OF_DEAD_LETTERS {
            assert_eq!(choose(ALL_OF_DEAD_LETTERS, &[upstream.as_str()]), Some(*upstream));
        }
        assert_eq!(choose(THOSE_WITH_CACHES, &["products"]), Some(Upstream::Products));
        for named in [&[][..], &["orders"], &["users", "products"]] {
            assert_eq!(choose(THOSE_WITH_CACHES, named), None, "{named:?}");
        }
        let one: &[Upstream] = &[Upstream::Orders];
        assert_eq!(choose(one, &[]), Some(Upstream::Orders));
        assert_eq!(choose(one, &["orders"]), Some(Upstream::Orders));
        for upstreams in [ALL_OF_DEAD_LETTERS, one] {
            for named in [&["gateway"][..], &[""], &["Orders"], &["orders "], &["orders,orders"], &["orders", "orders"]]
            {
                assert_eq!(choose(upstreams, named), None, "{named:?}");
            }
        }
        assert_eq!(choose(ALL_OF_DEAD_LETTERS, &[]), None);
    }
}
