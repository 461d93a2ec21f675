//! Accounts as caches keep them.

use meshwork_api::UserName;
use meshwork_cache::Value;
use meshwork_sql::{from_micros, to_micros};
use prost::Message;

use crate::domain::{DisplayName, Email, User};

/// A living account. It has no field for anything of a password.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    email: String,
    #[prost(string, tag = "3")]
    display_name: String,
    #[prost(string, tag = "4")]
    role: String,
    /// In microseconds since 1970.
    #[prost(int64, tag = "5")]
    create_time: i64,
    /// In microseconds since 1970.
    #[prost(int64, tag = "6")]
    update_time: i64,
    #[prost(int64, tag = "7")]
    version: i64,
}

impl Value for User {
    const KIND: &'static str = "users";
    const SCHEMA: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            id: self.name.id().to_owned(),
            email: self.email.as_str().to_owned(),
            display_name: self.display_name.as_str().to_owned(),
            role: self.role.as_str().to_owned(),
            create_time: to_micros(self.create_time),
            update_time: to_micros(self.update_time),
            version: self.version,
        };
        stored.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let stored = Stored::decode(bytes).ok()?;
        Some(Self {
            name: UserName::new(stored.id).ok()?,
            email: Email::stored(stored.email).ok()?,
            display_name: DisplayName::stored(stored.display_name).ok()?,
            role: stored.role.parse().ok()?,
            create_time: from_micros(stored.create_time),
            update_time: from_micros(stored.update_time),
            // Deleted ones are kept nowhere.
            delete_time: None,
            erase_time: None,
            version: stored.version,
        })
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.name.id().len() + self.email.as_str().len() + self.display_name.as_str().len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;
    use crate::domain::{NewUser, Role};

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05.678901 UTC);

    fn user(email: &str, display_name: &str, role: Role) -> User {
        let new = NewUser {
            name: "users/anna".parse().unwrap(),
            email: email.parse().unwrap(),
            display_name: display_name.parse().unwrap(),
            role,
        };
        User { version: 7, ..User::register(new, NOW) }
    }

    #[test]
    fn an_account_is_read_back_as_it_was() {
        for role in [Role::Customer, Role::Staff, Role::Service] {
            let user = user("Anna@example.com", "Anna Ä. K", role);
            assert_eq!(User::decode(&Value::encode(&user)), Some(user));
        }
    }

    #[test]
    fn a_cached_account_has_these_fields_and_no_other() {
        let bytes = Value::encode(&user("anna@example.com", "Anna", Role::Customer));
        let stored = Stored::decode(bytes.as_slice()).unwrap();
        // Another field, such as a hash, would be lost here.
        assert_eq!(stored.encode_to_vec(), bytes);
        assert_eq!((stored.id.as_str(), stored.role.as_str()), ("anna", "customer"));
        assert_eq!((stored.email.as_str(), stored.display_name.as_str()), ("anna@example.com", "Anna"));
    }

    #[test]
    fn what_is_no_account_is_none() {
        let stored = Stored::decode(Value::encode(&user("anna@example.com", "Anna", Role::Staff)).as_slice()).unwrap();
        let is_user = |change: &dyn Fn(&mut Stored)| {
            let mut stored = stored.clone();
            change(&mut stored);
            User::decode(&stored.encode_to_vec()).is_some()
        };
        assert!(is_user(&|_| {}));
        assert!(!is_user(&|stored| stored.id.clear()));
        assert!(!is_user(&|stored| stored.email = "nonsense".to_owned()));
        assert!(!is_user(&|stored| stored.display_name.clear()));
        assert!(!is_user(&|stored| stored.role = "king".to_owned()));
        assert!(User::decode(&[]).is_none());
    }

    proptest! {
        #[test]
        fn ca_9_any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(user) = User::decode(&bytes) {
                prop_assert_eq!(User::decode(&Value::encode(&user)), Some(user));
            }
        }
    }
}
