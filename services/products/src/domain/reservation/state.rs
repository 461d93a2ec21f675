//! Where a reservation stands.

use std::str::FromStr;

/// Where a reservation stands. An order without a reservation has none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The pieces are kept until the reservation expires.
    Held,
    /// The pieces belong to the order.
    Allocated,
    /// The pieces have left.
    Shipped,
    /// The order was not confirmed in time.
    Expired,
    /// The order was cancelled or rejected.
    Released,
    /// There were too few pieces.
    Rejected,
    /// The order was cancelled before its reservation was made.
    Tombstone,
}

impl State {
    /// All states.
    pub const ALL: [State; 7] = [
        State::Held,
        State::Allocated,
        State::Shipped,
        State::Expired,
        State::Released,
        State::Rejected,
        State::Tombstone,
    ];

    /// The state's word, as filters and stores have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Held => "HELD",
            State::Allocated => "ALLOCATED",
            State::Shipped => "SHIPPED",
            State::Expired => "EXPIRED",
            State::Released => "RELEASED",
            State::Rejected => "REJECTED",
            State::Tombstone => "TOMBSTONE",
        }
    }
}

/// A word is no state of a reservation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be HELD, ALLOCATED, SHIPPED, EXPIRED, RELEASED, REJECTED or TOMBSTONE")]
pub struct UnknownState;

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or(UnknownState)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_word() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert!(UnknownState.to_string().contains(state.as_str()));
        }
        assert_eq!("held".parse::<State>(), Err(UnknownState));
    }
}
