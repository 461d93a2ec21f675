//! The shop's services on NATS JetStream, each in a process of its own that is killed and stopped while events flow.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use meshwork_api::meshwork::notifications::v1::{Notification, notification};
use meshwork_api::meshwork::orders::v1::order_event::Event;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{CreateUserRequest, User};
use meshwork_testkit::up::{UNLIMITED, with};
use meshwork_testkit::{Nats, Smtp, smtp};
use tokio::task::JoinSet;
use tonic::{Response, Status};
use uuid::Uuid;

use crate::crashes::{events, unfinished_at};
use crate::nats::Shop;
use crate::processes::Processes;
use crate::shop::{PATIENCE, eventually, notifications, order_request};

/// The services that publish events or handle them, each with a method's service that the gateway has of it.
/// Notifications come first: a letter that is under way at the kill is sent again 20 seconds later.
const VICTIMS: [(&str, &str); 4] = [
    ("notifications", "meshwork.notifications.v1.NotificationService"),
    ("users", "meshwork.users.v1.UserService"),
    ("products", "meshwork.products.v1.InventoryService"),
    ("orders", "meshwork.orders.v1.OrderService"),
];
/// How many orders are placed at once around a fault.
const BURST: usize = 24;
/// The fault comes when so many of them were answered.
const ANSWERS: usize = 8;
/// How many of them must be unfinished at the moment of the fault.
const UNFINISHED: usize = 6;
/// How many customers sign up around a fault of users, whose events flow then.
const SIGN_UPS: usize = 4;
/// For how long a service stands still.
const STILL: Duration = Duration::from_secs(2);
/// How long to wait before a call that has failed is made again.
const PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL, and it is started again.
    Kill,
    /// SIGSTOP, and it goes on later.
    Freeze,
}

