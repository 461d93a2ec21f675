//! CA-2 with real caches: two processes over a remote tier in memory, in which all that goes on waits at gates.
//!
//! All orders are gone through in which the gates can let it pass, or all with a few switches between the actors. After each
//! step it is looked what the tiers would answer: never what was replaced once the writer has gone on, and to a token
//! nothing at all that was replaced.
//!
//! A deletion and the bump of a tag have no version that a late write-through could be compared with: no such writer runs
//! beside them, and the follower is who makes up for that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod explorer;
mod gates;
mod remote;
mod truth;
mod world;

use crate::remote::Fault;
use crate::world::Act::{Delete, Flush, Follow, Invalidate, Read, ReadWithToken, Tag, Write, WriteBig};
use crate::world::{Act, Script, all_orders};

const A: usize = 0;
const B: usize = 1;
/// No bound of switches.
const ALL: usize = usize::MAX;

/// The script with the article in the remote tier at the beginning, and without.
fn warm_and_cold(actors: &[(Act, usize)], switches: usize) -> [Script; 2] {
    [true, false].map(|is_warm| Script { actors: actors.to_vec(), is_warm, is_late: false, switches })
}

/// A reader, with and without a token, in the process of another actor and in the other one.
fn with_readers(others: &[(Act, usize)], switches: usize) -> Vec<Script> {
    let readers = [(Read, A), (Read, B), (ReadWithToken, A), (ReadWithToken, B)];
    readers.into_iter().flat_map(|reader| warm_and_cold(&[&[reader][..], others].concat(), switches)).collect()
}

/// No order of the scripts lets anything old be answered.
async fn hold(scripts: impl IntoIterator<Item = Script>) {
    for script in scripts {
        let outcome = all_orders(&script, None).await;
        assert!(outcome.violations.is_empty(), "{script:?}: {:#?}", outcome.violations);
        assert!(outcome.orders > 5 && outcome.found > 0, "{script:?}: {outcome:?}");
    }
}

/// An order of the scripts lets something old be answered.
async fn find(fault: Fault, scripts: impl IntoIterator<Item = Script>) {
    for script in scripts {
        if !all_orders(&script, Some(fault)).await.violations.is_empty() {
            return;
        }
    }
    panic!("{fault:?} is not found");
}

#[tokio::test(start_paused = true)]
async fn ca_2_a_filler_and_a_writer() {
    hold(with_readers(&[(Write, A)], ALL)).await;
    hold(with_readers(&[(WriteBig, A)], ALL)).await;
}

#[tokio::test(start_paused = true)]
async fn ca_2_a_filler_a_writer_and_a_flush() {
    hold(with_readers(&[(Write, A), (Flush, B)], 2)).await;
}

#[tokio::test(start_paused = true)]
async fn ca_2_a_filler_a_deleter_and_who_follows() {
    hold(with_readers(&[(Delete, A), (Follow, B)], 2)).await;
}

#[tokio::test(start_paused = true)]
async fn ca_2_a_filler_a_deleter_and_a_flush() {
    hold(with_readers(&[(Delete, A), (Flush, B)], 2)).await;
}

#[tokio::test(start_paused = true)]
async fn ca_2_a_filler_two_writers_and_what_is_invalidated_beside_them() {
    // Where there was nothing, nobody puts a value there.
    let [warm, _] = warm_and_cold(&[(Write, A), (Write, B), (Flush, A)], 2);
    hold([warm]).await;
    hold(warm_and_cold(&[(Read, A), (Write, A), (Write, B)], 2)).await;
    hold(warm_and_cold(&[(Read, A), (Write, A), (Invalidate, B)], 2)).await;
    hold(warm_and_cold(&[(Read, B), (Write, A), (Follow, B)], 2)).await;
}

#[tokio::test(start_paused = true)]
async fn ca_4_two_fillers_and_who_makes_outdated_what_they_load() {
    for readers in [[(Read, A), (Read, A)], [(Read, A), (Read, B)], [(Read, A), (ReadWithToken, A)]] {
        hold(warm_and_cold(&[readers[0], readers[1], (Delete, A)], 2)).await;
        hold(warm_and_cold(&[readers[0], readers[1], (Write, B)], 2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn ca_6_a_filler_and_the_bump_of_a_tag() {
    hold(with_readers(&[(Tag, A)], ALL)).await;
    hold(with_readers(&[(Tag, A), (Flush, B)], 2)).await;
}

#[tokio::test(start_paused = true)]
async fn ca_7_news_that_come_late() {
    for (reader, other) in [(Read, Write), (Read, Delete), (Read, Tag), (ReadWithToken, Write)] {
        let scripts = warm_and_cold(&[(reader, B), (other, A)], 2);
        hold(scripts.map(|script| Script { is_late: true, ..script })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn ca_2_all_of_them() {
    hold(warm_and_cold(&[(Read, A), (Write, A), (Invalidate, B), (Follow, B), (Flush, A)], 1)).await;
}

#[tokio::test(start_paused = true)]
async fn ca_2_fills_without_a_lease_are_found() {
    find(Fault::FillsWithoutLease, with_readers(&[(Delete, A)], ALL)).await;
}

#[tokio::test(start_paused = true)]
async fn ca_2_write_throughs_where_nothing_lies_are_found() {
    find(Fault::PutsOnNothing, warm_and_cold(&[(Write, A), (Write, B), (Flush, A)], 2)).await;
}

#[tokio::test(start_paused = true)]
async fn ca_7_write_throughs_that_tell_nobody_are_found() {
    find(Fault::PutsInSilence, with_readers(&[(Write, A)], ALL)).await;
}
