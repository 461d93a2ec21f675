//! How the drivers find the orders that wait.

use meshwork_sql::{Postgres, PostgresOptions, Sqlite};
use sqlx::{AssertSqlSafe, Row};

use super::{postgres, sqlite};

#[tokio::test]
async fn sqlite_finds_waiting_orders_in_their_order_by_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("plans.db"), &sqlite::COMPONENTS).await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sqlite::lists::waiting()));
    let rows = sqlx::query(explain).fetch_all(db.reader()).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    assert!(plan.iter().any(|step| step.contains("INDEX orders_unanswered (view_version=? AND")), "{plan:?}");
    assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE") || step.contains("SCAN o")), "{plan:?}");
}

#[tokio::test]
async fn d_sqlite_counts_open_orders_by_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("plans.db"), &sqlite::COMPONENTS).await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sqlite::lists::OPEN_ORDERS));
    let rows = sqlx::query(explain).fetch_all(db.reader()).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    assert!(plan.iter().any(|step| step.contains("INDEX orders_by_customer_and_state")), "{plan:?}");
    assert!(!plan.iter().any(|step| step.contains("SCAN orders")), "{plan:?}");
}

#[tokio::test]
async fn postgresql_finds_waiting_orders_and_counts_open_ones_by_an_index() {
    let server = tokio::task::spawn_blocking(meshwork_testkit::Postgres::start).await.unwrap();
    let options = PostgresOptions::new(server.database());
    let db = Postgres::open(&options, &postgres::COMPONENTS).await.unwrap();
    // Many that have ended, and a few that wait.
    let fill = "INSERT INTO orders (view_version, id, customer, state, version, n, created_at, updated_at, body) \
         SELECT 1, 'o' || g, 'users/anna', CASE g % 1000 WHEN 0 THEN 'PENDING' WHEN 1 THEN 'CONFIRMED' ELSE 'DELIVERED' END, \
         1, g, g, g, '{\"allocated_at\":null}' FROM generate_series(1, 20000) AS g";
    sqlx::query(fill).execute(db.reader()).await.unwrap();
    sqlx::query("ANALYZE orders").execute(db.reader()).await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN {}", postgres::lists::waiting()));
    let rows = sqlx::query(explain).bind(50_000_i64).bind(i64::MIN).bind("").bind(100_i64);
    let rows = rows.fetch_all(db.reader()).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("using orders_unanswered") && !plan.contains("Seq Scan on orders"), "{plan}");
    let explain = AssertSqlSafe(format!("EXPLAIN {}", postgres::lists::OPEN_ORDERS));
    let rows = sqlx::query(explain).bind("users/anna").bind(10_000_i64).fetch_all(db.reader()).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(!plan.iter().any(|step| step.contains("Seq Scan on orders")), "{plan:?}");
}