/// Calls again and again until there is an answer: a service may be away.
async fn answered<T, C: Future<Output = Result<Response<T>, Status>>>(call: impl Fn() -> C) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = call();
        match answer.await {
            Ok(answer) => return answer.into_inner(),
            Err(status) => assert!(Instant::now() < deadline, "there was no answer: {status}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Places orders at once. Each of the tasks ends with its order's name.
fn place(shop: &Shop, count: usize) -> JoinSet<String> {
    let (channel, mut orders) = (shop.gateway.channel(), JoinSet::new());
    for _ in 0..count {
        let mut request = order_request(&shop.product, 1, &Uuid::new_v4().to_string());
        request.order.as_mut().unwrap().customer = shop.customer.clone();
        let (channel, staff) = (channel.clone(), shop.staff.clone());
        orders.spawn(async move {
            let call = move || {
                let (mut client, request) = (OrderServiceClient::new(channel.clone()), with(&staff, request.clone()));
                async move { client.create_order(request).await }
            };
            answered(call).await.name
        });
    }
    orders
}

/// Customers sign up at once. Each of the tasks ends with the account's name.
fn sign_up(shop: &Shop, count: usize) -> JoinSet<String> {
    let (channel, mut accounts) = (shop.gateway.channel(), JoinSet::new());
    for _ in 0..count {
        let id = Uuid::new_v4();
        let user = User {
            email: format!("late-{}@example.com", id.simple()),
            display_name: "Late Customer".to_owned(),
            password: "a password of ten or more".to_owned(),
            ..User::default()
        };
        let request = CreateUserRequest { user: Some(user), request_id: id.to_string(), ..Default::default() };
        let channel = channel.clone();
        accounts.spawn(async move {
            let call = move || {
                let (mut client, request) = (UserServiceClient::new(channel.clone()), request.clone());
                async move { client.create_user(request).await }
            };
            answered(call).await.name
        });
    }
    accounts
}

/// Has a service fail while events flow. Adds the customers who have signed up meanwhile, and returns how many orders
/// were unfinished when it failed.
async fn fail(
    processes: &mut Processes,
    shop: &mut Shop,
    customers: &mut Vec<String>,
    fault: Fault,
    (victim, service): (&str, &str),
) -> usize {
    let mut accounts = sign_up(shop, if victim == "users" { SIGN_UPS } else { 0 });
    if let Some(first) = accounts.join_next().await {
        customers.push(first.unwrap());
    }
    let mut orders = place(shop, BURST);
    let mut names = Vec::new();
    while names.len() < ANSWERS {
        names.push(orders.join_next().await.unwrap().unwrap());
    }
    match fault {
        Fault::Kill => processes.kill(victim),
        Fault::Freeze => processes.freeze(victim),
    }
    let moment = SystemTime::now();
    match fault {
        Fault::Kill => processes.start(victim),
        Fault::Freeze => {
            tokio::time::sleep(STILL).await;
            processes.thaw(victim);
        }
    }
    processes.wait_for(victim);
    processes.wait_for_service("gateway", service);
    names.extend(orders.join_all().await);
    customers.extend(accounts.join_all().await);
    let unfinished = unfinished_at(&shop.gateway.channel(), &shop.staff, &names, moment).await;
    shop.orders.extend(names);
    unfinished
}

/// Whether every consumer has handled all that is in its stream.
fn is_all_handled(nats: &Nats) -> bool {
    ["ORDERS", "PRODUCTS", "USERS"].iter().all(|stream| {
        let listed = nats.api(&format!("CONSUMER.LIST.{stream}"), "");
        let consumers = listed["consumers"].as_array().unwrap_or_else(|| panic!("{stream}: {listed}"));
        assert!(!consumers.is_empty() && listed["total"] == consumers.len(), "{stream}: {listed}");
        consumers.iter().all(|consumer| consumer["num_pending"] == 0 && consumer["num_ack_pending"] == 0)
    })
}

fn is_sent(letter: &Notification) -> bool {
    letter.state() == notification::State::Sent
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_killed_while_events_flow_handle_each_once() {
    let (nats, smtp, folder) = (Nats::start(), Smtp::start(smtp::Options::default()), tempfile::tempdir().unwrap());
    let (url, server) = (nats.url(), smtp.url());
    let servers = [
        ("MESHWORK_NATS_URL", url.as_str()),
        ("MESHWORK_NOTIFICATIONS__SMTP__URL", server.as_str()),
        // The shortest: what a kill has left is sent again after it.
        ("MESHWORK_NOTIFICATIONS__LEASE", "20s"),
    ];
    let settings: Vec<_> = UNLIMITED.iter().copied().chain(servers).collect();
    let mut processes = Processes::new(folder.path(), &settings);
    processes.start_all();

    let rounds = if crate::full() { 6 } else { 1 };
    let wanted = rounds * 2 * VICTIMS.len();
    // On a machine that settles orders as fast as it answers some faults come too late, and come again.
    let at_most = wanted + wanted.div_ceil(4);
    let mut shop = Shop::open(processes.gateway(), i64::try_from(at_most * BURST).unwrap()).await;
    let mut customers = vec![shop.customer.clone()];
    let (channel, staff) = (shop.gateway.channel(), shop.staff.clone());
    let (mut faults, mut kills_of_notifications) = (0, 0);
    for round in 0..rounds {
        let each = [Fault::Kill, Fault::Freeze].into_iter().flat_map(|fault| VICTIMS.map(|victim| (fault, victim)));
        for (fault, victim) in each {
            loop {
                assert!(faults < at_most, "too few of {faults} faults met {UNFINISHED} unfinished orders");
                faults += 1;
                kills_of_notifications += usize::from(fault == Fault::Kill && victim.0 == "notifications");
                let begin = Instant::now();
                let unfinished = fail(&mut processes, &mut shop, &mut customers, fault, victim).await;
                println!("round {round}: {fault:?} {}: {unfinished} unfinished, {:?}", victim.0, begin.elapsed());
                if unfinished >= UNFINISHED {
                    break;
                }
            }
            // A kill of notifications then meets one letter at most: all orders are of one customer, who never has two
            // under way.
            eventually("the letters of welcome", async || {
                let mut letters = notifications(&channel, &staff).await;
                letters.retain(is_sent);
                customers.iter().all(|customer| letters.iter().any(|letter| letter.about == *customer))
            })
            .await;
        }
    }

    shop.all_are_confirmed().await;
    for name in &shop.orders {
        let history: Vec<_> =
            events(channel.clone(), name, &staff).await.into_iter().filter_map(|event| event.event).collect();
        let went_well =
            matches!(history[..], [Event::OrderCreated(_), Event::OrderConfirmed(_), Event::OrderAllocated(_)]);
        assert!(went_well, "{name}: {history:?}");
    }
    // One letter for each order and one of welcome for each customer, and no more once all events have been handled.
    let all = sorted(shop.orders.iter().chain(&customers).cloned().collect());
    eventually("all letters", async || {
        let letters = notifications(&channel, &staff).await;
        letters.len() >= all.len() && letters.iter().all(is_sent)
    })
    .await;
    eventually("the end of all events", async || is_all_handled(&nats)).await;
    let letters = notifications(&channel, &staff).await;
    assert_eq!(sorted(letters.iter().map(|letter| letter.about.clone()).collect()), all);
    assert!(letters.iter().all(is_sent));
    let id = |letter: &Notification| letter.name.strip_prefix("notifications/").unwrap().to_owned();
    let ids: HashSet<_> = letters.iter().map(|letter| format!("<{}@meshwork.local>", id(letter))).collect();
    let mails = smtp.mails();
    assert_eq!(mails.iter().map(|mail| mail.message_id.clone()).collect::<HashSet<_>>(), ids);
    let repeats = mails.len() - ids.len();
    assert!(repeats <= kills_of_notifications, "{repeats} letters came twice after {kills_of_notifications} kills");

    let listed = processes.run(&["deadletters", "list"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["dead_letters"], serde_json::json!([]));
    assert!(!processes.data().join("bus").exists());
    processes.audit();
}
