//! The ports over the databases of the shards (SH-).
//!
//! An account lies, with all that belongs to it, in the shard of its id; the claim on its address in the shard of the address; what
//! leads a repeated request to its account in the shard of the request. Where an account and its address share a shard, one
//! transaction writes both. Else an address is claimed first, the account uses the claim second, and what comes then may be left
//! to others:
//!
//! | it ends behind | what is left | who meets it |
//! |---|---|---|
//! | the claim | a claim that hasn't ended | waits a moment, declares it void where its account would be, and lets the address go |
//! | the account | a claim that isn't confirmed | finds that it was used, and confirms it |
//! | the confirmation of a new address | the claim on the old one | finds that the account has another, and lets the address go |
//!
//! An address that is erased is met by nobody any more: its claim counts as unconfirmed before, which the sweeper settles.
//!
//! That a claim is void stands where its account would be written, and the account's own transaction writes that it was used in the
//! same place: of the two, one wins, however late it comes. What nobody has met for a day is settled so by the sweeper.
//!
//! A claim that waits for its account's shard holds the address while that is away: so it is made only once that shard has
//! answered, and is let go when it is certain that nothing was written there.
//!
//! A request that comes with another body takes the home of the first once that was refused, or has been silent for a moment: until
//! then the first may still make its account. Who signs in while the shard of the address is away is looked for in the others.

mod addresses;
mod creation;
mod erasure;
mod history;
mod keys;
mod lists;
mod rekey;
mod search;
mod sessions;
mod store;
mod users;

pub use history::ShardedHistory;
pub use store::ShardedStore;
