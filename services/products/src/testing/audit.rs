//! What must hold of the tables, asked of the tables.

use async_trait::async_trait;

use super::Store;
use crate::testing::Audit;

/// Each with a statement that finds the products of which it doesn't hold.
const RULES: [(&str, &str); 4] = [
    (
        "I1: available + held + allocated + shipped = received, and none is below zero",
        "SELECT product FROM stock WHERE available < 0 OR held < 0 OR allocated < 0 OR shipped < 0 \
         OR available + held + allocated + shipped <> received",
    ),
    (
        "I2: held, allocated and shipped are the sums of the lines in these states",
        "SELECT s.product FROM stock s LEFT JOIN (SELECT l.product, \
         sum(CASE r.state WHEN 'HELD' THEN l.quantity ELSE 0 END) AS held, \
         sum(CASE r.state WHEN 'ALLOCATED' THEN l.quantity ELSE 0 END) AS allocated, \
         sum(CASE r.state WHEN 'SHIPPED' THEN l.quantity ELSE 0 END) AS shipped \
         FROM reservation_line l JOIN reservation r ON r.order_id = l.order_id GROUP BY l.product) k \
         ON k.product = s.product \
         WHERE s.held <> coalesce(k.held, 0) OR s.allocated <> coalesce(k.allocated, 0) \
         OR s.shipped <> coalesce(k.shipped, 0)",
    ),
    (
        "the ledger's movements make the stock",
        "SELECT s.product FROM stock s LEFT JOIN (SELECT product, \
         sum(CASE transition WHEN 'hold' THEN quantity WHEN 'allocate' THEN -quantity WHEN 'release' THEN -quantity \
         ELSE 0 END) AS held, \
         sum(CASE transition WHEN 'allocate' THEN quantity WHEN 'reallocate' THEN quantity WHEN 'return' THEN -quantity \
         WHEN 'ship' THEN -quantity ELSE 0 END) AS allocated, \
         sum(CASE transition WHEN 'ship' THEN quantity ELSE 0 END) AS shipped \
         FROM stock_ledger GROUP BY product) k ON k.product = s.product \
         WHERE s.held <> coalesce(k.held, 0) OR s.allocated <> coalesce(k.allocated, 0) \
         OR s.shipped <> coalesce(k.shipped, 0)",
    ),
    (
        "nobody holds pieces of a deleted product",
        "SELECT s.product FROM stock s JOIN product p ON p.id = s.product \
         WHERE (p.deleted_at IS NOT NULL OR s.deleted_at IS NOT NULL) AND s.held + s.allocated > 0",
    ),
];

#[async_trait]
impl Audit for Store {
    async fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for (rule, sql) in RULES {
            let products: Vec<String> = sqlx::query_scalar(sql).fetch_all(self.database().reader()).await.unwrap();
            violations.extend(products.into_iter().map(|product| format!("{product}: not so: {rule}")));
        }
        violations
    }
}
