//! How the drivers carry out the statements of the queue.

use meshwork_sql::{Postgres, PostgresOptions, Sqlite};
use sqlx::{AssertSqlSafe, Row};

use super::{postgres, sqlite};

#[tokio::test]
async fn no_statement_of_the_queue_sorts_or_scans() {
    use sqlite::claims;
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("plans.db"), &sqlite::COMPONENTS).await.unwrap();
    let statements = [
        (claims::any_due(), &["notification_due", "notification_lease"][..]),
        (claims::next_over(), &["notification_lease"]),
        (claims::next_due(), &["notification_due", "notification_sending", "notification_waiting"]),
        (claims::quarantine(), &["notification_waiting"]),
        (claims::give_up_old(), &["notification_old"]),
        (claims::prune_ended(), &["notification_ended"]),
    ];
    for (statement, indexes) in statements {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let rows = sqlx::query(explain).fetch_all(db.reader()).await;
        let plan: Vec<String> = rows.unwrap().iter().map(|row| row.get("detail")).collect();
        for index in indexes {
            assert!(plan.iter().any(|step| step.contains(&format!(" INDEX {index}"))), "{index} in {plan:?}");
        }
        for bad in ["TEMP B-TREE FOR", "SCAN notification", "SCAN n", "SCAN s ", "SCAN e "] {
            assert!(!plan.iter().any(|step| step.contains(bad)), "{plan:?}");
        }
    }
}

#[tokio::test]
async fn postgresql_finds_what_is_due_by_its_indexes() {
    use postgres::claims;
    let server = tokio::task::spawn_blocking(meshwork_testkit::Postgres::start).await.unwrap();
    let options = PostgresOptions::new(server.database());
    let db = Postgres::open(&options, &postgres::COMPONENTS).await.unwrap();
    // Many that wait for later, and a few that are due: as after a mail system's bad hour.
    let fill = "INSERT INTO notification (id, event_id, template, recipient, about, occasion, subject, state, reason, \
         attempts, next_try_at, created_at) SELECT 'n' || g, 'e' || g, 't', 'r' || g % 1000, 'a', 'o', 's', 'PENDING', '', 0, \
         CASE WHEN g <= 20 THEN 0 ELSE 9000000000000000 END, 0 FROM generate_series(1, 20000) AS g";
    sqlx::query(fill).execute(db.reader()).await.unwrap();
    sqlx::query("ANALYZE notification").execute(db.reader()).await.unwrap();
    for (statement, binds, index) in [
        (claims::any_due(), 0, "notification_due"),
        (claims::next_over(), 1, "notification_"),
        (claims::next_due(), 1, "notification_due"),
    ] {
        let mut explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN {statement}")));
        for _ in 0..binds {
            explain = explain.bind(8_i64);
        }
        let rows = explain.fetch_all(db.reader()).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains(&format!("using {index}")) && !plan.contains("Seq Scan"), "{plan}");
    }
}
