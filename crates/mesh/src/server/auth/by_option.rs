//! Whom each method admits, by an option in the descriptors of its service.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorError, DescriptorPool, Value};

use super::access::{Access, AccessTable};

/// What options of methods extend.
const EXTENDED: &str = "google.protobuf.MethodOptions";

impl AccessTable {
    /// The table of all methods in `set`, an encoded `FileDescriptorSet`: `access` says whom a method admits by the value of
    /// its option, the extension of `google.protobuf.MethodOptions` with the full name `option`. A method without the option
    /// admits nobody.
    ///
    /// ```
    /// use meshwork::server::auth::{Access, AccessTable, InvalidOption};
    /// use prost_reflect::Value;
    ///
    /// // extend google.protobuf.MethodOptions { string role = 50000; }
    /// fn table(set: &[u8]) -> Result<AccessTable, InvalidOption> {
    ///     AccessTable::by_option(set, "shop.options.role", |value| match value.as_str() {
    ///         Some("anyone") => Access::Public,
    ///         Some(role) => Access::roles([role]),
    ///         None => Access::Roles(Default::default()),
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// When the set can't be read, or there is no such option of methods in it: a server then must not start.
    pub fn by_option(set: &[u8], option: &str, access: impl Fn(&Value) -> Access) -> Result<Self, InvalidOption> {
        let pool = DescriptorPool::decode(set).map_err(InvalidOption::Descriptors)?;
        let extension = pool.get_extension_by_name(option).ok_or_else(|| InvalidOption::Unknown(option.to_owned()))?;
        if extension.containing_message().full_name() != EXTENDED {
            return Err(InvalidOption::NotOfMethods(option.to_owned()));
        }
        let mut table = Self::new();
        for service in pool.services() {
            for method in service.methods() {
                let options = method.options();
                let access = if options.has_extension(&extension) {
                    access(&options.get_extension(&extension))
                } else {
                    Access::Roles(BTreeSet::new())
                };
                table = table.method(format!("/{}/{}", service.full_name(), method.name()), access);
            }
        }
        Ok(table)
    }
}

/// Descriptors don't say whom methods admit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOption {
    /// The descriptors are no `FileDescriptorSet`, or not a whole one.
    #[error("the descriptors can't be read: {0}")]
    Descriptors(#[source] DescriptorError),
    /// The descriptors don't have the option.
    #[error("the descriptors have no option {0}")]
    Unknown(String),
    /// The option is one of messages, fields or something else.
    #[error("the option {0} is not one of methods")]
    NotOfMethods(String),
}

#[cfg(test)]
mod tests {
    use meshwork_api::FILE_DESCRIPTOR_SET;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    const OPTION: &str = "meshwork.options.v1.access";
    const GET_ORDER: &str = "/meshwork.orders.v1.OrderService/GetOrder";

    fn everybody(_: &Value) -> Access {
        Access::Public
    }

    #[test]
    fn access_comes_of_the_options_value() {
        let table = AccessTable::by_option(FILE_DESCRIPTOR_SET, OPTION, |value| {
            let callers = value.as_message().unwrap().get_field_by_name("callers").unwrap();
            Access::roles(callers.as_list().unwrap().iter().map(|caller| caller.as_enum_number().unwrap().to_string()))
        });
        // Owners, staff and services.
        assert_eq!(table.unwrap().get(GET_ORDER), Some(&Access::roles(["2", "3", "4"])));
    }

    #[test]
    fn s9_a_method_without_the_option_admits_nobody() {
        let nobody = Access::Roles(BTreeSet::new());
        // `prost` doesn't know the option, and loses it.
        let bare = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().encode_to_vec();
        let table = AccessTable::by_option(&bare, OPTION, everybody).unwrap();
        assert_eq!(table.get(GET_ORDER), Some(&nobody));
        assert!(table.methods().all(|(_, access)| *access == nobody));

        let both = [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET].concat();
        let table = AccessTable::by_option(&both, OPTION, everybody).unwrap();
        assert_eq!(table.get(GET_ORDER), Some(&Access::Public));
        assert_eq!(table.get("/grpc.health.v1.Health/Check"), Some(&nobody));
    }

    #[test]
    fn s9_a_set_that_cannot_be_read_and_an_unknown_option_are_errors() {
        let torn = &FILE_DESCRIPTOR_SET[..FILE_DESCRIPTOR_SET.len() - 1];
        let error = AccessTable::by_option(torn, OPTION, everybody).unwrap_err();
        assert!(matches!(error, InvalidOption::Descriptors(_)), "{error}");
        for (set, option) in [(&[][..], OPTION), (FILE_DESCRIPTOR_SET, "meshwork.options.v1.entry")] {
            let error = AccessTable::by_option(set, option, everybody).unwrap_err();
            assert!(matches!(&error, InvalidOption::Unknown(name) if name == option), "{error}");
        }
        let error = AccessTable::by_option(FILE_DESCRIPTOR_SET, "google.api.field_behavior", everybody).unwrap_err();
        assert!(matches!(error, InvalidOption::NotOfMethods(_)), "{error}");
    }
}
