//! Two instances of notifications that are killed while they send.

use std::collections::HashMap;

use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_testkit::up::{UNLIMITED, with};
use meshwork_testkit::{Postgres, Smtp, smtp};

use crate::processes::Processes;
use crate::shop::{add_product, eventually, order_request};

/// How many orders are placed between two kills. Each has its own customer's address in turn.
const ORDERS: usize = 8;
const CUSTOMERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_repeated_by_a_kill_only_and_under_its_own_id() {
    let (postgres, smtp) = (Postgres::durable(), Smtp::start(smtp::Options::default()));
    let folder = tempfile::tempdir().unwrap();
    let (database, server) = (postgres.database(), smtp.url());
    let servers = [
        ("MESHWORK_NOTIFICATIONS__POSTGRES__URL", database.as_str()),
        ("MESHWORK_NOTIFICATIONS__SMTP__URL", server.as_str()),
        // The shortest: what a kill has left is sent again after it.
        ("MESHWORK_NOTIFICATIONS__LEASE", "20s"),
    ];
    let settings: Vec<_> = UNLIMITED.iter().copied().chain(servers).collect();
    let mut processes = Processes::several(folder.path(), &[("notifications", 2)], &settings);
    processes.start_all();
    let gateway = processes.gateway();
    let (channel, staff) = (gateway.channel(), gateway.staff().await);
    let kills = if crate::full() { 12 } else { 3 };
    let product = add_product(channel.clone(), &staff, "letters", i64::try_from(kills * ORDERS).unwrap()).await;
    let mut customers = Vec::new();
    for customer in 0..CUSTOMERS {
        customers.push(gateway.sign_up(&format!("reader-{customer}")).await);
    }
    for kill in 0..kills {
        for at in 0..ORDERS {
            let mut request = order_request(&product, 1, "");
            request.order.as_mut().unwrap().customer = customers[at % CUSTOMERS].clone();
            OrderServiceClient::new(channel.clone()).create_order(with(&staff, request)).await.unwrap();
        }
        let victim = ["notifications", "notifications-2"][kill % 2];
        let before = smtp.mails().len();
        eventually("letters", async || smtp.mails().len() > before).await;
        processes.kill(victim);
        processes.start(victim);
        processes.wait_for(victim);
    }
    let name = database.rsplit('/').next().unwrap();
    let letters = CUSTOMERS + kills * ORDERS;
    let sent = async || {
        postgres.sql(name, "SELECT count(*) FROM notifications.notification WHERE state = 'SENT'")
            == letters.to_string()
    };
    eventually("all letters", sent).await;

    assert_eq!(postgres.sql(name, "SELECT count(*) FROM notifications.notification"), letters.to_string());
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut repeats: HashMap<String, usize> = HashMap::new();
    for mail in smtp.mails() {
        let count = counts.entry(mail.message_id.clone()).or_default();
        *count += 1;
        if *count > 1 {
            *repeats.entry(mail.to.join(",")).or_default() += 1;
        }
    }
    // Exactly one Message-ID per row.
    let rows = postgres.sql(name, "SELECT id FROM notifications.notification");
    let mut ids: Vec<_> = rows.lines().map(|id| format!("<{id}@meshwork.local>")).collect();
    let mut message_ids: Vec<_> = counts.keys().cloned().collect();
    ids.sort();
    message_ids.sort();
    assert_eq!(message_ids, ids);
    // One letter to each recipient is under way at most, and all of these may come again after a kill.
    assert!(repeats.values().all(|repeats| *repeats <= kills), "after {kills} kills: {repeats:?}");
    processes.audit();
}
