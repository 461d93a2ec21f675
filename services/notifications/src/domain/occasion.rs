//! Occasions to write to somebody, and the letters that go with them.

use std::fmt;

use meshwork_api::{OrderName, UserName};
use serde::{Deserialize, Serialize};

use super::Amount;

/// Which letter is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Template {
    /// Greets a new customer.
    Welcome,
    /// An order's pieces are reserved.
    OrderConfirmed,
    /// An order can't be fulfilled.
    OrderRejected,
    /// An order is on its way.
    OrderShipped,
    /// An order has arrived.
    OrderDelivered,
    /// An order was called off.
    OrderCancelled,
}

impl Template {
    /// The template's word, as contracts and stores carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Template::Welcome => "welcome",
            Template::OrderConfirmed => "order_confirmed",
            Template::OrderRejected => "order_rejected",
            Template::OrderShipped => "order_shipped",
            Template::OrderDelivered => "order_delivered",
            Template::OrderCancelled => "order_cancelled",
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened, with all that the letter tells of it. It holds no name and no address of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "template", rename_all = "snake_case")]
pub enum Occasion {
    /// A customer has registered.
    Welcome {
        /// The account.
        user: UserName,
    },
    /// An order was confirmed.
    OrderConfirmed {
        /// The order.
        order: OrderName,
        /// The sum over its lines.
        total: Option<Amount>,
    },
    /// An order was rejected.
    OrderRejected {
        /// The order.
        order: OrderName,
        /// Why; may be empty.
        reason: String,
    },
    /// An order was shipped.
    OrderShipped {
        /// The order.
        order: OrderName,
        /// The carrier's number; may be empty.
        tracking_number: String,
    },
    /// An order was delivered.
    OrderDelivered {
        /// The order.
        order: OrderName,
    },
    /// An order was cancelled.
    OrderCancelled {
        /// The order.
        order: OrderName,
        /// Why; may be empty.
        reason: String,
    },
}

impl Occasion {
    /// The letter that goes with it.
    pub const fn template(&self) -> Template {
        match self {
            Occasion::Welcome { .. } => Template::Welcome,
            Occasion::OrderConfirmed { .. } => Template::OrderConfirmed,
            Occasion::OrderRejected { .. } => Template::OrderRejected,
            Occasion::OrderShipped { .. } => Template::OrderShipped,
            Occasion::OrderDelivered { .. } => Template::OrderDelivered,
            Occasion::OrderCancelled { .. } => Template::OrderCancelled,
        }
    }

    /// The name of the resource that it is about.
    pub fn about(&self) -> String {
        match self {
            Occasion::Welcome { user } => user.to_string(),
            Occasion::OrderConfirmed { order, .. }
            | Occasion::OrderRejected { order, .. }
            | Occasion::OrderShipped { order, .. }
            | Occasion::OrderDelivered { order }
            | Occasion::OrderCancelled { order, .. } => order.to_string(),
        }
    }

    /// The subject line: one line, made of fixed words and the order's id only.
    pub fn subject(&self) -> String {
        match self {
            Occasion::Welcome { .. } => "Welcome to Meshwork".to_owned(),
            Occasion::OrderConfirmed { order, .. } => format!("Your order {} is confirmed", order.id()),
            Occasion::OrderRejected { order, .. } => format!("We can't fulfil your order {}", order.id()),
            Occasion::OrderShipped { order, .. } => format!("Your order {} is on its way", order.id()),
            Occasion::OrderDelivered { order } => format!("Your order {} has arrived", order.id()),
            Occasion::OrderCancelled { order, .. } => format!("Your order {} was cancelled", order.id()),
        }
    }

    /// The text for a person who is addressed as `display_name`.
    pub fn body(&self, display_name: &str) -> String {
        let text = match self {
            Occasion::Welcome { .. } => "Your account is ready. You can order from now on.".to_owned(),
            Occasion::OrderConfirmed { order, total } => {
                let sum = total.as_ref().map(|total| format!(" The total is {total}.")).unwrap_or_default();
                format!("We have confirmed your order {} and reserved its pieces for you.{sum}", order.id())
            }
            Occasion::OrderRejected { order, reason } => format!(
                "We are sorry: your order {} can't be fulfilled{}. You haven't been charged for it.",
                order.id(),
                because(reason)
            ),
            Occasion::OrderShipped { order, tracking_number } => {
                let tracking = one_line(tracking_number);
                let tracking = if tracking.is_empty() {
                    tracking
                } else {
                    format!(" The carrier's tracking number is {tracking}.")
                };
                format!("Your order {} has left our warehouse.{tracking}", order.id())
            }
            Occasion::OrderDelivered { order } => {
                format!("Your order {} was delivered. Thank you for buying from us.", order.id())
            }
            Occasion::OrderCancelled { order, reason } => {
                format!("Your order {} was cancelled{}.", order.id(), because(reason))
            }
        };
        format!("Hello {},\n\n{text}\n\nYours,\nMeshwork\n", one_line(display_name))
    }
}

fn because(reason: &str) -> String {
    let reason = one_line(reason);
    if reason.is_empty() { reason } else { format!(" ({reason})") }
}

/// A text by somebody else on one line, so that it can't pass for a paragraph of ours.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> [Occasion; 6] {
        let order: OrderName = "orders/7f1c".parse().unwrap();
        let total = Some(Amount { currency: "EUR".to_owned(), minor: 1999, digits: 2 });
        [
            Occasion::Welcome { user: "users/anna".parse().unwrap() },
            Occasion::OrderConfirmed { order: order.clone(), total },
            Occasion::OrderRejected { order: order.clone(), reason: text.to_owned() },
            Occasion::OrderShipped { order: order.clone(), tracking_number: text.to_owned() },
            Occasion::OrderDelivered { order: order.clone() },
            Occasion::OrderCancelled { order, reason: text.to_owned() },
        ]
    }

    #[test]
    fn letters_tell_what_happened() {
        let [welcome, confirmed, rejected, shipped, delivered, cancelled] = all("TN 42").map(|it| it.body("Anna"));
        assert!(welcome.starts_with("Hello Anna,\n"), "{welcome}");
        assert!(confirmed.contains("order 7f1c") && confirmed.contains("The total is 19.99 EUR."), "{confirmed}");
        assert!(rejected.contains("can't be fulfilled (TN 42)."), "{rejected}");
        assert!(shipped.contains("tracking number is TN 42."), "{shipped}");
        assert!(delivered.contains("7f1c was delivered."), "{delivered}");
        assert!(cancelled.contains("was cancelled (TN 42)."), "{cancelled}");
    }

    #[test]
    fn letters_leave_out_what_is_not_known() {
        let [.., rejected, shipped, _, cancelled] = all(" \n").map(|it| it.body("Anna"));
        assert!(rejected.contains("can't be fulfilled. "), "{rejected}");
        assert!(shipped.contains("left our warehouse.\n"), "{shipped}");
        assert!(cancelled.contains("was cancelled.\n"), "{cancelled}");
    }

    #[test]
    fn a_stored_occasion_is_read_back_under_the_word_of_its_template() {
        for occasion in all("why") {
            let json = serde_json::to_value(&occasion).unwrap();
            assert_eq!(json["template"], occasion.template().as_str());
            assert_eq!(serde_json::from_value::<Occasion>(json).unwrap(), occasion);
        }
    }

    proptest! {
        #[test]
        fn no_text_of_others_makes_lines(text: String, name: String) {
            for occasion in all(&text) {
                prop_assert_eq!(occasion.subject().lines().count(), 1);
                prop_assert_eq!(occasion.body(&name).lines().count(), 6);
            }
        }
    }
}
