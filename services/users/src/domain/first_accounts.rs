//! The accounts that a new system begins with, and the ids and addresses that are kept for them.

use super::Role;

/// The id of the first staff account.
const STAFF: &str = "staff";
/// The address of the first staff account.
const STAFF_EMAIL: &str = "staff@meshwork.local";
/// The services that sign in to call others.
const SERVICES: [&str; 3] = ["orders", "products", "notifications"];
/// What the ids of accounts of services begin with.
const SERVICE_ID: &str = "service-";
/// What the addresses of services end with.
const SERVICE_EMAIL: &str = "@services.meshwork.local";

/// An account that a new system begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstAccount {
    /// What its credentials are filed under: `staff`, or the service's name.
    pub label: &'static str,
    /// The account's id.
    pub id: String,
    /// Its address, unless its credentials say another.
    pub email: String,
    /// How it is addressed.
    pub display_name: String,
    /// Its role.
    pub role: Role,
}

/// The accounts that a new system begins with: one that runs the shop, and one for each service that calls others.
pub fn first_accounts() -> Vec<FirstAccount> {
    let staff = FirstAccount {
        label: STAFF,
        id: STAFF.to_owned(),
        email: STAFF_EMAIL.to_owned(),
        display_name: "Staff".to_owned(),
        role: Role::Staff,
    };
    let service = |label: &&'static str| FirstAccount {
        label,
        id: format!("{SERVICE_ID}{label}"),
        email: format!("{label}{SERVICE_EMAIL}"),
        display_name: format!("Service {label}"),
        role: Role::Service,
    };
    std::iter::once(staff).chain(SERVICES.iter().map(service)).collect()
}

/// Whether an id is kept for first accounts. A stranger who took one could keep a service of a later version from
/// getting its account.
pub fn is_reserved_id(id: &str) -> bool {
    id == STAFF || id.starts_with(SERVICE_ID)
}

/// Whether an address, by its key, is kept for first accounts, for the same reason.
pub fn is_reserved_email(key: &str) -> bool {
    key == STAFF_EMAIL || key.ends_with(SERVICE_EMAIL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DisplayName, Email};

    #[test]
    fn first_accounts_are_sound_and_their_ids_and_addresses_reserved() {
        let accounts = first_accounts();
        assert_eq!(accounts.len(), 4);
        for account in accounts {
            let email: Email = account.email.parse().unwrap();
            assert!(meshwork_api::UserName::new(&*account.id).is_ok());
            assert!(account.display_name.parse::<DisplayName>().is_ok());
            assert!(is_reserved_id(&account.id) && is_reserved_email(&email.key()), "{account:?}");
        }
        assert!(is_reserved_id("service-of-tomorrow") && is_reserved_email("tomorrow@services.meshwork.local"));
        assert!(!is_reserved_id("staffan") && !is_reserved_id("services") && !is_reserved_email("anna@meshwork.local"));
    }
}
