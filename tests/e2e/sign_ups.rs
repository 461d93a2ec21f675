//! Several instances of the users service, with accounts on PostgreSQL: sessions that go from one to the other, and addresses
//! that two people want at once while instances end in the middle.

use std::collections::BTreeSet;
use std::time::Duration;

use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{CreateUserRequest, RefreshSessionRequest, SignInRequest, User};
use meshwork_sql::shards::slot_of;
use meshwork_testkit::Postgres;
use meshwork_testkit::up::{UNLIMITED, text};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::processes::Processes;
use crate::shop::{PATIENCE, eventually};

/// The instances.
const INSTANCES: [&str; 2] = ["users", "users-2"];
/// Where a sign-up ends whose account and address lie in different databases, between two side effects.
const POINTS: [&str; 3] = ["users::claimed", "users::created", "users::confirmed"];

/// Somebody who wants an address.
#[derive(Clone)]
struct Person {
    id: String,
    email: String,
    password: String,
    request: String,
}

impl Person {
    fn new(id: &str, email: &str) -> Self {
        let password = format!("the password of {id}");
        Self { id: id.to_owned(), email: email.to_owned(), password, request: Uuid::new_v4().to_string() }
    }

    async fn sign_up(&self, channel: Channel) -> Result<String, Status> {
        let user = User {
            email: self.email.clone(),
            display_name: "One of two".to_owned(),
            password: self.password.clone(),
            ..User::default()
        };
        let request =
            CreateUserRequest { user: Some(user), user_id: self.id.clone(), request_id: self.request.clone() };
        Ok(UserServiceClient::new(channel).create_user(request).await?.into_inner().name)
    }

