//! Who may call what: the option `meshwork.options.v1.access` of every method, read from the contracts.
//!
//! The table is made of the descriptors of all our services: it names every method, and one without the option is in it as
//! one that admits nobody.

use meshwork::server::auth::{self, Access, InvalidOption};
use meshwork_api::FILE_DESCRIPTOR_SET;
pub use meshwork_api::meshwork::options::v1::Caller;
use prost_reflect::Value;

use super::Role;

const OPTION: &str = "meshwork.options.v1.access";

/// Whom each method of our contracts admits.
#[derive(Debug)]
pub struct AccessTable(auth::AccessTable);

impl AccessTable {
    /// Reads the option from our contracts.
    ///
    /// # Errors
    /// When the descriptors of this build can't be read.
    pub fn from_contracts() -> Result<Self, InvalidOption> {
        auth::AccessTable::by_option(FILE_DESCRIPTOR_SET, OPTION, |value| access(&callers(value))).map(Self)
    }

    /// Without the methods that admit other services and nobody else: a port for everybody doesn't offer them.
    #[must_use]
    pub fn without_internal(self) -> Self {
        let internal = access(&[Caller::Service]);
        // One that admits nobody stays, so that it is refused.
        let methods = self.0.methods().filter(|(_, access)| **access != internal);
        Self(methods.fold(auth::AccessTable::new(), |table, (path, access)| table.method(path, access.clone())))
    }

    /// Whom the method at `path` admits; `None` when there is no such method in our contracts.
    pub fn get(&self, path: &str) -> Option<&Access> {
        self.0.get(path)
    }

    /// The methods that name no caller; each is refused to everybody.
    pub fn closed(&self) -> impl Iterator<Item = &str> {
        let nobody = access(&[]);
        self.0.methods().filter(move |(_, access)| **access == nobody).map(|(path, _)| path)
    }

    /// The methods that admit the owners of what they are about: their handlers compare the owner.
    pub fn owned(&self) -> Vec<&str> {
        let owners = access(&[Caller::Owner]);
        let owned = self.0.methods().filter(|(_, access)| **access == owners);
        let mut owned: Vec<_> = owned.map(|(path, _)| path).collect();
        owned.sort_unstable();
        owned
    }

    /// The table as a server takes it.
    pub fn layers(self) -> auth::AccessTable {
        self.0
    }

    /// The names of all services.
    pub fn services(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .0
            .methods()
            .filter_map(|(path, _)| Some(path.strip_prefix('/')?.split_once('/')?.0.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The callers that a value of the option names.
fn callers(value: &Value) -> Vec<Caller> {
    let Some(callers) = value.as_message().and_then(|access| access.get_field_by_name("callers")) else {
        return Vec::new();
    };
    let callers = callers.as_list().unwrap_or_default().iter();
    callers.filter_map(|caller| Caller::try_from(caller.as_enum_number()?).ok()).collect()
}

/// Who is one of `callers`. Who admits owners admits every account: the handler compares the owner.
fn access(callers: &[Caller]) -> Access {
    if callers.contains(&Caller::Anyone) {
        return Access::Public;
    }
    if callers.contains(&Caller::Owner) {
        return Access::Authenticated;
    }
    Access::roles(callers.iter().filter_map(|caller| match caller {
        Caller::Staff => Some(Role::Staff.as_str()),
        Caller::Service => Some(Role::Service.as_str()),
        Caller::Unspecified | Caller::Anyone | Caller::Owner => None,
    }))
}

#[cfg(test)]
mod tests {
    use meshwork::server::auth::Principal;

    use super::*;

    #[test]
    fn every_method_names_its_callers() {
        let table = AccessTable::from_contracts().unwrap();
        assert_eq!(table.closed().collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(table.services().contains(&"meshwork.orders.v1.OrderService".to_owned()));
    }

    #[test]
    fn what_only_services_may_call_can_be_left_out() {
        let kinds = [&[][..], &[Caller::Service], &[Caller::Service, Caller::Staff], &[Caller::Anyone]];
        let methods = kinds.into_iter().enumerate();
        let add = |table: auth::AccessTable, (at, callers): (usize, &[Caller])| {
            table.method(format!("/shop/{at}"), access(callers))
        };
        let table = AccessTable(methods.fold(auth::AccessTable::new(), add)).without_internal();
        let left = (0..4).filter(|at| table.get(&format!("/shop/{at}")).is_some());
        assert_eq!(left.collect::<Vec<_>>(), [0, 2, 3]);

        let table = AccessTable::from_contracts().unwrap().without_internal();
        assert_eq!(table.get("/meshwork.admin.v1.EventSourceService/ReadStream"), None);
        assert!(!table.services().contains(&"meshwork.admin.v1.EventSourceService".to_owned()));
        assert!(table.get("/meshwork.orders.v1.OrderService/GetOrder").is_some());
    }

    /// Each of these services has a test `every_method_for_owners_refuses_another_customer` over [`AccessTable::owned`].
    #[test]
    fn services_with_owners_have_a_test_of_their_own() {
        let table = AccessTable::from_contracts().unwrap();
        let mut services: Vec<_> = table.owned().into_iter().filter_map(|path| path.rsplit_once('/')).collect();
        services.dedup_by_key(|(service, _)| *service);
        let services: Vec<_> = services.into_iter().map(|(service, _)| service).collect();
        let tested = [
            "/meshwork.notifications.v1.NotificationService",
            "/meshwork.orders.v1.OrderService",
            "/meshwork.users.v1.ApiKeyService",
            "/meshwork.users.v1.AuthService",
            "/meshwork.users.v1.UserService",
        ];
        assert_eq!(services, tested, "test ownership in the new service's tests too, then name it here");
    }

    fn of(role: Role) -> Principal {
        Principal::new("users/anna", [role.as_str()])
    }

    #[test]
    fn a_method_without_callers_is_refused_to_everybody() {
        for callers in [&[][..], &[Caller::Unspecified]] {
            assert!(!access(callers).admits(None));
            for role in [Role::Customer, Role::Staff, Role::Service] {
                assert!(!access(callers).admits(Some(&of(role))), "{callers:?}");
            }
        }
    }

    #[test]
    fn owners_are_signed_in() {
        assert!(access(&[Caller::Owner]).admits(Some(&of(Role::Customer))));
        assert!(!access(&[Caller::Owner]).admits(None));
    }

    #[test]
    fn one_kind_of_caller_is_enough() {
        let internal = access(&[Caller::Staff, Caller::Service]);
        assert!(!internal.admits(Some(&of(Role::Customer))));
        assert!(internal.admits(Some(&of(Role::Staff))) && internal.admits(Some(&of(Role::Service))));
        assert!(access(&[Caller::Staff, Caller::Anyone]).admits(None));
        assert!(access(&[Caller::Staff, Caller::Owner]).admits(Some(&of(Role::Customer))));
        assert!(!access(&[Caller::Staff]).admits(Some(&of(Role::Service))));
    }
}
