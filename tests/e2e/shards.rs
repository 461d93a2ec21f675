//! Accounts that are spread over several databases: the whole shop on them, moves while it serves, and what `meshwork shards`
//! says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{
    CreateUserRequest, GetUserRequest, ListUsersRequest, SignInRequest, UpdateUserRequest, User,
};
use meshwork_testkit::up::{Token, UNLIMITED, text, with};
use meshwork_testkit::{Postgres, Up};
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::proof::{Audit, Load};

/// The password of the customers here.
pub const PASSWORD: &str = "a password of ten or more";
/// How many orders are placed a second, and for how long.
const ORDERS: (u32, u64) = (10, 30);

/// The database of a shard, as settings name it.
pub struct Database {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub url: String,
    /// Its replicas.
    pub replicas: Vec<String>,
}

impl Database {
    /// Databases of one server, by these names.
    pub fn all(postgres: &Postgres, names: &[&'static str]) -> Vec<Self> {
        let database = |name: &&'static str| Self { name, url: postgres.database(), replicas: Vec::new() };
        names.iter().map(database).collect()
    }
}

/// Settings that spread accounts over these databases.
pub fn spread(databases: &[Database]) -> String {
    let table = |(id, Database { name, url, replicas }): (usize, &Database)| {
        format!("[[users.shards.databases]]\nid = {id}\nname = {name:?}\nurl = {url:?}\nreplicas = {replicas:?}\n\n")
    };
    databases.iter().enumerate().map(table).collect()
}

/// An `up` by a file of settings.
struct Shop {
    up: Up,
    config: PathBuf,
}

impl Shop {
    fn start(folder: &Path, settings: &str) -> Self {
        let config = folder.join("shop.toml");
        std::fs::write(&config, settings).unwrap();
        let up = Up::try_start_with(folder, &["--config", config.to_str().unwrap()], UNLIMITED);
        Self { up: up.unwrap_or_else(|problem| panic!("{problem}")), config }
    }

    /// A command of `meshwork shards` by the same settings.
    fn shards(&self, args: &[&str]) -> Output {
        let (data, config) = (self.up.data(), self.config.to_str().unwrap());
        let settings = ["--data", data.to_str().unwrap(), "--config", config];
        tokio::task::block_in_place(|| self.up.run([&["shards"], args, &settings[..]].concat()))
    }

    /// As [`Shop::shards`], of a command that succeeds and prints JSON.
    fn told(&self, args: &[&str]) -> Value {
        let output = self.shards(&[args, &["--output", "json"]].concat());
        assert!(output.status.success(), "{args:?}: {}\n{}", text(&output.stderr), self.up.log());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The slots of a space that a shard owns, by its name.
    fn slots(&self, shard: &str, space: &str) -> BTreeSet<u16> {
        let status = self.told(&["status"]);
        let shard = status["shards"].as_array().unwrap().iter().find(|it| it["name"] == shard).unwrap();
        let spaces = shard["spaces"].as_array().unwrap();
        // A shard that owns nothing of a space doesn't speak of it.
        let Some(space) = spaces.iter().find(|it| it["space"] == space) else { return BTreeSet::new() };
        space["pieces"].as_str().unwrap().split(',').filter(|part| !part.is_empty()).flat_map(numbers).collect()
    }

    fn demo(&self) {
        let target = format!("http://{}", self.up.address("gateway"));
        let demo = tokio::task::block_in_place(|| self.up.run(["demo", "--target", &target, "--output", "json"]));
        assert!(demo.status.success(), "{}\n{}", text(&demo.stderr), self.up.log());
    }
}

/// The numbers of `7` or `0-15`.
fn numbers(part: &str) -> std::ops::RangeInclusive<u16> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    first.parse().unwrap()..=last.parse().unwrap()
}

/// The first slots of a set, as the command line takes them.
fn first(slots: &BTreeSet<u16>, count: usize) -> String {
    let first: Vec<_> = slots.iter().take(count).map(u16::to_string).collect();
    assert_eq!(first.len(), count);
    first.join(",")
}

/// A request for an account.
fn account(id: &str) -> CreateUserRequest {
    let user = User {
        email: format!("{id}@example.com"),
        display_name: format!("Customer {id}"),
        password: PASSWORD.to_owned(),
        ..User::default()
    };
    CreateUserRequest { user: Some(user), user_id: id.to_owned(), ..CreateUserRequest::default() }
}

/// Signs in and gives the token.
async fn signed_in(channel: &Channel, id: &str) -> Token {
    let request = SignInRequest { email: format!("{id}@example.com"), password: PASSWORD.to_owned() };
    let session = AuthServiceClient::new(channel.clone()).sign_in(request).await;
    let session = session.unwrap_or_else(|status| panic!("{id} can't sign in: {status}")).into_inner();
    format!("Bearer {}", session.access_token).parse().unwrap()
}

/// People who sign up, sign in, and change and read their accounts until they are told to stop; no call may fail.
struct People {
    stop: Arc<AtomicBool>,
    all: JoinSet<Vec<String>>,
}

impl People {
    fn start(up: &Up, count: usize) -> Self {
        let (stop, mut all) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for person in 0..count {
            let (channel, stop) = (up.channel(), stop.clone());
            all.spawn(async move {
                let mut accounts = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("person-{person}-{}", accounts.len());
                    live(&channel, &id).await;
                    accounts.push(id);
                }
                accounts
            });
        }
        Self { stop, all }
    }

