//! The table of attacks.

use std::pin::Pin;

use super::world::Scene;
use super::{
    connections, deadlines, frames, http_bodies, http_floods, http_withheld, malformed, numbers, oversized, streams,
    unusual, withheld,
};

/// An attack that is running.
type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that a caller does to the shop.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// The row of the findings that tells of it.
    pub(crate) row: &'static str,
    /// Whether it may succeed still: it belongs to a later issue.
    pub(crate) known: bool,
    /// How long it goes on.
    pub(crate) millis: u64,
    pub(crate) run: fn(Scene) -> Running,
    /// What the attacker may be given at most, whatever it does to the second caller.
    pub(crate) most: Option<(&'static str, u64)>,
    /// The statuses by which HTTP may answer; empty: nobody asks.
    statuses: &'static [u16],
}

impl Attack {
    const fn at_most(mut self, what: &'static str, count: u64) -> Self {
        self.most = Some((what, count));
        self
    }

    const fn answered_by(mut self, statuses: &'static [u16]) -> Self {
        self.statuses = statuses;
        self
    }

    /// Whether the attacker may be answered so.
    pub(crate) fn allows(&self, answer: &str) -> bool {
        let status = answer.strip_prefix("HTTP ").and_then(|status| status.parse().ok());
        status.is_none_or(|status| self.statuses.is_empty() || self.statuses.contains(&status))
    }
}

/// An attack against which the shop must hold.
const fn holds(name: &'static str, row: &'static str, millis: u64, run: fn(Scene) -> Running) -> Attack {
    Attack { name, row, known: false, millis, run, most: None, statuses: &[] }
}

/// An attack that is known to succeed.
const fn known(name: &'static str, row: &'static str, millis: u64, run: fn(Scene) -> Running) -> Attack {
    Attack { name, row, known: true, millis, run, most: None, statuses: &[] }
}

