//! What a key may be used for: the methods that accounts of a role may call, by the contracts.

use std::collections::{HashMap, HashSet};

use meshwork::server::auth::{InvalidOption, Principal};
use meshwork_chassis::Role;
use meshwork_chassis::auth::AccessTable;

use crate::domain::Scope;

/// The service that no key may call.
const KEYS: &str = "meshwork.users.v1.ApiKeyService/";
/// The methods of other services that no key may call: their handlers refuse it.
const WITHOUT_KEYS: [&str; 3] = [
    "meshwork.users.v1.AuthService/ListSessions",
    "meshwork.users.v1.AuthService/RevokeSession",
    "meshwork.users.v1.UserService/DeleteUser",
];

/// What accounts may call, by their role: the names of services and of methods.
pub struct CallableScopes(HashMap<Role, HashSet<String>>);

impl CallableScopes {
    /// Reads whom each method of our contracts admits.
    ///
    /// # Errors
    /// When the descriptors of this build can't be read.
    pub fn from_contracts() -> Result<Self, InvalidOption> {
        let table = AccessTable::from_contracts()?.layers();
        let of_role = |role: Role| {
            let somebody = Principal::new("", [role.as_str()]);
            let callable = table.methods().filter(|(_, access)| access.admits(Some(&somebody)));
            let methods = callable.filter_map(|(path, _)| path.strip_prefix('/'));
            let methods = methods.filter(|path| !path.starts_with(KEYS) && !WITHOUT_KEYS.contains(path));
            let names = methods.flat_map(|path| [Some(path), path.split_once('/').map(|(service, _)| service)]);
            (role, names.flatten().map(str::to_owned).collect())
        };
        Ok(Self([Role::Customer, Role::Staff, Role::Service].map(of_role).into()))
    }

    /// Whether accounts of a role may call what a scope names, if only a part of it.
    pub(super) fn has(&self, role: Role, scope: &Scope) -> bool {
        self.0.get(&role).is_some_and(|names| names.contains(scope.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_used_for_what_its_account_may_call() {
        let callable = CallableScopes::from_contracts().unwrap();
        let has = |role, scope: &str| callable.has(role, &scope.parse().unwrap());
        for scope in ["meshwork.orders.v1.OrderService", "meshwork.orders.v1.OrderService/GetOrder"] {
            assert!(has(Role::Customer, scope) && has(Role::Staff, scope), "{scope}");
        }
        for scope in ["meshwork.users.v1.UserService/ListUsers", "meshwork.admin.v1.AuditService"] {
            assert!(!has(Role::Customer, scope) && has(Role::Staff, scope), "{scope}");
        }
        let internal = "meshwork.admin.v1.EventSourceService";
        assert!(!has(Role::Staff, internal) && has(Role::Service, internal));
        // Anybody may.
        assert!(has(Role::Customer, "meshwork.users.v1.AuthService/SignIn"));
        let table = AccessTable::from_contracts().unwrap();
        for method in WITHOUT_KEYS {
            assert!(table.get(&format!("/{method}")).is_some() && !has(Role::Staff, method), "{method}");
        }
        for scope in [
            "meshwork.users.v1.ApiKeyService",
            "meshwork.users.v1.ApiKeyService/CreateApiKey",
            "meshwork.orders.v1",
            "meshwork.orders.v1.OrderService/Get",
            "grpc.health.v1.Health",
        ] {
            assert!(!has(Role::Staff, scope), "{scope}");
        }
    }
}
