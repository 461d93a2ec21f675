//! Between rows and the domain.

use std::fmt::Display;
use std::str::FromStr;

use meshwork_api::UserName;
use meshwork_sql::from_micros;
use sqlx::Row as _;

use super::Row;
use crate::domain::{PasswordHash, User};
use crate::ports::{Account, StoreError};

/// The account in a row of `users`.
pub(super) fn user(row: &Row) -> Result<User, StoreError> {
    let id: String = row.try_get("id")?;
    let damaged = |column: &str, problem: &dyn Display| {
        StoreError::damaged(format_args!("the row of the user {id} is damaged: its {column} {problem}"))
    };
    Ok(User {
        name: UserName::new(&*id).map_err(|problem| damaged("id", &problem))?,
        email: parse(row, "email", &damaged)?,
        display_name: parse(row, "display_name", &damaged)?,
        role: parse(row, "role", &damaged)?,
        create_time: from_micros(row.try_get("create_time")?),
        update_time: from_micros(row.try_get("update_time")?),
        delete_time: row.try_get::<Option<i64>, _>("delete_time")?.map(from_micros),
        erase_time: row.try_get::<Option<i64>, _>("erase_time")?.map(from_micros),
        version: row.try_get("version")?,
    })
}

fn parse<T: FromStr<Err: Display>>(
    row: &Row,
    column: &str,
    damaged: &dyn Fn(&str, &dyn Display) -> StoreError,
) -> Result<T, StoreError> {
    row.try_get::<&str, _>(column)?.parse().map_err(|problem| damaged(column, &problem))
}

/// The account in a row of `users`, with its password's hash.
pub(super) fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account { user: user(row)?, password: PasswordHash::new(row.try_get::<String, _>("password_hash")?) })
}
