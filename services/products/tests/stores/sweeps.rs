//! Sweeps: what is past its time is let go.

use meshwork_products::app::App;
use meshwork_products::app::commands::{BATCH, OrderMessage, Swept, What};
use meshwork_products::domain::State;
use meshwork_products::testing::{HOLD, Stores, lines, order};
use time::Duration;

use crate::rooms::Room;

/// The use cases, where pieces are held for so long.
fn app(stores: &Stores, reservation_ttl: Duration) -> App {
    App { catalogue: stores.catalogue.clone(), inventory: stores.inventory.clone(), reservation_ttl }
}

async fn place(app: &App, id: &str) {
    let what = What::Created(lines(&[("lamp", 1)]));
    app.handle_order_event(OrderMessage { order: order(id), version: 1, what }).await.unwrap();
}

#[tokio::test]
async fn a_sweep_lets_go_what_is_past_its_time() {
    for room in Room::both().await {
        let stores = room.open().await;
        stores.stocked("lamp", 10).await;
        let [patient, impatient] = [HOLD, Duration::ZERO].map(|hold| app(&stores, hold));
        place(&patient, "late").await;
        assert_eq!(patient.expire_reservations().await.unwrap(), Swept { expired: 0, more: false });
        place(&impatient, "early").await;
        assert_eq!(patient.expire_reservations().await.unwrap(), Swept { expired: 1, more: false });
        assert_eq!(stores.state("early").await, Some(State::Expired));
        assert_eq!(stores.state("late").await, Some(State::Held));
        assert_eq!(patient.expire_reservations().await.unwrap(), Swept::default());
        stores.assert_sound(&["lamp"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_is_bounded_and_several_sweepers_share_the_work() {
    for room in Room::both().await {
        let (stores, others) = (room.open().await, room.open().await);
        let [one, other] = [&stores, &others].map(|stores| app(stores, Duration::ZERO));
        let orders = BATCH + 5;
        stores.stocked("lamp", i64::try_from(orders).unwrap()).await;
        let placed: Vec<_> = (0..orders)
            .map(|at| {
                let app = one.clone();
                tokio::spawn(async move { place(&app, &format!("o{at}")).await })
            })
            .collect();
        for placed in placed {
            placed.await.unwrap();
        }
        assert_eq!(one.expire_reservations().await.unwrap(), Swept { expired: BATCH, more: true });
        let (one, other) = tokio::join!(one.expire_reservations(), other.expire_reservations());
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.expired + other.expired, 5, "each is let go once");
        assert_eq!(stores.pieces("lamp").await[1], 0);
        stores.assert_sound(&["lamp"]).await;
    }
}
