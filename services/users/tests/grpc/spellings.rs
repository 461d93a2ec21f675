//! What people type: one address and one password in several spellings, and names that show nothing.

use meshwork_api::meshwork::users::v1::{UpdateUserRequest, User};
use sqlx::{AssertSqlSafe, Connection as _};
use tonic::Code;

use crate::world::{PASSWORD, World, refused, refused_fields};

#[tokio::test]
async fn d6_an_address_and_a_password_are_one_however_they_are_typed() {
    let world = World::start().await;
    let mut request = world.sign_up_request();
    let given = request.user.as_mut().unwrap();
    (given.email, given.password) = ("Jo\u{308}rg@müller.de".to_owned(), "jo\u{308}rg and\u{a0}I".to_owned());
    let joerg = world.users.clone().create_user(request.clone()).await.unwrap().into_inner();
    assert_eq!(joerg.email, "Jörg@müller.de");
    for email in ["jörg@müller.de", "jo\u{308}rg@mu\u{308}ller.de", "JÖRG@xn--mller-kva.de"] {
        for password in ["jörg and I", "jo\u{308}rg and\u{a0}I"] {
            assert_eq!(world.sign_in(email, password).await.unwrap().user, joerg.name, "{email}");
        }
        refused(world.sign_in(email, "jorg and I").await, Code::Unauthenticated, "BAD_CREDENTIALS");
        let mut again = world.sign_up_request();
        again.user.as_mut().unwrap().email = email.to_owned();
        refused(world.users.clone().create_user(again).await, Code::AlreadyExists, "EMAIL_TAKEN");
    }
}

#[tokio::test]
async fn d6_accounts_of_earlier_releases_are_known_by_every_spelling_after_the_start() {
    let world = World::start().await;
    let joerg = world.customer().await;
    let name = joerg.name();
    let file = world.config.data.join("users.db");
    let folder = world.stop().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let sql = format!(
        "UPDATE users SET email = 'Jo\u{308}rg@müller.de', email_key = 'jo\u{308}rg@müller.de' WHERE 'users/' || id = '{name}'"
    );
    let changed = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
    connection.close().await.unwrap();

    let world = World::start_in(folder).await;
    for email in ["jo\u{308}rg@müller.de", "jörg@müller.de", "Jörg@xn--mller-kva.de"] {
        assert_eq!(world.sign_in(email, PASSWORD).await.unwrap().user, name, "{email}");
    }
}

#[tokio::test]
async fn d7_names_and_addresses_show_something_and_turn_nothing_around() {
    let world = World::start().await;
    let anna = world.customer().await;
    for text in ["\u{200b}\u{200d}", "\u{202e}\u{2066}", "An\u{202e}na", "\u{3164}", "\u{308}"] {
        let mut request = world.sign_up_request();
        request.user.as_mut().unwrap().display_name = text.to_owned();
        refused_fields(world.users.clone().create_user(request).await, &["user.display_name"]);
        let user = User { name: anna.name(), display_name: text.to_owned(), ..User::default() };
        let update = UpdateUserRequest { user: Some(user), ..UpdateUserRequest::default() };
        refused_fields(world.users.clone().update_user(anna.asks(update)).await, &["user.display_name"]);
    }
    for email in ["an\u{200b}na@example.com", "an\u{202e}na@example.com", "anna@xn--a"] {
        let mut request = world.sign_up_request();
        request.user.as_mut().unwrap().email = email.to_owned();
        refused_fields(world.users.clone().create_user(request).await, &["user.email"]);
    }
    let mut request = world.sign_up_request();
    request.user.as_mut().unwrap().display_name = " می\u{200c}خواهم Jo\u{308}rg 👩\u{200d}👧 ".to_owned();
    let named = world.users.clone().create_user(request).await.unwrap().into_inner();
    assert_eq!(named.display_name, "می\u{200c}خواهم Jörg 👩\u{200d}👧");
}
