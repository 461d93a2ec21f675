//! An account and what may happen to it.

use meshwork_api::UserName;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{DisplayName, Email, PasswordHash, Role, StandIn, is_foreign_email};

/// An account. What is kept of its password is not part of it, so that nothing that shows an account can show that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its name, `users/{user}`; never changes.
    #[serde(with = "name_as_text")]
    pub name: UserName,
    /// Its address, unique among accounts by its key, deleted ones among them.
    pub email: Email,
    /// How the person is addressed.
    pub display_name: DisplayName,
    /// What it is for; never changes.
    pub role: Role,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub create_time: OffsetDateTime,
    /// When it was changed last.
    #[serde(with = "time::serde::rfc3339")]
    pub update_time: OffsetDateTime,
    /// When it was deleted.
    #[serde(with = "time::serde::rfc3339::option")]
    pub delete_time: Option<OffsetDateTime>,
    /// When what is personal of it was erased: from then on, something else stands in its place.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub erase_time: Option<OffsetDateTime>,
    /// How often it has changed: 1 when it is made, and one more with each event.
    pub version: i64,
}

/// An account to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// Its name.
    pub name: UserName,
    /// Its address.
    pub email: Email,
    /// How the person is addressed.
    pub display_name: DisplayName,
    /// What it is for.
    pub role: Role,
}

/// New values; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The new address.
    pub email: Option<Email>,
    /// How the person is addressed from now on.
    pub display_name: Option<DisplayName>,
    /// The new password's hash.
    pub password: Option<PasswordHash>,
}

/// A field of an account that may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The address.
    Email,
    /// How the person is addressed.
    DisplayName,
    /// The password.
    Password,
}

impl Field {
    /// The field's name in the contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Field::Email => "email",
            Field::DisplayName => "display_name",
            Field::Password => "password",
        }
    }
}

/// What happened to an account. No address and no name of a person is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserEvent {
    /// It was made.
    Registered,
    /// These fields changed.
    Updated(Vec<Field>),
    /// It was deleted.
    Deleted,
    /// What was personal of it was erased.
    Erased,
}

/// An account after a change, with what is to be stored together with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The account as it is now.
    pub user: User,
    /// What happened.
    pub event: UserEvent,
    /// The hash of a new password.
    pub password: Option<PasswordHash>,
    /// The id of the session that goes on when the others end.
    pub keeps: Option<String>,
}

impl Changed {
    /// Whether the account's sessions end with this change, but for the one that it [keeps](Changed::keeps): after a new
    /// password or address, and when it is deleted.
    pub fn ends_sessions(&self) -> bool {
        match &self.event {
            UserEvent::Registered => false,
            UserEvent::Updated(fields) => fields.iter().any(|field| matches!(field, Field::Email | Field::Password)),
            UserEvent::Deleted | UserEvent::Erased => true,
        }
    }

    /// The same, of which the session with this id outlives that others end.
    #[must_use]
    pub fn keeping(self, session: Option<String>) -> Self {
        Self { keeps: session, ..self }
    }
}

/// Why an account can't be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// It is deleted.
    #[error("{0} is deleted")]
    Deleted(UserName),
    /// Whose it is signs in with another issuer, and with nothing else.
    #[error(
        "{0} is of somebody who signs in with another issuer: it is given no e-mail address, no password and no API keys"
    )]
    NoPassword(UserName),
    /// It has changed since the caller read it.
    #[error("{name} has changed since version {expected}; it is at version {actual}")]
    VersionMismatch {
        /// The account.
        name: UserName,
        /// The version that the caller read.
        expected: i64,
        /// The version that it has.
        actual: i64,
    },
}

impl User {
    /// A new account, made at `now`. Its event is [`UserEvent::Registered`].
    pub fn register(new: NewUser, now: OffsetDateTime) -> Self {
        let NewUser { name, email, display_name, role } = new;
        Self {
            name,
            email,
            display_name,
            role,
            create_time: now,
            update_time: now,
            delete_time: None,
            erase_time: None,
            version: 1,
        }
    }

    /// The account with new values; `None` when they are those that it has.
    ///
    /// # Errors
    /// When it is deleted, is not at the `expected` version, or has no password and would get one or an address.
    pub fn change(
        &self,
        change: Change,
        expected: Option<i64>,
        now: OffsetDateTime,
    ) -> Result<Option<Changed>, UserError> {
        self.admit(expected)?;
        if change.email.is_some() || change.password.is_some() {
            self.admit_credentials()?;
        }
        let mut user = self.clone();
        let mut fields = Vec::new();
        if let Some(email) = change.email.filter(|email| !email.is_spelled_as(&self.email)) {
            user.email = email;
            fields.push(Field::Email);
        }
        if let Some(name) = change.display_name.filter(|name| *name != self.display_name) {
            user.display_name = name;
            fields.push(Field::DisplayName);
        }
        if change.password.is_some() {
            // Hashes of one password differ, so that a password always counts as new.
            fields.push(Field::Password);
        }
        if fields.is_empty() {
            return Ok(None);
        }
        user.update_time = now;
        user.version += 1;
        Ok(Some(Changed { user, event: UserEvent::Updated(fields), password: change.password, keeps: None }))
    }

