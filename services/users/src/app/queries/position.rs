//! Where what was written can be read.

use meshwork_api::UserName;
use meshwork_chassis::consistency::WalPosition;

use crate::app::App;

impl App {
    /// What a read must have reached to show all that was written of an account before this call (RR-); `None` where every read does.
    pub async fn position(&self, name: &UserName) -> Option<WalPosition> {
        self.users.position(name).await
    }
}
