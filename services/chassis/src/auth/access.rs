//! Who may call what: the option `meshwork.options.v1.access` of every method, read from the contracts.

use std::collections::HashMap;

use meshwork_api::FILE_DESCRIPTOR_SET;
pub use meshwork_api::meshwork::options::v1::Caller;
use prost_reflect::{DescriptorPool, Value};

use super::{Principal, Role};

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

    /// The callers that the method at `path` admits; `None` when there is no such method in our contracts.
    pub fn callers(&self, path: &str) -> Option<&[Caller]> {
        self.methods.get(path).map(Vec::as_slice)
    }

    /// The methods that name no caller; each is refused to everybody.
    pub fn closed(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().filter(|(_, callers)| callers.is_empty()).map(|(path, _)| path.as_str())
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

/// Whether `principal` is one of `callers`. Who admits owners admits every account: the handler compares the owner.
pub(super) fn admits(callers: &[Caller], principal: &Principal) -> bool {
    callers.iter().any(|caller| match caller {
        Caller::Unspecified => false,
        Caller::Anyone => true,
        Caller::Owner => principal.user().is_some(),
        Caller::Staff => principal.role() == Some(Role::Staff),
        Caller::Service => principal.role() == Some(Role::Service),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_names_its_callers() {
        let table = AccessTable::from_contracts();
        assert_eq!(table.closed().collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(table.services().contains(&"meshwork.orders.v1.OrderService".to_owned()));
    }

    #[test]
    fn a_method_without_callers_is_refused_to_everybody() {
        let staff = Principal::User { name: "users/anna".parse().unwrap(), role: Role::Staff };
        assert!(!admits(&[], &staff));
        assert!(!admits(&[Caller::Unspecified], &staff));
    }

    #[test]
    fn owners_are_signed_in() {
        let customer = Principal::User { name: "users/anna".parse().unwrap(), role: Role::Customer };
        assert!(admits(&[Caller::Owner], &customer));
        assert!(!admits(&[Caller::Owner], &Principal::Anonymous));
        assert!(!admits(&[Caller::Staff, Caller::Service], &customer));
    }
}
