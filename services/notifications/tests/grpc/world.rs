//! The service between a bus and a users service, in a folder of its own.

use meshwork_chassis::ServerConfig;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meshwork::Channel;
use meshwork_api::meshwork::notifications::v1::notification::State;
use meshwork_api::meshwork::notifications::v1::notification_service_client::NotificationServiceClient;
use meshwork_api::meshwork::notifications::v1::{ListNotificationsRequest, Notification};
use meshwork_chassis::config::{AuthConfig, Listen};
use meshwork_chassis::{CancellationToken, Health, ServeError};
use meshwork_events::inbox::sqlite::Inbox;
use meshwork_events::testing::{lane, publish, tail};
use meshwork_events::{ConsumerState as _, Context, Envelope, Position, SqliteBus};
use meshwork_notifications::Config;
use meshwork_notifications::adapters::CONSUMER;
use meshwork_notifications::adapters::store::sqlite::COMPONENTS;
use meshwork_sql::Sqlite;
use prost::Message;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::users::Users;

/// How long a condition may take to come true.
const BOUND: Duration = Duration::from_secs(20);

pub struct World {
    pub users: Users,
    pub service: Service,
    bus: Arc<SqliteBus>,
    folder: TempDir,
}

/// A running service.
pub struct Service {
    pub client: NotificationServiceClient<Channel>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

impl World {
    pub async fn start() -> Self {
        let (users, folder) = (Users::start().await, tempfile::tempdir().unwrap());
        let credentials = r#"{"email": "notifications@example.com", "password": "secret"}"#;
        fs::write(folder.path().join("account.json"), credentials).unwrap();
        let bus = SqliteBus::open(&folder.path().join("bus")).await.unwrap();
        let service = start(&folder, &users).await;
        Self { users, service, bus, folder }
    }

    /// Kills the service in the middle of what it does, and starts it anew.
    pub async fn crash(&mut self) {
        self.service.task.abort();
        (&mut self.service.task).await.unwrap_err();
        self.service = start(&self.folder, &self.users).await;
    }

    /// Stops the service and waits until it has ended.
    pub async fn stop(self) {
        self.service.shutdown.cancel();
        tokio::time::timeout(BOUND, self.service.task).await.unwrap().unwrap().unwrap();
    }

    /// Publishes an event of this moment to a stream.
    pub async fn publish(&self, stream: &str, event_type: &str, subject: &str, version: i64, event: &impl Message) {
        self.publish_of(OffsetDateTime::now_utc(), stream, event_type, subject, version, event).await;
    }

    /// Publishes an event to a stream.
    pub async fn publish_of(
        &self,
        time: OffsetDateTime,
        stream: &str,
        event_type: &str,
        subject: &str,
        version: i64,
        event: &impl Message,
    ) {
        let lane = lane(stream, 0);
        let n = tail(self.bus.as_ref(), &lane).await.map_or(0, |tail| tail.position.n) + 1;
        let envelope = Envelope {
            id: Envelope::id_of(subject, version),
            source: stream.to_owned(),
            event_type: event_type.to_owned(),
            schema_version: 1,
            subject: subject.to_owned(),
            version,
            position: Position { partition: 0, n, index: 0 },
            time,
            context: Context::default(),
            data: event.encode_to_vec().into(),
        };
        publish(self.bus.as_ref(), &lane, vec![envelope]).await;
    }

    /// Publishes that `orders/{order}` of `users/{user}` was delivered, as its first event.
    pub async fn deliver(&self, order: &str, user: &str) {
        let subject = format!("orders/{order}");
        let event = meshwork_api::meshwork::events::v1::OrderDelivered {
            order: subject.clone(),
            customer: format!("users/{user}"),
        };
        self.publish("orders", "order_delivered", &subject, 1, &event).await;
    }

    /// A request by `users/{user}`.
    pub fn request<T>(&self, user: &str, role: &str, message: T) -> Request<T> {
        with_token(&self.users.issuer.token(user, role), message)
    }

    /// What staff see, newest first.
    pub async fn list(&self, filter: &str) -> Vec<Notification> {
        let message = ListNotificationsRequest { filter: filter.to_owned(), ..Default::default() };
        let request = self.request("staff", "staff", message);
        self.service.client.clone().list_notifications(request).await.unwrap().into_inner().notifications
    }

    /// Waits until there are `count` notifications about `orders/{order}` in `state`, and returns them.
    pub async fn wait_for(&self, order: &str, state: State, count: usize) -> Vec<Notification> {
        let filter = format!("about = orders/{order} AND state = {}", &state.as_str_name()["STATE_".len()..]);
        eventually(async || Some(self.list(&filter).await).filter(|list| list.len() == count)).await
    }

    pub fn mail(&self) -> PathBuf {
        self.folder.path().join("data/mail")
    }

    /// The letters in the folder of mail, in order of their names.
    pub fn letters(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.mail()) else { return Vec::new() };
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
    }

    /// The service's database, as another process has it open.
    async fn database(&self) -> Sqlite {
        Sqlite::open(&self.folder.path().join("data/notifications.db"), &COMPONENTS).await.unwrap()
    }

    /// What the service has put aside.
    pub async fn parked(&self) -> Vec<String> {
        let parked = Inbox::new(self.database().await, CONSUMER).list(None, None, 9).await.unwrap();
        parked.into_iter().map(|letter| letter.event.id).collect()
    }

    /// Lets the leases of all that is under way be over.
    pub async fn end_leases(&self) {
        let db = self.database().await;
        let ended = db.write_once::<_, meshwork_sql::Error, _>(|connection| {
            Box::pin(async move {
                sqlx::query("UPDATE notification SET lease_until = 0 WHERE state = 'SENDING'")
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        ended.await.unwrap();
    }
}

pub fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Asks until there is an answer.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(BOUND, answer).await.expect("it comes true in time")
}

async fn start(folder: &TempDir, users: &Users) -> Service {
    let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = format!("http://{}", listen.address());
    let config = Config {
        listen,
        data: folder.path().join("data"),
        bus: folder.path().join("bus"),
        auth: AuthConfig {
            users: users.target.clone(),
            credentials: folder.path().join("account.json"),
            ..AuthConfig::default()
        },
        server: ServerConfig { drain_delay: std::time::Duration::ZERO, ..ServerConfig::default() },
        ..Config::default()
    };
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(meshwork_notifications::serve(config, Health::new(), shutdown.clone()));
    let channel = Channel::connect_lazy(&target).unwrap();
    let health = HealthClient::new(channel.clone());
    eventually(async || {
        let answer = health.clone().check(HealthCheckRequest::default()).await.ok()?.into_inner();
        (answer.status() == ServingStatus::Serving).then_some(())
    })
    .await;
    Service { client: NotificationServiceClient::new(channel), shutdown, task }
}
