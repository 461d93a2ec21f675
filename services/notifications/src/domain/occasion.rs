//! Occasions to write to somebody, and the letters that go with them.

use std::fmt;

use meshwork_api::{OrderName, UserName};
use serde::{Deserialize, Serialize};

use super::{Amount, Content, Fact, Line};

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

    /// What the letter tells a person who is addressed as `display_name`.
    pub fn body(&self, display_name: &str) -> Content {
        let paragraphs: Vec<&'static str> = match self {
            Occasion::Welcome { .. } => vec!["Your account is ready. You can order from now on."],
            Occasion::OrderConfirmed { .. } => vec![
                "Your order is confirmed, and all of its pieces are set aside for you.",
                "We write again when it leaves our warehouse.",
            ],
            Occasion::OrderRejected { .. } => {
                vec!["We are sorry: your order can't be fulfilled. You haven't been charged for it."]
            }
            Occasion::OrderShipped { .. } => vec!["Your order has left our warehouse."],
            Occasion::OrderDelivered { .. } => vec!["Your order was delivered. Thank you for buying from us."],
            Occasion::OrderCancelled { .. } => vec!["Your order was cancelled."],
        };
        Content { name: Line::of(display_name), paragraphs, facts: self.facts() }
    }

    /// What is known of it. What is empty is left out.
    fn facts(&self) -> Vec<Fact> {
        let (order, more) = match self {
            Occasion::Welcome { .. } => return Vec::new(),
            Occasion::OrderConfirmed { order, total } => {
                (order, ("Total", total.as_ref().map(Amount::to_string).unwrap_or_default()))
            }
            Occasion::OrderRejected { order, reason } | Occasion::OrderCancelled { order, reason } => {
                (order, ("Reason", reason.clone()))
            }
            Occasion::OrderShipped { order, tracking_number } => (order, ("Tracking number", tracking_number.clone())),
            Occasion::OrderDelivered { order } => (order, ("", String::new())),
        };
        let facts = [("Order", order.id().to_owned()), more];
        let facts = facts.into_iter().map(|(label, value)| Fact { label, value: Line::of(&value) });
        facts.filter(|fact| !fact.value.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
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

    /// The facts of a letter, as `label: value`.
    fn facts(occasion: &Occasion) -> Vec<String> {
        occasion.body("Anna").facts.iter().map(|fact| format!("{}: {}", fact.label, fact.value)).collect()
    }

    #[test]
    fn letters_tell_what_happened() {
        let [welcome, confirmed, rejected, shipped, delivered, cancelled] = all("TN 42");
        assert_eq!(welcome.body("Anna").greeting(), "Hello Anna,");
        assert_eq!(welcome.body(" \n").greeting(), "Hello,");
        assert!(facts(&welcome).is_empty());
        assert_eq!(facts(&confirmed), ["Order: 7f1c", "Total: 19.99 EUR"]);
        assert_eq!(facts(&rejected), ["Order: 7f1c", "Reason: TN 42"]);
        assert_eq!(facts(&shipped), ["Order: 7f1c", "Tracking number: TN 42"]);
        assert_eq!(facts(&delivered), ["Order: 7f1c"]);
        assert_eq!(facts(&cancelled), ["Order: 7f1c", "Reason: TN 42"]);
    }

    #[test]
    fn a_confirmed_order_has_its_pieces() {
        let [_, confirmed, ..] = all("");
        assert!(confirmed.body("Anna").paragraphs[0].ends_with("all of its pieces are set aside for you."));
    }

    #[test]
    fn letters_leave_out_what_is_not_known() {
        for occasion in all(" \n").iter().skip(2) {
            assert_eq!(facts(occasion), ["Order: 7f1c"]);
        }
    }

    #[test]
    fn a_stored_occasion_is_read_back_under_the_word_of_its_template() {
        for occasion in all("why") {
            let json = serde_json::to_value(&occasion).unwrap();
            assert_eq!(json["template"], occasion.template().as_str());
            assert_eq!(serde_json::from_value::<Occasion>(json).unwrap(), occasion);
        }
    }

    #[test]
    fn subjects_are_one_line() {
        assert!(all("a\r\nb").iter().all(|occasion| occasion.subject().lines().count() == 1));
    }
}