    /// The ids of all that have signed up.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.all.join_all().await.concat()
    }
}

/// The life of one account: each step shows what the ones before have done.
async fn live(channel: &Channel, id: &str) {
    let mut users = UserServiceClient::new(channel.clone());
    let created = users.create_user(account(id)).await;
    let name = created.unwrap_or_else(|status| panic!("{id} can't sign up: {status}")).into_inner().name;
    let token = signed_in(channel, id).await;
    let renamed = User { name: name.clone(), display_name: format!("{id} again"), ..User::default() };
    let request = UpdateUserRequest { user: Some(renamed), ..UpdateUserRequest::default() };
    let updated = users.update_user(with(&token, request)).await;
    updated.unwrap_or_else(|status| panic!("{id} can't be changed: {status}"));
    let found = users.get_user(with(&token, GetUserRequest { name })).await;
    let found = found.unwrap_or_else(|status| panic!("{id} can't be read: {status}")).into_inner();
    assert_eq!(found.display_name, format!("{id} again"));
}

/// All accounts, by the lists; no shard may be missing.
async fn listed(up: &Up) -> Vec<User> {
    let (staff, mut users, mut page_token) = (up.staff().await, Vec::new(), String::new());
    loop {
        let request = ListUsersRequest { page_size: 200, page_token, ..ListUsersRequest::default() };
        let page = UserServiceClient::new(up.channel()).list_users(with(&staff, request)).await.unwrap().into_inner();
        assert_eq!(page.unreachable, Vec::<String>::new());
        users.extend(page.users);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return users;
        }
    }
}

