//! Lists reservations.

use meshwork_aip::page::{Page, PageRequest};
use meshwork_chassis::consistency::Freshness;

use crate::app::App;
use crate::domain::Reservation;
use crate::ports::{ReservationFilter, StoreError};

impl App {
    /// Reservations, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_reservations(
        &self,
        filter: &ReservationFilter,
        page: &PageRequest,
        freshness: Freshness,
    ) -> Result<Page<Reservation>, StoreError> {
        self.inventory.reservations(filter, page, freshness).await
    }
}
