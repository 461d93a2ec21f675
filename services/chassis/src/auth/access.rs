//! Who may call what: the option `meshwork.options.v1.access` of every method, read from the contracts.
//!
//! The table is made of the descriptors of all our services: it names every method, and one without the option is in it as
//! one that admits nobody.

use std::collections::HashMap;

use meshwork::server::auth::Access;
use meshwork_api::FILE_DESCRIPTOR_SET;
pub use meshwork_api::meshwork::options::v1::Caller;
use prost_reflect::{DescriptorPool, Value};

use super::Role;

const OPTION: &str = "meshwork.options.v1.access";

/// The callers that each method admits.
#[derive(Debug)]
pub struct AccessTable {
    /// By path, `/package.Service/Method`.
    methods: HashMap<String, Vec<Caller>>,
}

impl AccessTable {
    /// Reads the option from our contracts.
    ///
    /// # Panics
    /// Never: a test reads the same bytes.
    pub fn from_contracts() -> Self {
        // The descriptors were made by our build; a set that can't be read admits nobody.
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let option = pool.get_extension_by_name(OPTION);
        let mut methods = HashMap::new();
        for service in pool.services() {
            for method in service.methods() {
                let options = method.options();
                let callers = match option.as_ref().map(|option| options.get_extension(option)).as_deref() {
                    Some(Value::Message(access)) => match access.get_field_by_name("callers").as_deref() {
                        Some(Value::List(callers)) => callers
                            .iter()
                            .filter_map(|caller| Caller::try_from(caller.as_enum_number()?).ok())
                            .collect(),
                        _ => Vec::new(),
                    },
                    _ => Vec::new(),
                };
                methods.insert(format!("/{}/{}", service.full_name(), method.name()), callers);
            }
        }
        Self { methods }
    }

    /// Without the methods that admit other services and nobody else: a port for everybody doesn't offer them.
    #[must_use]
    pub fn without_internal(mut self) -> Self {
        // One that names no caller stays, so that it is refused.
        self.methods.retain(|_, callers| callers.is_empty() || callers.iter().any(|caller| *caller != Caller::Service));
        self
    }

    /// The callers that the method at `path` admits; `None` when there is no such method in our contracts.
    pub fn callers(&self, path: &str) -> Option<&[Caller]> {
        self.methods.get(path).map(Vec::as_slice)
    }

    /// The methods that name no caller; each is refused to everybody.
    pub fn closed(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().filter(|(_, callers)| callers.is_empty()).map(|(path, _)| path.as_str())
    }

    /// The methods that admit the owners of what they are about: their handlers compare the owner.
    pub fn owned(&self) -> Vec<&str> {
        let owned = self.methods.iter().filter(|(_, callers)| callers.contains(&Caller::Owner));
        let mut owned: Vec<_> = owned.map(|(path, _)| path.as_str()).collect();
        owned.sort_unstable();
        owned
    }

    /// The table as a server reads it: what answers a method that isn't in our contracts is closed.
    pub fn layers(&self) -> meshwork::server::auth::AccessTable {
        let methods = self.methods.iter();
        methods.fold(meshwork::server::auth::AccessTable::new(), |table, (path, callers)| {
            table.method(path, access(callers))
        })
    }

    /// The names of all services.
    pub fn services(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.methods.keys().filter_map(|path| Some(path[1..].split_once('/')?.0.to_owned())).collect();
        names.sort();
        names.dedup();
        names
    }
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
        let table = AccessTable::from_contracts();
        assert_eq!(table.closed().collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(table.services().contains(&"meshwork.orders.v1.OrderService".to_owned()));
    }

    #[test]
    fn what_only_services_may_call_can_be_left_out() {
        let kinds = [&[][..], &[Caller::Service], &[Caller::Service, Caller::Staff], &[Caller::Anyone]];
        let methods = kinds.into_iter().enumerate().map(|(at, callers)| (format!("/shop/{at}"), callers.to_vec()));
        let table = AccessTable { methods: methods.collect() }.without_internal();
        let left = (0..4).filter(|at| table.callers(&format!("/shop/{at}")).is_some());
        assert_eq!(left.collect::<Vec<_>>(), [0, 2, 3]);

        let table = AccessTable::from_contracts().without_internal();
        assert_eq!(table.callers("/meshwork.admin.v1.EventSourceService/ReadStream"), None);
        assert!(!table.services().contains(&"meshwork.admin.v1.EventSourceService".to_owned()));
        assert!(table.callers("/meshwork.orders.v1.OrderService/GetOrder").is_some());
    }

    /// Each of these services has a test `every_method_for_owners_refuses_another_customer` over [`AccessTable::owned`].
    #[test]
    fn services_with_owners_have_a_test_of_their_own() {
        let table = AccessTable::from_contracts();
        let mut services: Vec<_> = table.owned().into_iter().filter_map(|path| path.rsplit_once('/')).collect();
        services.dedup_by_key(|(service, _)| *service);
        let services: Vec<_> = services.into_iter().map(|(service, _)| service).collect();
        let tested = [
            "/meshwork.notifications.v1.NotificationService",
            "/meshwork.orders.v1.OrderService",
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
