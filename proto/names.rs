//! Resource names (AIP-122): `collection/{id}`, parsed once and typed from then on.

use std::fmt;
use std::str::FromStr;

/// A string is not a name of the resource that was expected. What it is instead is not shown: callers may send anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a name like `{pattern}`, its id 1 to 63 of a-z, 0-9 and `-`, not starting or ending with `-`")]
pub struct InvalidName {
    /// What such a name looks like.
    pub pattern: &'static str,
}

/// Whether `id` may be the last part of a name.
fn is_id(id: &str) -> bool {
    (1..=63).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !id.starts_with('-')
        && !id.ends_with('-')
}

macro_rules! resource_name {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $suffix:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What such a name looks like.
            pub const PATTERN: &'static str = $pattern;

            /// The name of the resource with this id.
            ///
            /// # Errors
            /// When `id` is not 1 to 63 of `a-z`, `0-9` and `-`, or starts or ends with `-`.
            pub fn new(id: impl AsRef<str> + Into<String>) -> Result<Self, InvalidName> {
                // What is no id, however long, is not copied.
                if is_id(id.as_ref()) { Ok(Self(id.into())) } else { Err(InvalidName { pattern: $pattern }) }
            }

            /// The name of the resource whose id is this UUID.
            pub fn from_uuid(id: uuid::Uuid) -> Self {
                Self(id.to_string())
            }

            /// The id, without the collection.
            pub fn id(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                let id = name.strip_prefix($prefix).and_then(|rest| rest.strip_suffix($suffix));
                Self::new(id.ok_or(InvalidName { pattern: $pattern })?)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                name.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}", $suffix), self.0)
            }
        }
    };
}

resource_name!(
    /// An account.
    UserName, "users/", "", "users/{user}"
);
resource_name!(
    /// Something for sale.
    ProductName, "products/", "", "products/{product}"
);
resource_name!(
    /// A product's stock; the id is the product's.
    StockName, "products/", "/stock", "products/{product}/stock"
);
resource_name!(
    /// Pieces kept for an order; the id is the order's.
    ReservationName, "reservations/", "", "reservations/{reservation}"
);
resource_name!(
    /// An order.
    OrderName, "orders/", "", "orders/{order}"
);
resource_name!(
    /// Something that is made of events.
    ProjectionName, "projections/", "", "projections/{projection}"
);
resource_name!(
    /// An event that a service couldn't apply.
    DeadLetterName, "deadLetters/", "", "deadLetters/{dead_letter}"
);
resource_name!(
    /// A message to a person.
    NotificationName, "notifications/", "", "notifications/{notification}"
);

/// The name of something that an account has, below the account's.
macro_rules! name_below_user {
    ($(#[$doc:meta])* $name:ident, $collection:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            user: UserName,
            id: String,
        }

        impl $name {
            /// What such a name looks like.
            pub const PATTERN: &'static str = $pattern;

            /// The name of what `user` has with this id.
            ///
            /// # Errors
            /// When `id` is not 1 to 63 of `a-z`, `0-9` and `-`, or starts or ends with `-`.
            pub fn new(user: UserName, id: impl AsRef<str> + Into<String>) -> Result<Self, InvalidName> {
                // What is no id, however long, is not copied.
                if is_id(id.as_ref()) {
                    Ok(Self { user, id: id.into() })
                } else {
                    Err(InvalidName { pattern: $pattern })
                }
            }

            /// Whose it is.
            pub fn user(&self) -> &UserName {
                &self.user
            }

            /// The id, without the collections.
            pub fn id(&self) -> &str {
                &self.id
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                let invalid = InvalidName { pattern: $pattern };
                let Some((user, id)) = name.split_once(concat!("/", $collection, "/")) else { return Err(invalid) };
                let Ok(user) = user.parse() else { return Err(invalid) };
                Self::new(user, id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{}/", $collection, "/{}"), self.user, self.id)
            }
        }
    };
}

name_below_user!(
    /// A session of an account.
    SessionName, "sessions", "users/{user}/sessions/{session}"
);
name_below_user!(
    /// A key by which programs call in the name of an account.
    ApiKeyName, "apiKeys", "users/{user}/apiKeys/{api_key}"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_below_its_account() {
        let name: SessionName = "users/anna/sessions/s-1".parse().unwrap();
        assert_eq!(
            (name.user().id(), name.id(), name.to_string().as_str()),
            ("anna", "s-1", "users/anna/sessions/s-1")
        );
        for wrong in ["", "users/anna", "users/anna/sessions/", "users//sessions/s", "sessions/s", "users/a/sessions/S"]
        {
            assert!(wrong.parse::<SessionName>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_is_named_below_its_account() {
        let name: ApiKeyName = "users/anna/apiKeys/nightly-1".parse().unwrap();
        assert_eq!((name.user().id(), name.id()), ("anna", "nightly-1"));
        assert_eq!(name.to_string(), "users/anna/apiKeys/nightly-1");
        for wrong in ["", "users/anna/apiKeys", "users/anna/apikeys/k", "users/anna/sessions/k", "users/anna/apiKeys/K"]
        {
            assert!(wrong.parse::<ApiKeyName>().is_err(), "{wrong:?}");
        }
    }
}
