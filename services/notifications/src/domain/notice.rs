//! What an event calls for.

use meshwork_api::{OrderName, UserName};

use super::{Amount, Occasion};

/// What an event calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Nothing.
    Nothing,
    /// A letter.
    Letter {
        /// Whom it goes to.
        recipient: UserName,
        /// What it tells.
        occasion: Occasion,
    },
    /// An order is confirmed. Its customer hears of it once the pieces are allocated: until then it may be called off for
    /// want of them.
    Confirmed {
        /// The order.
        order: OrderName,
        /// Who ordered.
        customer: UserName,
        /// The sum over its lines.
        total: Option<Amount>,
    },
    /// The pieces of a confirmed order are allocated: the letter of its confirmation goes out.
    Allocated {
        /// The order.
        order: OrderName,
    },
    /// What is personal of a deleted account is erased: what its owner was told goes too.
    Erased {
        /// The account.
        user: UserName,
    },
}
