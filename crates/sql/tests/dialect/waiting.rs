//! Opening a database whose tables somebody else makes.

use meshwork_sql::{Error, Kind, Migrations, Postgres, PostgresOptions};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::tables;
use crate::worlds::{Server, eventually};

fn waiting(world: &Server) -> PostgresOptions {
    PostgresOptions { migrations: Migrations::Wait, ..world.options.clone() }
}

fn pending(opened: Result<Postgres, Error>) -> String {
    match opened {
        Err(error @ Error::Pending(_)) => {
            assert_eq!(error.kind(), Kind::Unavailable);
            error.to_string()
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

async fn tables_of(world: &Server) -> i64 {
    let mut connection = PgConnection::connect(&world.options.url).await.unwrap();
    let count = "SELECT count(*) FROM pg_class WHERE relnamespace NOT IN \
                 (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')";
    sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn who_waits_is_told_what_is_missing_and_makes_none_of_it() {
    let world = Server::new();
    let options = PostgresOptions { schema: Some("apart"), ..waiting(&world) };
    let told = pending(Postgres::open(&options, tables::ALL.as_slice()).await);
    assert!(told.contains("1 migrations of the tables of numbers"), "{told}");
    let told = pending(Postgres::open_when_reached(&options, tables::ALL.as_slice()).await);
    assert!(told.contains("numbers"), "{told}");
    assert_eq!(tables_of(&world).await, 0);
    // To migrate is to apply, whatever the options say of opening.
    assert_eq!(Postgres::migrate(&options, tables::ALL.as_slice()).await.unwrap().len(), 3);
    let opened = Postgres::open(&options, tables::ALL.as_slice()).await.unwrap();
    sqlx::query("INSERT INTO numbers (n) VALUES (1)").execute(opened.reader()).await.unwrap();
}

#[tokio::test]
async fn each_component_is_waited_for_and_each_of_its_migrations() {
    let world = Server::new();
    let options = waiting(&world);
    world.migrate(&tables::ALL[..1]).await;
    let told = pending(Postgres::open(&options, tables::ALL.as_slice()).await);
    assert!(told.contains("2 migrations of the tables of jobs"), "{told}");
    world.migrate(tables::ALL.as_slice()).await;
    Postgres::open(&options, tables::ALL.as_slice()).await.unwrap();
    // A release after this one waits for its own.
    let told = pending(Postgres::open(&options, &tables::newer()).await);
    assert!(told.contains("1 migrations of the tables of numbers"), "{told}");
    world.migrate(&tables::newer()).await;
    Postgres::open(&options, &tables::newer()).await.unwrap();
    // And this one runs on what that one has made.
    Postgres::open(&options, tables::ALL.as_slice()).await.unwrap();
}

#[tokio::test]
async fn what_does_not_pass_by_waiting_is_another_error() {
    let world = Server::new();
    world.migrate(tables::ALL.as_slice()).await;
    let Err(error) = Postgres::open(&waiting(&world), &tables::edited()).await else { panic!("it was opened") };
    assert!(matches!(error, Error::Migrate { component: "numbers", .. }), "{error}");
    assert_eq!(error.kind(), Kind::Damaged);
    let away = PostgresOptions { url: "postgres://postgres@127.0.0.1:9/none".to_owned(), ..waiting(&world) };
    let Err(error) = Postgres::open_when_reached(&away, tables::ALL.as_slice()).await else { panic!("it was opened") };
    assert_eq!(error.kind(), Kind::Unavailable);
}

/// Migrations that are under way are not there yet, and whoever waits neither holds them up nor waits for their locks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_not_in_the_way_of_who_migrates() {
    let world = Server::new();
    let options = waiting(&world);
    let migrating = tokio::spawn({
        let options = world.options.clone();
        async move { Postgres::migrate(&options, &tables::slow()).await.map(drop) }
    });
    let opened = async || match Postgres::open(&options, &tables::slow()).await {
        Ok(_) => true,
        Err(Error::Pending(_)) => false,
        Err(error) => panic!("{error}"),
    };
    eventually("the tables", opened).await;
    migrating.await.unwrap().unwrap();
}
