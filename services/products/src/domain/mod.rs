//! What is for sale, how many pieces there are, and for whom they are kept.

mod lines;
mod pieces;
mod product;
mod refusal;
mod reservation;
mod stock;

pub use lines::{InvalidLines, Line, Lines};
pub use pieces::MAX_PIECES;
pub use product::{NewProduct, Price, Product, ProductChange};
pub use refusal::Refusal;
pub use reservation::{
    Decision, Input, OnShortage, Outcome, Reservation, ReservationEvent, Shortage, State, UnknownState, transition,
};
pub use stock::{Delta, Movement, Stock, StockChange};
