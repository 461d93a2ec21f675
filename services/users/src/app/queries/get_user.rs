//! Reading an account.

use meshwork_api::UserName;
use meshwork_chassis::consistency::Freshness;

use crate::app::{App, AppError};
use crate::domain::User;

impl App {
    /// An account, as fresh as is asked for; a deleted one only with `show_deleted`.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn get_user(&self, name: UserName, show_deleted: bool, freshness: Freshness) -> Result<User, AppError> {
        let user = self.users.get(&name, freshness).await?;
        user.filter(|user| show_deleted || !user.is_deleted()).ok_or(AppError::NotFound(name))
    }
}