    /// The account after it was deleted.
    ///
    /// # Errors
    /// When it is deleted already, or is not at the `expected` version.
    pub fn delete(&self, expected: Option<i64>, now: OffsetDateTime) -> Result<Changed, UserError> {
        self.admit(expected)?;
        let user = Self { delete_time: Some(now), update_time: now, version: self.version + 1, ..self.clone() };
        Ok(Changed { user, event: UserEvent::Deleted, password: None, keeps: None })
    }

    /// The account after what is personal of it was erased, its password's hash too; `None` for one that lives, or was erased
    /// before.
    pub fn erase(&self, stand_in: StandIn, now: OffsetDateTime) -> Option<Changed> {
        if !self.is_deleted() || self.is_erased() {
            return None;
        }
        let StandIn { email, display_name } = stand_in;
        let (update_time, erase_time, version) = (now, Some(now), self.version + 1);
        let user = Self { email, display_name, update_time, erase_time, version, ..self.clone() };
        Some(Changed { user, event: UserEvent::Erased, password: Some(PasswordHash::none()), keeps: None })
    }

    /// Whether the account may be changed by somebody who has read the `expected` version of it.
    ///
    /// # Errors
    /// When it is deleted, or is not at the `expected` version.
    pub fn admit(&self, expected: Option<i64>) -> Result<(), UserError> {
        if self.is_deleted() {
            return Err(UserError::Deleted(self.name.clone()));
        }
        match expected {
            Some(expected) if expected != self.version => {
                Err(UserError::VersionMismatch { name: self.name.clone(), expected, actual: self.version })
            }
            _ => Ok(()),
        }
    }

    /// Whether the account may get another address or password, or API keys: who is let go by another issuer would go on by them.
    ///
    /// # Errors
    /// When whose it is signs in with another issuer.
    pub fn admit_credentials(&self) -> Result<(), UserError> {
        if self.is_foreign() { Err(UserError::NoPassword(self.name.clone())) } else { Ok(()) }
    }

    /// Whether whose it is signs in with another issuer: what stands in it in place of an address is none.
    pub fn is_foreign(&self) -> bool {
        is_foreign_email(&self.email.key())
    }

    /// Whether it is deleted.
    pub fn is_deleted(&self) -> bool {
        self.delete_time.is_some()
    }

    /// Whether what was personal of it is erased.
    pub fn is_erased(&self) -> bool {
        self.erase_time.is_some()
    }
}