/// Each of these accounts is there once, as it was written last, and can sign in.
async fn all_are_there(up: &Up, ids: &[String]) {
    let users = listed(up).await;
    let unique: BTreeMap<_, _> = users.iter().map(|user| (user.name.as_str(), user.display_name.as_str())).collect();
    assert_eq!(unique.len(), users.len(), "an account is listed twice");
    for id in ids {
        // What people have become is in how they live, and the others are as they were made.
        let last = if id.starts_with("person-") { format!("{id} again") } else { format!("Customer {id}") };
        assert_eq!(unique.get(format!("users/{id}").as_str()), Some(&last.as_str()), "{id}");
        signed_in(&up.channel(), id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_dies_and_slots_move_while_the_shop_serves_and_no_call_fails() {
    let mut cluster = Postgres::with_replicas(2, false);
    let (others, folder) = (Postgres::private(), tempfile::tempdir().unwrap());
    let shop_database = cluster.database();
    let mut settings = String::new();
    for service in ["products", "orders"] {
        let replicas = cluster.replica_urls(&shop_database);
        settings += &format!("[{service}.postgres]\nurl = {shop_database:?}\nreplicas = {replicas:?}\n\n");
    }
    settings += &format!("[notifications.postgres]\nurl = {shop_database:?}\n\n");
    // The first shard has replicas, the others have servers of their own.
    let first_url = cluster.database();
    let mut databases = vec![Database { name: "north", replicas: cluster.replica_urls(&first_url), url: first_url }];
    databases.extend(Database::all(&others, &["east", "south"]));
    settings += &spread(&databases);
    let shop = Shop::start(folder.path(), &settings);
    shop.demo();

    let target = format!("http://{}", shop.up.address("gateway"));
    let credentials = shop.up.data().join("credentials/staff.json");
    let mut load = Load::start(folder.path(), &target, &credentials, ORDERS, &["--cancel", "5", "--ship", "10"]);
    load.has_answers(20);
    let people = People::start(&shop.up, 3);
    cluster.replica_mut(0).kill();
    let users = shop.slots("east", "users");
    let moved = shop.told(&["move", "--space", "users", "--slots", &first(&users, 24), "--to", "north"]);
    assert_eq!(moved["moves"].as_array().map(Vec::len), Some(1), "{moved}");
    let emails = shop.slots("north", "emails");
    shop.told(&["move", "--space", "emails", "--slots", &first(&emails, 24), "--to", "south"]);
    // There and back: an account's events go on from where they were.
    shop.told(&["move", "--slots", &first(&users, 8), "--to", "east"]);
    load.has_answers(60);
    let accounts = people.stop().await;
    let history = load.history().to_owned();
    let report = load.report();
    for key in ["failed", "unknown", "unsettled"] {
        assert_eq!(report[key], 0, "{key} in {report}\n{}", shop.up.log());
    }
    Audit::of_up(&shop.up, Some(&history), "60s").holds();
    assert!(accounts.len() > 3, "too few people have lived: {}", accounts.len());
    all_are_there(&shop.up, &accounts).await;
    let owned = shop.slots("east", "users");
    assert_eq!(owned.len(), users.len() - 24 + 8, "{owned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_database_gets_its_part_by_the_plan() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let mut databases = Database::all(&postgres, &["north", "east", "south"]);
    let mut shop = Shop::start(folder.path(), &spread(&databases));
    let places: Vec<_> = shop.up.output().lines().filter(|line| line.starts_with("users ")).collect();
    assert!(places.iter().any(|line| line.contains("PostgreSQL") && line.contains("south")), "{places:?}");
    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(format!("early-{number}"));
        let request = account(ids.last().unwrap());
        UserServiceClient::new(shop.up.channel()).create_user(request).await.unwrap();
    }
    assert_eq!(shop.told(&["plan"])["moves"], serde_json::json!([]), "three are even from the start");
    assert!(shop.up.stop().success(), "{}", shop.up.log());

    databases.extend(Database::all(&postgres, &["west"]));
    let shop = Shop::start(folder.path(), &spread(&databases));
    assert!(shop.slots("west", "users").is_empty());
    let plan = shop.told(&["plan"]);
    let moves = plan["moves"].as_array().unwrap();
    assert!(moves.iter().all(|it| it["to"] == "west") && moves.len() == 6, "{plan}");
    let people = People::start(&shop.up, 2);
    let printed = shop.shards(&["move", "--planned"]);
    assert!(printed.status.success(), "{}\n{}", text(&printed.stderr), shop.up.log());
    ids.extend(people.stop().await);
    assert!((255..=257).contains(&shop.slots("west", "users").len()));
    assert!((255..=257).contains(&shop.slots("west", "emails").len()));
    assert_eq!(shop.told(&["plan"])["moves"], serde_json::json!([]));
    all_are_there(&shop.up, &ids).await;

    let status = text(&shop.shards(&["status"]).stdout);
    for word in ["north", "east", "south", "west", "users", "emails", "epoch"] {
        assert!(status.contains(word), "{word} is not in\n{status}");
    }
    assert!(!status.contains("postgres://"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_is_resumed() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let shop = Shop::start(folder.path(), &spread(&Database::all(&postgres, &["north", "south"])));
    let people = People::start(&shop.up, 2);
    let points: &[&str] = if crate::full() { &POINTS } else { &["moving::copied", "moving::fenced", "moving::given"] };
    for (round, point) in points.iter().enumerate() {
        let slots = first(&shop.slots("north", "users"), 8);
        let mut command = meshwork_testkit::up::command(&shop.up.state());
        command.args(["shards", "move", "--slots", &slots, "--to", "south", "--config"]).arg(&shop.config);
        command.arg("--data").arg(shop.up.data()).env("MESHWORK_CRASH_POINT", point);
        let killed = tokio::task::block_in_place(|| command.output().unwrap());
        assert!(text(&killed.stderr).contains("crash point"), "{point}: {}", text(&killed.stderr));
        // What others ask for waits until the half-done one is done.
        let owned = shop.slots("south", "users").len();
        let resumed = shop.shards(&["move", "--resume"]);
        assert!(resumed.status.success(), "{point}: {}", text(&resumed.stderr));
        let moved = shop.slots("south", "users");
        assert_eq!(moved.len(), 512 + 8 * (round + 1), "{point}, {owned} before it was resumed");
    }
    let nothing = shop.shards(&["move", "--resume"]);
    assert!(nothing.status.success() && text(&nothing.stdout).contains("nothing"), "{}", text(&nothing.stdout));
    let accounts = people.stop().await;
    Audit::of_up(&shop.up, None, "60s").holds();
    all_are_there(&shop.up, &accounts).await;
}

/// Where a move is killed, whatever it moves.
const POINTS: [&str; 13] = [
    "moving::journaled",
    "moving::cleaned",
    "moving::prepared",
    "moving::copied",
    "moving::followed",
    "moving::fenced",
    "moving::rested",
    "moving::compared",
    "moving::drained",
    "moving::given",
    "moving::installed",
    "moving::deleted",
    "moving::unlogged",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_moved_is_refused_with_what_would_be_right() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let shop = Shop::start(folder.path(), &spread(&Database::all(&postgres, &["north", "south"])));
    let refused = |args: &[&str]| {
        let output = shop.shards(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stdout));
        text(&output.stderr)
    };
    let unknown = refused(&["move", "--slots", "1", "--to", "west"]);
    assert!(unknown.contains("west") && unknown.contains("north") && unknown.contains("south"), "{unknown}");
    let hashed = refused(&["move", "--range", "m", "--to", "south"]);
    assert!(hashed.contains("slots"), "{hashed}");
    let split = refused(&["split", "--at", "m"]);
    assert!(split.contains("range"), "{split}");

    // In the folder there is nothing to spread.
    let folder = tempfile::tempdir().unwrap();
    let mut command = meshwork_testkit::up::command(folder.path());
    let output = command.args(["shards", "status", "--data"]).arg(folder.path().join("data")).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("users.shards"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_split_and_moved() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let databases = spread(&Database::all(&postgres, &["north", "south"]));
    let settings = format!("[users.shards]\nstrategy = \"range\"\nsplits = [\"m\"]\n\n{databases}");
    let shop = Shop::start(folder.path(), &settings);
    let mut ids = Vec::new();
    for (letter, number) in
        ["anna", "bert", "nora", "zoe-"].into_iter().flat_map(|name| (0..3).map(move |at| (name, at)))
    {
        ids.push(format!("{letter}{number}"));
        UserServiceClient::new(shop.up.channel()).create_user(account(ids.last().unwrap())).await.unwrap();
    }
    let people = People::start(&shop.up, 1);
    let split = shop.shards(&["split", "--at", "b"]);
    assert!(split.status.success(), "{}", text(&split.stderr));
    shop.told(&["move", "--range", "b", "--to", "south"]);
    ids.extend(people.stop().await);
    all_are_there(&shop.up, &ids).await;
    // Where they are, as the databases have it.
    let count = |at: usize| {
        let url = settings.lines().filter_map(|line| line.strip_prefix("url = ")).nth(at).unwrap().trim_matches('"');
        let name = url.rsplit('/').next().unwrap();
        postgres.sql(name, "SELECT count(*) FROM users.users WHERE id IN ('anna0', 'bert0', 'nora0', 'zoe-0')")
    };
    assert_eq!((count(0), count(1)), ("1".to_owned(), "3".to_owned()));
}
