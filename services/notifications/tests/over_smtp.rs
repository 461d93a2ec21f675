//! The service with a mail server instead of the folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use meshwork_api::meshwork::events::v1::OrderDelivered;
use meshwork_chassis::config::{AuthConfig, Listen, Secret};
use meshwork_chassis::{CancellationToken, Health, ServeError, ServerConfig};
use meshwork_events::testing::{lane, publish};
use meshwork_events::{Context, Envelope, Position, SqliteBus};
use meshwork_notifications::{Config, SmtpConfig};
use meshwork_testkit::Smtp;
use meshwork_testkit::smtp::{At, Encryption, Options};
use prost::Message;
use time::OffsetDateTime;

use self::users::Users;

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "grpc/users.rs"]
mod users;

fn config(folder: &Path, users: &str, smtp: SmtpConfig) -> Config {
    let credentials = folder.join("account.json");
    std::fs::write(&credentials, r#"{"email": "notifications@example.com", "password": "secret"}"#).unwrap();
    Config {
        listen: Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
        data: folder.join("data"),
        bus: folder.join("bus"),
        auth: AuthConfig { users: users.to_owned(), credentials, ..AuthConfig::default() },
        server: ServerConfig { drain_delay: std::time::Duration::ZERO, ..ServerConfig::default() },
        smtp,
        // The event is published while the service starts for the first time.
        mail_old_events: true,
        ..Config::default()
    }
}

async fn start_failure(config: Config) -> ServeError {
    meshwork_notifications::serve(config, Health::new(), CancellationToken::new()).await.unwrap_err()
}

#[tokio::test]
async fn letters_go_to_the_mail_server_once_it_takes_them() {
    let (users, folder) = (Users::start().await, tempfile::tempdir().unwrap());
    let login = Some(("shop".to_owned(), "hush".to_owned()));
    let server = Smtp::start(Options { encryption: Encryption::StartTls, login, ..Options::default() });
    server.answer(At::Content, "", "451 4.3.0 Later", 1);
    let smtp = SmtpConfig { url: Secret::new(server.url()), ca_file: server.ca_file(), ..SmtpConfig::default() };
    let config = config(folder.path(), &users.target, smtp);
    let bus = SqliteBus::open(&config.bus).await.unwrap();
    let (health, shutdown) = (Health::new(), CancellationToken::new());
    let task = tokio::spawn(meshwork_notifications::serve(config, health.clone(), shutdown.clone()));
    let event = OrderDelivered { order: "orders/a1b2".to_owned(), customer: "users/anna".to_owned() };
    let envelope = Envelope {
        id: Envelope::id_of(&event.order, 1),
        source: "orders".to_owned(),
        event_type: "order_delivered".to_owned(),
        schema_version: 1,
        subject: event.order.clone(),
        version: 1,
        position: Position { partition: 0, n: 1, index: 0 },
        time: OffsetDateTime::now_utc(),
        context: Context::default(),
        data: event.encode_to_vec().into(),
    };
    publish(bus.as_ref(), &lane("orders", 0), vec![envelope]).await;

    let [mail] = server.wait_for(1).await.try_into().unwrap();
    assert_eq!((mail.to, mail.user.as_deref()), (vec!["anna@example.com".to_owned()], Some("shop")));
    assert!(mail.is_encrypted && mail.message_id.ends_with("@meshwork.local>"), "{}", mail.message_id);
    assert!(mail.raw.contains("\r\nSubject: Your order a1b2 has arrived\r\n"), "{}", mail.raw);
    assert!(health.report().checks.iter().any(|check| check.name == "mail server"));
    assert!(!folder.path().join("data/mail").exists());
    shutdown.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn settings_of_the_mail_server_that_can_not_be_used_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let with = |smtp| config(folder.path(), "http://127.0.0.1:1", smtp);
    let url = |url: &str| SmtpConfig { url: Secret::new(url), ..SmtpConfig::default() };
    let error = start_failure(with(url("smtp://anna:hush@mail.example.com?tls=none"))).await;
    assert!(
        error.sentence.starts_with("notifications.smtp.url is ") && error.hint.contains("tls=required"),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    let missing = SmtpConfig { ca_file: folder.path().join("none.pem"), ..url("smtp://mail.example.com") };
    let error = start_failure(with(missing)).await;
    assert!(error.sentence.contains("none.pem") && error.hint.contains("smtp.ca_file"), "{error:?}");
}