mod name_as_text {
    use meshwork_api::UserName;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(name: &UserName, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(name)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UserName, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::Duration;

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn anna() -> User {
        let new = NewUser {
            name: "users/anna".parse().unwrap(),
            email: "anna@example.com".parse().unwrap(),
            display_name: "Anna".parse().unwrap(),
            role: Role::Customer,
        };
        User::register(new, NOW)
    }

    fn later() -> OffsetDateTime {
        NOW + Duration::hours(1)
    }

    #[test]
    fn a_change_names_the_fields_that_differ() {
        let change = Change {
            email: Some("anna@example.com".parse().unwrap()),
            display_name: Some("Anna K".parse().unwrap()),
            password: None,
        };
        let changed = anna().change(change, Some(1), later()).unwrap().unwrap();
        assert_eq!(changed.event, UserEvent::Updated(vec![Field::DisplayName]));
        assert_eq!((changed.user.version, changed.user.update_time), (2, later()));
        assert_eq!(changed.user.create_time, NOW);
        assert!(!changed.ends_sessions());
    }

    #[test]
    fn the_case_of_an_address_may_change() {
        let change = Change { email: Some("Anna@example.com".parse().unwrap()), ..Change::default() };
        let changed = anna().change(change, None, later()).unwrap().unwrap();
        assert_eq!(changed.user.email.as_str(), "Anna@example.com");
    }

    #[test]
    fn d6_an_address_that_was_kept_as_it_is_typed_stays_so() {
        let kept = User { email: Email::stored("jo\u{308}rg@example.com".to_owned()).unwrap(), ..anna() };
        let change = Change { email: Some(kept.email.as_str().parse().unwrap()), ..Change::default() };
        assert_eq!(kept.change(change, None, later()), Ok(None));
        let change = Change { email: Some("jörg@example.com".parse().unwrap()), ..Change::default() };
        assert_eq!(kept.change(change, None, later()).unwrap().unwrap().user.email.as_str(), "jörg@example.com");
    }

    #[test]
    fn a_change_to_the_same_is_none() {
        let change = Change { display_name: Some("Anna".parse().unwrap()), ..Change::default() };
        assert_eq!(anna().change(change, Some(1), later()), Ok(None));
    }

    #[test]
    fn d5_a_new_password_or_address_and_a_deletion_end_the_sessions() {
        let password = Change { password: Some(PasswordHash::new("x")), ..Change::default() };
        let email = Change { email: Some("new@example.com".parse().unwrap()), ..Change::default() };
        for change in [password, email] {
            let changed = anna().change(change, None, later()).unwrap().unwrap();
            assert!(changed.ends_sessions() && changed.keeps.is_none());
            assert_eq!(changed.keeping(Some("s".to_owned())).keeps.as_deref(), Some("s"));
        }
        assert!(anna().delete(None, later()).unwrap().ends_sessions());
    }

    #[test]
    fn a_deleted_account_changes_no_more() {
        let deleted = anna().delete(Some(1), later()).unwrap().user;
        assert_eq!((deleted.delete_time, deleted.version), (Some(later()), 2));
        let error = UserError::Deleted(deleted.name.clone());
        assert_eq!(deleted.change(Change::default(), Some(9), later()), Err(error.clone()));
        assert_eq!(deleted.delete(None, later()), Err(error));
    }

    #[test]
    fn d4_only_a_deleted_account_is_erased_and_only_once() {
        let stand_in = |byte| StandIn::new(StandIn::email(&[byte; 32]).unwrap()).unwrap();
        let at = |hours| NOW + Duration::hours(hours);
        let anna = anna();
        assert_eq!(anna.erase(stand_in(1), at(1)), None);
        let deleted = anna.delete(None, at(1)).unwrap().user;
        let erased = deleted.erase(stand_in(1), at(2)).unwrap();
        assert_eq!((&erased.event, &erased.password), (&UserEvent::Erased, &Some(PasswordHash::new(""))));
        let StandIn { email, display_name } = stand_in(1);
        let expected = User { email, display_name, update_time: at(2), erase_time: Some(at(2)), version: 3, ..deleted };
        assert_eq!(erased.user, expected);
        assert!(expected.is_erased());
        assert_eq!(expected.erase(stand_in(2), at(3)), None);
        let json = serde_json::to_vec(&expected).unwrap();
        assert_eq!(serde_json::from_slice::<User>(&json).unwrap(), expected);
    }

    #[test]
    fn who_signs_in_with_another_issuer_gets_no_address_no_password_and_no_keys() {
        let foreign = User { email: crate::domain::foreign_email(uuid::Uuid::nil()).unwrap(), ..anna() };
        assert!(foreign.is_foreign() && !anna().is_foreign());
        let error = UserError::NoPassword(foreign.name.clone());
        assert_eq!((foreign.admit_credentials(), anna().admit_credentials()), (Err(error.clone()), Ok(())));
        let email = Change { email: Some("anna@example.com".parse().unwrap()), ..Change::default() };
        let password = Change { password: Some(PasswordHash::new("x")), ..Change::default() };
        for change in [email, password] {
            assert_eq!(foreign.change(change, None, later()), Err(error.clone()));
        }
        let name = Change { display_name: Some("Anna K".parse().unwrap()), ..Change::default() };
        assert_eq!(foreign.change(name, None, later()).unwrap().unwrap().user.display_name.as_str(), "Anna K");
        assert!(foreign.delete(None, later()).unwrap().ends_sessions());
    }

    #[test]
    fn a_stale_version_is_refused() {
        let error = UserError::VersionMismatch { name: anna().name, expected: 2, actual: 1 };
        assert_eq!(anna().change(Change::default(), Some(2), later()), Err(error.clone()));
        assert_eq!(anna().delete(Some(2), later()), Err(error));
    }

    #[test]
    fn an_account_survives_being_written_and_read() {
        let mut user = anna().delete(None, later()).unwrap().user;
        assert_eq!(serde_json::from_slice::<User>(&serde_json::to_vec(&user).unwrap()).unwrap(), user);
        user.delete_time = None;
        assert_eq!(serde_json::from_slice::<User>(&serde_json::to_vec(&user).unwrap()).unwrap(), user);
    }

    proptest! {
        /// The events of an account are numbered without a hole, whatever is done to it (NT-5 needs that).
        #[test]
        fn versions_are_contiguous(steps in prop::collection::vec((0..3_u8, "[a-c]{1}"), 0..30)) {
            let mut user = anna();
            let mut events = 1;
            for (kind, text) in steps {
                let changed = match kind {
                    0 => user.change(
                        Change { display_name: Some(text.parse().unwrap()), ..Change::default() }, None, later(),
                    ),
                    1 => user.change(
                        Change { password: Some(PasswordHash::new(text)), ..Change::default() }, None, later(),
                    ),
                    _ => user.delete(Some(user.version), later()).map(Some),
                };
                if let Ok(Some(changed)) = changed {
                    events += 1;
                    user = changed.user;
                }
                prop_assert_eq!(user.version, events);
            }
        }
    }
}
