//! Routes: from a method to the service that answers it.

use std::collections::{BTreeMap, HashMap};

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

    /// The service that answers the methods of a package of the contracts, such as `meshwork.users.v1`.
    fn of_package(package: &str) -> Option<Self> {
        let (name, _version) = package.strip_prefix("meshwork.")?.split_once('.')?;
        // Only the orders are projected from events; what administers projections is answered there.
        if name == "admin" {
            return Some(Self::Orders);
        }
        Self::ALL.into_iter().find(|upstream| upstream.as_str() == name)
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

/// How a method is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it goes.
    pub upstream: Upstream,
}

/// All routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// By path, `/package.Service/Method`.
    methods: HashMap<String, Route>,
    services: BTreeMap<String, Upstream>,
}

impl RouteTable {
    /// The routes of those `methods` that a service answers.
    pub fn new(methods: impl IntoIterator<Item = Method>) -> Self {
        let mut table = Self::default();
        for Method { package, service, name } in methods {
            let Some(upstream) = Upstream::of_package(&package) else { continue };
            table.methods.insert(format!("/{package}.{service}/{name}"), Route { upstream });
            table.services.insert(format!("{package}.{service}"), upstream);
        }
        table
    }

    /// The route of the method at `path`, `/package.Service/Method`.
    pub fn find(&self, path: &str) -> Option<Route> {
        self.methods.get(path).copied()
    }

    /// The full names of the services, each with where it is, in order of their names.
    pub fn services(&self) -> impl Iterator<Item = (&str, Upstream)> {
        self.services.iter().map(|(name, upstream)| (name.as_str(), *upstream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(package: &str, service: &str, name: &str) -> Method {
        Method { package: package.to_owned(), service: service.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn methods_go_to_the_service_of_their_package() {
        let table = RouteTable::new([
            method("meshwork.users.v1", "UserService", "GetUser"),
            method("meshwork.orders.v2", "OrderService", "WatchOrder"),
            method("meshwork.admin.v1", "ProjectionService", "GetProjection"),
            method("meshwork.orderss.v1", "OrderService", "GetOrder"),
            method("other.users.v1", "UserService", "GetUser"),
        ]);
        let route = |upstream| Some(Route { upstream });
        assert_eq!(table.find("/meshwork.users.v1.UserService/GetUser"), route(Upstream::Users));
        assert_eq!(table.find("/meshwork.orders.v2.OrderService/WatchOrder"), route(Upstream::Orders));
        assert_eq!(table.find("/meshwork.admin.v1.ProjectionService/GetProjection"), route(Upstream::Orders));
        for path in [
            "/meshwork.users.v1.UserService/GetUsers",
            "/meshwork.users.v1.UserService/GetUser/",
            "meshwork.users.v1.UserService/GetUser",
            "/meshwork.orderss.v1.OrderService/GetOrder",
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
                ("meshwork.admin.v1.ProjectionService", Upstream::Orders),
                ("meshwork.orders.v2.OrderService", Upstream::Orders),
                ("meshwork.users.v1.UserService", Upstream::Users)
            ]
        );
    }
}
