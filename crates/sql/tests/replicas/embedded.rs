//! The same calls on a file.

use meshwork_sql::{Error, Freshness, Sqlite, WalPosition};

use crate::worlds::TABLES;

#[tokio::test]
async fn a_file_is_read_from_as_replicas_are() {
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("numbers.db"), TABLES.as_slice()).await.unwrap();
    let written = db.write(7_i64, |connection, n| {
        Box::pin(async move {
            sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(*n).execute(connection).await?;
            Ok::<_, Error>(())
        })
    });
    written.await.unwrap();
    assert_eq!(db.position().await, None);
    for freshness in [Freshness::Latest, Freshness::Bounded, Freshness::AtLeast(WalPosition::UNKNOWN)] {
        let found = db.read(freshness, 7_i64, |connection, n| {
            Box::pin(async move {
                let sql = "SELECT count(*) FROM numbers WHERE n = $1";
                let count: i64 = sqlx::query_scalar(sql).bind(*n).fetch_one(connection).await?;
                Ok::<_, Error>(count)
            })
        });
        assert_eq!(found.await.unwrap(), 1);
    }
    let written = db.read(Freshness::Bounded, (), |connection, ()| {
        Box::pin(async move {
            sqlx::query("DELETE FROM numbers").execute(connection).await?;
            Ok::<_, Error>(())
        })
    });
    written.await.unwrap_err();
}
