//! Lists of orders, from the read model.

use meshwork_chassis::Principal;
use meshwork_chassis::page::{Page, PageRequest};

use crate::app::{App, AppError};
use crate::domain::Order;
use crate::ports::OrderFilter;

impl App {
    /// A page of orders, newest first: the caller's own, or, for staff, everybody's.
    ///
    /// # Errors
    /// [`AppError::NotAllowed`] when anybody else asks for another's orders.
    pub async fn list_orders(
        &self,
        principal: &Principal,
        mut filter: OrderFilter,
        page: &PageRequest,
    ) -> Result<Page<Order>, AppError> {
        if !principal.is_staff() {
            let user = principal.user().ok_or(AppError::NotAllowed)?;
            if filter.customer.as_ref().is_some_and(|customer| customer != user) {
                return Err(AppError::NotAllowed);
            }
            filter.customer = Some(user.clone());
        }
        Ok(self.read_model.list(&filter, page).await?)
    }
}
