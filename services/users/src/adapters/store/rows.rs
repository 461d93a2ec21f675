//! Between rows and the domain.

use std::fmt::Display;

use meshwork_api::UserName;
use meshwork_sql::from_micros;
use sqlx::Row as _;

use super::Row;
use crate::domain::{DisplayName, Email, PasswordHash, Role, User};
use crate::ports::{Account, StoreError};

/// The account in a row of `users`.
pub(super) fn user(row: &Row) -> Result<User, StoreError> {
    let id: String = row.try_get("id")?;
    let damaged = |column: &str, problem: &dyn Display| {
        StoreError::damaged(format_args!("the row of the user {id} is damaged: its {column} {problem}"))
    };
    Ok(User {
        name: UserName::new(&*id).map_err(|problem| damaged("id", &problem))?,
        email: Email::stored(row.try_get("email")?).map_err(|problem| damaged("email", &problem))?,
        display_name: DisplayName::stored(row.try_get("display_name")?)
            .map_err(|problem| damaged("display_name", &problem))?,
        role: row.try_get::<&str, _>("role")?.parse::<Role>().map_err(|problem| damaged("role", &problem))?,
        create_time: from_micros(row.try_get("create_time")?),
        update_time: from_micros(row.try_get("update_time")?),
        delete_time: row.try_get::<Option<i64>, _>("delete_time")?.map(from_micros),
        erase_time: row.try_get::<Option<i64>, _>("erase_time")?.map(from_micros),
        version: row.try_get("version")?,
    })
}

/// The account in a row of `users`, with its password's hash.
pub(super) fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account { user: user(row)?, password: PasswordHash::new(row.try_get::<String, _>("password_hash")?) })
}
