//! How SQLite reads the lists.

use meshwork_aip::page::PageRequest;
use meshwork_api::{OrderName, ProductName};
use sqlx::{QueryBuilder, Row};

use super::super::rows::cursor;
use super::Store;
use super::inventory::select;
use crate::domain::State;
use crate::ports::ReservationFilter;

#[tokio::test]
async fn every_list_is_read_by_an_index_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let all = ReservationFilter::default;
    let (product, order) = (ProductName::new("lamp").ok(), OrderName::new("o1").ok());
    let state = Some(State::Held);
    let cursor = Some(cursor(86_400_000_000, "o1"));
    for (filter, by) in [
        (all(), "reservation_newest"),
        (ReservationFilter { state, ..all() }, "reservation_state (state=?"),
        (ReservationFilter { product: product.clone(), ..all() }, "reservation_line_product (product=?"),
        (ReservationFilter { product, state, ..all() }, "reservation_line_product (product=?"),
        (ReservationFilter { order, ..all() }, "PRIMARY KEY (order_id=?"),
    ] {
        for after in [None, cursor.clone()] {
            let mut sql = QueryBuilder::new("EXPLAIN QUERY PLAN ");
            let second = after.is_some();
            select(&mut sql, &filter, &PageRequest { size: 10, after }).unwrap();
            let plan = sql.build().fetch_all(store.db.reader()).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
            assert!(plan[0].contains(by), "{filter:?}: {plan:?}");
            assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{filter:?}: {plan:?}");
            if second && filter.order.is_none() {
                let sought = plan[0].starts_with("SEARCH") && plan[0].contains("created_at");
                assert!(sought, "the second page reads the first: {filter:?}: {plan:?}");
            }
        }
    }
}