    /// Asks again until it is decided: true when the account is there.
    async fn is_decided(&self, channel: Channel) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.sign_up(channel.clone()).await {
                Ok(name) => {
                    assert_eq!(name, format!("users/{}", self.id));
                    return true;
                }
                Err(status) if status.code() == Code::AlreadyExists => return false,
                Err(status) => assert!(Instant::now() < deadline, "{} was never decided: {status}", self.id),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Signs in; gives the refresh token.
    async fn sign_in(&self, channel: Channel) -> Result<String, Status> {
        let request = SignInRequest { email: self.email.clone(), password: self.password.clone() };
        Ok(AuthServiceClient::new(channel).sign_in(request).await?.into_inner().refresh_token)
    }
}

/// Renews a session.
async fn renewed(channel: Channel, refresh_token: &str) -> Result<String, Status> {
    let request = RefreshSessionRequest { refresh_token: refresh_token.to_owned() };
    Ok(AuthServiceClient::new(channel).refresh_session(request).await?.into_inner().refresh_token)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_of_users_share_their_accounts_and_sessions() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let database = postgres.database();
    let on_postgres = [("MESHWORK_USERS__POSTGRES__URL", database.as_str())];
    let settings: Vec<_> = UNLIMITED.iter().copied().chain(on_postgres).collect();
    let mut processes = Processes::several(folder.path(), &[("users", 2)], &settings);
    // The first makes the keys that both sign with.
    processes.start("users");
    processes.wait_for("users");
    processes.start_all_but(&["users"]);
    let demo = processes.demo();
    assert!(demo.status.success(), "{}", text(&demo.stderr));
    assert!(!processes.data().join("users/users.db").exists());

    let [one, two] = INSTANCES.map(|label| processes.channel(label));
    let person = Person::new("shared", "shared@example.com");
    person.sign_up(one.clone()).await.unwrap();
    for _ in 0..8 {
        let token = person.sign_in(two.clone()).await.unwrap();
        let token = renewed(one.clone(), &token).await.unwrap();
        // D9: who renews one session at two instances at the same moment gets the same next token of both.
        let both = tokio::join!(renewed(one.clone(), &token), renewed(two.clone(), &token));
        assert_eq!(both.0.unwrap(), both.1.unwrap());
    }
    processes.kill("users");
    let gateway = processes.channel("gateway");
    eventually("the other instance is called", async || person.sign_in(gateway.clone()).await.is_ok()).await;
    for _ in 0..8 {
        person.sign_in(gateway.clone()).await.unwrap();
    }
    processes.start("users");
    processes.wait_for("users");
    processes.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_gets_an_address_though_an_instance_ends_at_a_crash_point() {
    let rounds = if crate::full() { 20 } else { POINTS.len() };
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let databases = [postgres.database(), postgres.database()];
    let [north, south] = &databases;
    let shards = format!("[{{id=0,name=\"north\",url=\"{north}\"}},{{id=1,name=\"south\",url=\"{south}\"}}]");
    let settings = [("MESHWORK_USERS__SHARDS__DATABASES", shards.as_str())];
    let mut processes = Processes::several(folder.path(), &[("users", 2)], &settings);
    for label in INSTANCES {
        processes.start(label);
        processes.wait_for(label);
    }
    let names = databases.each_ref().map(|url| url.rsplit('/').next().unwrap().to_owned());
    let in_north = |space: u8| -> BTreeSet<u16> {
        let owned = postgres.sql(&names[0], &format!("SELECT slot FROM users.shard_owned WHERE space = {space}"));
        owned.lines().map(|slot| slot.parse().unwrap()).collect()
    };
    let (users_in_north, emails_in_north) = (in_north(0), in_north(1));
    let mut ids = (0..).map(|number| format!("racer-{number}"));
    let mut next = |is_in_north: bool| ids.find(|id| users_in_north.contains(&slot_of(id)) == is_in_north).unwrap();

    for round in 0..rounds {
        let point = POINTS[round % POINTS.len()];
        let victim = round / POINTS.len() % INSTANCES.len();
        let email = format!("wanted-{round}@example.com");
        // The account of the first wouldn't lie where its address is claimed; that of the second would.
        let is_north = emails_in_north.contains(&slot_of(&email));
        let people = [Person::new(&next(!is_north), &email), Person::new(&next(is_north), &email)];
        let labels = [INSTANCES[victim], INSTANCES[1 - victim]];
        let said = format!("crash point {point}\n");
        let before = processes.log(labels[0]).matches(&said).count();
        processes.stop(labels[0]);
        processes.start_with(labels[0], &[("MESHWORK_CRASH_POINT", point)]);
        processes.wait_for(labels[0]);
        let first = people[0].sign_up(processes.channel(labels[0])).await;
        first.expect_err("the process has ended before it could answer");
        eventually("the crash", async || processes.log(labels[0]).matches(&said).count() > before).await;
        // The second comes while what the first has left is young, and the first again when its process has come back.
        let second = tokio::spawn({
            let (person, channel) = (people[1].clone(), processes.channel(labels[1]));
            async move { person.is_decided(channel).await }
        });
        processes.kill(labels[0]);
        processes.start(labels[0]);
        processes.wait_for(labels[0]);
        let is_first = people[0].is_decided(processes.channel(labels[0])).await;
        let is_second = second.await.unwrap();
        assert!(is_first != is_second, "{point}: the first has it: {is_first}, the second: {is_second}");
        // Behind the claim an account is made by who comes; behind the account it is there.
        assert!(is_first || point == "users::claimed", "{point}: the account of the first is lost");
        let winner = &people[usize::from(is_second)];

        let count = format!("SELECT count(*) FROM users.users WHERE email_key = '{email}'");
        let counts = names.each_ref().map(|name| postgres.sql(name, &count).parse::<u64>().unwrap());
        assert_eq!(counts.iter().sum::<u64>(), 1, "{point}: {counts:?}");
        for person in &people {
            for label in INSTANCES {
                let answer = person.sign_in(processes.channel(label)).await;
                let has_won = winner.id == person.id;
                let is_refused = matches!(&answer, Err(status) if status.code() == Code::Unauthenticated);
                assert!(if has_won { answer.is_ok() } else { is_refused }, "{} at {label}: {answer:?}", person.id);
            }
        }
    }
}