/// All attacks, in the order in which they are run. Those that wait for the shop's own timeouts, three seconds for an attempt,
/// take longer than those.
pub(crate) const ATTACKS: &[Attack] = &[
    holds("no body, by nobody", "S17", 4000, |scene| Box::pin(withheld::no_body_by_nobody(scene))),
    holds("no body, by one account", "S17", 4000, |scene| Box::pin(withheld::no_body_by_an_account(scene))),
    holds("messages without their end", "S17", 4000, |scene| Box::pin(withheld::no_end(scene))),
    holds("one byte each 100 ms", "S17", 4000, |scene| Box::pin(withheld::drip(scene))),
    holds("4 MiB but for a byte, 100 times", "S17", 3500, |scene| Box::pin(withheld::almost_all(scene))),
    holds("no body within a second", "S17, C6", 2500, |scene| Box::pin(withheld::deadlines(scene))),
    holds("watches of 300 ms", "C6", 2000, |scene| Box::pin(deadlines::short_watches(scene))),
    holds("calls of 0, 1, 20 and 200 ms", "C6", 2000, |scene| Box::pin(deadlines::short_calls(scene))),
    holds("calls reset by the hundred", "C6", 1000, |scene| Box::pin(deadlines::cancelled(scene))),
    holds("an update mask of 4 MiB", "D1", 4000, |scene| Box::pin(oversized::mask_of_4_mib(scene))),
    holds("update masks of 1,000 paths", "D1, C16", 1000, |scene| Box::pin(oversized::mask_of_1000_paths(scene))),
    holds("batches of bad and of 10,000 names", "D1, C16", 2000, |scene| Box::pin(oversized::bad_batches(scene))),
    holds("orders of bad lines, filters of 20 KB", "D1, C16", 1000, |scene| Box::pin(oversized::bad_orders(scene))),
    holds("long texts in all fields", "D1, C16", 1000, |scene| Box::pin(oversized::long_fields(scene))),
    holds("paths of 8 KiB, metadata of 15 KiB", "C16", 1000, |scene| Box::pin(oversized::long_heads(scene))),
    holds("watches of forty accounts", "S2", 4000, |scene| Box::pin(streams::watches(scene))),
    holds("reflection without a message", "S2, S17", 1000, |scene| Box::pin(streams::reflection(scene))),
    holds("messages that are no protobuf", "C6", 1000, |scene| Box::pin(malformed::garbage(scene))),
    holds("flags and encodings that don't fit", "C6", 1000, |scene| Box::pin(malformed::compression(scene))),
    holds("no message, two, and a half", "C6", 1000, |scene| Box::pin(malformed::message_count(scene))),
    holds("headers that gRPC forbids", "C6, S14", 2000, |scene| Box::pin(malformed::headers(scene))),
    holds("forged and broken tokens", "S5", 1000, |scene| Box::pin(malformed::tokens(scene))),
    holds("trailers in requests", "C6, S16", 1000, |scene| Box::pin(malformed::trailers(scene))),
    holds("metadata at the limit", "S16", 1000, |scene| Box::pin(numbers::metadata_at_the_limit(scene)))
        .at_most("UNAVAILABLE", 0),
    holds("frames in a wrong order", "C6", 1000, |scene| Box::pin(frames::wrong_frames(scene))),
    holds("connections opened and dropped", "S4", 1000, |scene| Box::pin(connections::churn(scene))),
    holds("200 connections that never speak", "S4", 1000, |scene| Box::pin(connections::silent(scene))),
    holds("numbers from the ends of their ranges", "D1", 1000, |scene| Box::pin(unusual::extremes(scene))),
    holds("forged page tokens", "D1", 1000, |scene| Box::pin(unusual::forged_pages(scene))),
    holds("many calls about one thing", "C6", 1000, |scene| Box::pin(unusual::collisions(scene))),
    holds("2,000 health watches", "S3", 3000, |scene| Box::pin(numbers::health_watches(scene)))
        .at_most("held to the end", 1000),
    holds("3,000 connections from one address", "S4", 4000, |scene| Box::pin(numbers::held_connections(scene)))
        .at_most("held to the end", 1500),
    holds("forged tokens, as many as go", "S5", 4000, |scene| Box::pin(numbers::forged_tokens(scene))),
    holds("answers that nobody reads", "S7", 4000, |scene| Box::pin(numbers::unread_answers(scene))),
    holds("20,000 questions on one stream", "S13", 4000, |scene| Box::pin(numbers::reflection_flood(scene)))
        .at_most("KiB answered", 20_000),
    // Eight addresses with a hundred each, and what comes back meanwhile: no more passwords than that are hashed for them.
    holds("800 sign-ins in flight", "S18, D10", 6000, |scene| Box::pin(numbers::sign_ins(scene)))
        .at_most("UNAUTHENTICATED", 1000),
    holds("2,000 metadata fields", "S19", 2000, |scene| Box::pin(numbers::many_fields(scene)))
        .at_most("beside it: broken", 0),
    // Over HTTP/1.1, and over HTTP/2 in what isn't gRPC. What doesn't come is answered late or not at all, by 408, or 400 or 504
    // in Connect's words; and by 429 or 503 where there is no room for it.
    holds("HTTP/1.1 heads without an end", "HTTP", 2500, |scene| Box::pin(http_withheld::heads(scene)))
        .answered_by(&[400, 408, 431, 503]),
    holds("HTTP/1.1 bodies without an end", "HTTP", 3000, |scene| Box::pin(http_withheld::bodies(scene)))
        .answered_by(&[200, 400, 401, 404, 405, 408, 413, 415, 429, 431, 503, 504]),
    holds("JSON, Connect, gRPC-Web without an end", "HTTP", 3000, |scene| Box::pin(http_withheld::streams(scene)))
        .answered_by(&[200, 400, 401, 404, 405, 408, 413, 415, 429, 503, 504]),
    holds("4 MiB but for a byte, over HTTP/1.1", "HTTP", 2500, |scene| Box::pin(http_withheld::almost_all(scene)))
        .answered_by(&[400, 408, 413, 429, 503, 504]),
    holds("bombs of gzip", "HTTP", 2000, |scene| Box::pin(http_bodies::bombs(scene)))
        .answered_by(&[200, 400, 401, 404, 413, 415, 429, 501]),
    holds("JSON that is deep, wide and long", "HTTP", 2500, |scene| Box::pin(http_bodies::json(scene)))
        .answered_by(&[400, 401, 413, 429]),
    holds("queries of thousands of parameters", "HTTP", 1500, |scene| Box::pin(http_bodies::queries(scene)))
        .answered_by(&[200, 400, 401, 404, 405, 414, 415, 429, 431]),
    holds("many headers, and large ones", "HTTP", 1500, |scene| Box::pin(http_bodies::headers(scene)))
        .answered_by(&[200, 400, 401, 429, 431]),
    holds("no base64, cut frames, no envelopes", "HTTP", 1500, |scene| Box::pin(http_bodies::envelopes(scene)))
        .answered_by(&[200, 400, 401, 404, 413, 415, 429, 501]),
    holds("methods and upgrades of HTTP", "HTTP", 1000, |scene| Box::pin(http_floods::methods(scene)))
        .answered_by(&[200, 400, 401, 404, 405, 415, 429, 501]),
    holds("requests in requests", "HTTP", 1000, |scene| Box::pin(http_floods::smuggled(scene)))
        .answered_by(&[400, 401, 429, 501])
        .at_most("smuggled", 0),
    holds("calls over HTTP/1.1, as many as go", "HTTP", 2000, |scene| Box::pin(http_floods::requests(scene)))
        .answered_by(&[200, 429]),
    holds("404, preflights, documents without number", "HTTP", 2000, |scene| {
        Box::pin(http_floods::without_calls(scene))
    })
    .answered_by(&[200, 204, 304, 403, 404, 405, 429]),
    holds("3,000 kept connections of HTTP/1.1", "HTTP", 2500, |scene| Box::pin(http_floods::kept_connections(scene)))
        .at_most("held to the end", 1500),
    holds("large answers that nobody reads", "HTTP", 2500, |scene| Box::pin(http_floods::unread(scene))),
    holds("watches by lines, events and Connect", "HTTP", 4000, |scene| Box::pin(http_floods::watches(scene)))
        .answered_by(&[200, 401, 429, 503]),
    known("4 KiB that are two million names", "HTTP", 2500, |scene| Box::pin(http_bodies::packed_lists(scene)))
        .answered_by(&[200, 400, 429]),
];
