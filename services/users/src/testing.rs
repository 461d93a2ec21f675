//! The conformance suite: what every adapter of the stores must do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod accounts;
mod erasure;
mod keys;
mod lists;
mod repeats;
mod sessions;
mod users;

use std::sync::Arc;

use crate::ports::{ApiKeyStore, SessionStore, UserStore};

/// Runs the suite; `make` gives an empty store each time.
pub async fn conformance<S: UserStore + SessionStore + ApiKeyStore>(make: impl AsyncFn() -> Arc<S>) {
    conformance_of_users(&make).await;
    sessions::a_session_opens_for_the_password_that_was_verified(&*make().await).await;
    sessions::a_token_is_good_once_and_its_copy_ends_the_session(&*make().await).await;
    sessions::a_token_is_only_its_owners(&*make().await).await;
    sessions::an_expired_token_is_refused(&*make().await).await;
    sessions::a_session_is_ended_by_any_of_its_tokens(&*make().await).await;
    sessions::a_new_password_and_a_deletion_end_the_sessions_of_one_account(&*make().await).await;
    sessions::what_has_expired_is_dropped_in_bounded_steps(&*make().await).await;
    sessions::of_racing_renewals_one_wins_and_the_session_ends(make().await).await;
    repeats::d9_a_token_gives_the_same_successor_again_while_that_is_unused(&*make().await).await;
    repeats::d9_a_token_that_comes_again_too_late_ends_the_session(&*make().await).await;
    repeats::d9_racing_renewals_of_one_token_get_one_successor(make().await).await;
    repeats::d9_a_use_of_the_successor_and_a_repeat_that_race_are_put_in_order(make().await).await;
    lists::sessions_are_listed_and_cut_into_pages(&*make().await).await;
    lists::a_session_is_ended_by_its_name(&*make().await).await;
    lists::d5_a_change_keeps_the_session_that_it_was_made_in(&*make().await).await;
    keys::a_key_is_found_by_its_digest_and_by_its_name(&*make().await).await;
    keys::an_account_that_lives_has_one_key_of_a_name(&*make().await).await;
    keys::few_keys_of_an_account_live_and_few_that_have_ended_are_kept(&*make().await).await;
    keys::a_key_is_revoked_once(&*make().await).await;
    keys::keys_are_listed_and_cut_into_pages(&*make().await).await;
    keys::d4_keys_are_of_a_deleted_account_at_once_and_erased_with_it(&*make().await).await;
    keys::keys_that_ended_long_ago_are_forgotten_in_bounded_steps(&*make().await).await;
    keys::of_racing_creations_as_many_keys_are_made_as_may_live(make().await).await;
}

/// Runs the part of the suite that is of accounts alone, for what stands before a store.
pub async fn conformance_of_users<S: UserStore>(make: &impl AsyncFn() -> Arc<S>) {
    users::an_account_is_read_back(&*make().await).await;
    users::ids_and_addresses_are_unique_and_stay_taken(&*make().await).await;
    users::a_repeated_request_gets_its_first_answer(&*make().await).await;
    users::a_refused_request_is_not_remembered(&*make().await).await;
    users::a_change_is_stored_as_it_was_decided(&*make().await).await;
    users::a_refused_change_leaves_everything(&*make().await).await;
    users::lists_are_filtered_and_cut_into_pages(&*make().await).await;
    users::an_address_goes_from_one_account_to_another_and_back(&*make().await).await;
    erasure::d4_what_was_deleted_before_is_erased_once(&*make().await).await;
    erasure::d4_nothing_of_an_erased_account_is_found_but_what_stands_for_it(&*make().await).await;
    users::of_racing_creations_one_wins(make().await).await;
    users::of_racing_creations_with_one_id_one_wins(make().await).await;
    users::of_racing_changes_to_one_address_one_is_made(make().await).await;
    users::of_racing_changes_each_sees_the_one_before(make().await).await;
}
