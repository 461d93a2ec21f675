//! The stores under test, and what the tests of them need.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::{OrderName, ProductName};
use meshwork_chassis::consistency::Freshness;
use meshwork_chassis::request::RequestKey;
use meshwork_events::{Envelope, Source};
use time::Duration;

use crate::domain::{Input, Line, Lines, NewProduct, Price, Reservation, State, Stock, StockChange};
use crate::ports::{Applied, Catalogue, Inventory, OrderEvent, ReservationFilter, StoreError};

/// How long pieces are held in these tests.
pub const HOLD: Duration = Duration::minutes(10);

/// The stores under test, over one database.
#[derive(Clone)]
pub struct Stores {
    /// The products.
    pub catalogue: Arc<dyn Catalogue>,
    /// The stocks and reservations.
    pub inventory: Arc<dyn Inventory>,
    /// What they announce.
    pub events: Arc<dyn Source>,
    /// What must hold of their tables.
    pub audit: Arc<dyn Audit>,
}

/// Looks at the tables themselves.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// What is not as it must be: the invariants I1 and I2 of events.md §4.3, the ledger, and that nobody holds pieces of
    /// what was deleted.
    async fn violations(&self) -> Vec<String>;
}

/// The product `products/{id}`.
pub fn product(id: &str) -> ProductName {
    ProductName::new(id).unwrap()
}

/// The order `orders/{id}`.
pub fn order(id: &str) -> OrderName {
    OrderName::new(id).unwrap()
}

/// A product to add.
pub fn lamp(id: &str) -> NewProduct {
    NewProduct {
        name: product(id),
        display_name: "Lamp".to_owned(),
        description: "It shines".to_owned(),
        price: Price { currency: "EUR".to_owned(), minor: 1999 },
    }
}

/// A request of `users/{principal}`, whose body is told by one byte.
pub fn request(principal: &str, method: &'static str, id: &str, body: u8) -> Option<RequestKey> {
    Some(RequestKey { principal: format!("users/{principal}"), method, id: id.to_owned(), hash: [body; 32] })
}

/// The lines of an order.
pub fn lines(lines: &[(&str, i64)]) -> Lines {
    Lines::new(lines.iter().map(|(id, quantity)| Line { product: product(id), quantity: *quantity })).unwrap()
}

/// An order is placed.
pub fn created(of: &[(&str, i64)]) -> Input {
    created_for(of, HOLD)
}

/// An order is placed whose pieces are held for a time; with one that isn't above zero, it is over at once.
pub fn created_for(of: &[(&str, i64)], hold: Duration) -> Input {
    Input::OrderCreated { lines: lines(of), hold }
}

/// An order asks again.
pub fn requested(of: &[(&str, i64)]) -> Input {
    Input::ReservationRequested { lines: lines(of), hold: HOLD }
}

/// A confirmed order asks again.
pub fn allocation_requested(of: &[(&str, i64)]) -> Input {
    Input::AllocationRequested { lines: lines(of) }
}

impl Stores {
    /// A store that is all of them.
    pub fn of<S: Catalogue + Inventory + Audit + Clone>(store: &S, events: Arc<dyn Source>) -> Self {
        let store = Arc::new(store.clone());
        Self { catalogue: store.clone(), inventory: store.clone(), events, audit: store }
    }

    /// Adds a product with pieces.
    pub async fn stocked(&self, id: &str, pieces: i64) {
        self.catalogue.create(lamp(id), None).await.unwrap();
        if pieces > 0 {
            let change = StockChange::Receive { quantity: pieces };
            self.inventory.change_stock(product(id), change, None).await.unwrap();
        }
    }

    /// Applies an order's event.
    pub async fn hear(&self, id: &str, version: i64, input: Input) -> Applied {
        self.hear_of(id, version, Some(input)).await
    }

    /// Applies an order's event; `None` for one that doesn't concern its reservation.
    pub async fn hear_of(&self, id: &str, version: i64, input: Option<Input>) -> Applied {
        self.inventory.apply(OrderEvent { order: order(id), version, input }).await.unwrap()
    }

    /// A product's pieces: available, held, allocated, shipped.
    pub async fn pieces(&self, id: &str) -> [i64; 4] {
        let Stock { available, held, allocated, shipped, .. } =
            self.inventory.stock(&product(id), Freshness::Latest).await.unwrap();
        [available, held, allocated, shipped]
    }

    /// An order's reservation.
    pub async fn reservation(&self, id: &str) -> Option<Reservation> {
        let filter = ReservationFilter { order: Some(order(id)), ..ReservationFilter::default() };
        let page = self
            .inventory
            .reservations(&filter, &PageRequest { size: 10, after: None }, Freshness::Latest)
            .await
            .unwrap();
        page.items.into_iter().next()
    }

    /// Where an order's reservation stands.
    pub async fn state(&self, id: &str) -> Option<State> {
        self.reservation(id).await.map(|reservation| reservation.state)
    }

    /// All that was announced about an aggregate, in order.
    pub async fn told(&self, subject: &str) -> Vec<Envelope> {
        let mut told = self.all_told().await;
        told.retain(|event| event.subject == subject);
        told
    }

    /// The types of what was announced about an order's reservation.
    pub async fn types(&self, id: &str) -> Vec<String> {
        let told = self.told(&format!("reservations/{id}")).await;
        told.into_iter().map(|event| event.event_type).collect()
    }

    /// All that was announced, by partition and position.
    pub async fn all_told(&self) -> Vec<Envelope> {
        let mut told = Vec::new();
        for partition in self.events.partitions() {
            told.extend(self.events.read(partition, 1, usize::MAX).await.unwrap().events);
        }
        told
    }

    /// All reservations.
    pub async fn all_reservations(&self) -> Vec<Reservation> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let request = PageRequest { size: 100, after };
            let Page { items, next } =
                self.inventory.reservations(&Default::default(), &request, Freshness::Latest).await.unwrap();
            found.extend(items);
            match next {
                Some(next) => after = Some(next),
                None => return found,
            }
        }
    }

    /// Holds the invariants of events.md §4.3 against what is stored: I1, I2, I3 for these products, and I7 for all
    /// events.
    pub async fn assert_sound(&self, products: &[&str]) {
        assert_eq!(self.audit.violations().await, Vec::<String>::new());
        let reservations = self.all_reservations().await;
        for id in products {
            let stock = self.inventory.stock(&product(id), Freshness::Latest).await.unwrap();
            assert!(stock.is_sound(), "I1: {stock:?}");
            let sum = |state| -> i64 {
                let lines = reservations.iter().filter(|found| found.state == state).flat_map(|found| &found.lines);
                lines.filter(|line| line.product == product(id)).map(|line| line.quantity).sum()
            };
            let sums = [sum(State::Held), sum(State::Allocated), sum(State::Shipped)];
            assert_eq!([stock.held, stock.allocated, stock.shipped], sums, "I2 of {id}");
            assert!(sums.iter().sum::<i64>() <= stock.received, "I3 of {id}");
        }
        let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for event in self.all_told().await {
            versions.entry(event.subject).or_default().push(event.version);
        }
        for (subject, versions) in &versions {
            let expected: Vec<_> = (1..).take(versions.len()).collect();
            assert_eq!(*versions, expected, "I7: the versions of {subject}");
        }
        for reservation in &reservations {
            let told = versions.get(&format!("reservations/{}", reservation.order.id())).map_or(0, Vec::len);
            assert_eq!(reservation.version, i64::try_from(told).unwrap(), "{reservation:?}");
        }
    }
}

/// The refusal in an error.
pub(super) fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> crate::domain::Refusal {
    match result {
        Err(StoreError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}
