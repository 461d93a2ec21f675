//! What `meshwork cache` prints.

use std::fmt::Write as _;
use std::time::Duration;

use meshwork_api::meshwork::admin::v1::cache_stats::Link;
use meshwork_api::meshwork::admin::v1::invalidate_cache_request::What;
use meshwork_api::meshwork::admin::v1::{CacheStats, KindStats};
use serde_json::{Value, json};

use crate::cli::Caching;
use crate::terminal::line;

/// The columns behind the kind's name: what they are, and how wide.
const COLUMNS: [(&str, usize); 11] = [
    ("local", 8),
    ("remote", 8),
    ("hit rate", 8),
    ("loads", 7),
    ("failed", 6),
    ("mean load", 9),
    ("coalesced", 9),
    ("stale", 5),
    ("dropped", 7),
    ("entries", 7),
    ("bytes", 9),
];

/// What services have counted: a table of its kinds for each, with what a number needs to be understood.
pub fn stats_text(counted: &[(Caching, CacheStats)]) -> String {
    let mut text = String::new();
    for (service, stats) in counted {
        writeln!(text, "{}: {}", service.as_str(), state(stats)).ok();
        if !stats.problem.is_empty() {
            writeln!(text, "  last problem: {}", line(&stats.problem)).ok();
        }
        if !stats.kinds.is_empty() {
            text.push('\n');
            row(&mut text, "kind", COLUMNS.map(|(name, _)| name.to_owned()));
            for kind in &stats.kinds {
                row(&mut text, &line(&kind.kind), cells(kind));
            }
            for kind in &stats.kinds {
                notes(&mut text, kind);
            }
        }
        text.push('\n');
    }
    writeln!(text, "since its start, of one instance of each service: others count for themselves").ok();
    text
}

/// How a service stands to Redis.
fn state(stats: &CacheStats) -> String {
    if !stats.enabled {
        return "no cache, by its settings".to_owned();
    }
    let told = if stats.tracking { "changes by others are told" } else { "changes by others aren't told" };
    let link = match stats.link() {
        Link::None => return "in process alone, without Redis".to_owned(),
        Link::Up => format!("Redis is up, {told}"),
        Link::CatchingUp => "Redis is back and catches up, and isn't read yet".to_owned(),
        Link::Down => "Redis is away, and isn't read".to_owned(),
        Link::Unspecified => "it doesn't tell how it stands to Redis".to_owned(),
    };
    let outages = match stats.outages {
        0 => "never lost".to_owned(),
        1 => "lost once".to_owned(),
        outages => format!("lost {outages} times"),
    };
    let queued = match stats.queued_invalidations {
        0 => String::new(),
        queued => format!("; {queued} invalidations wait for it"),
    };
    format!("{link}; {outages}{queued}")
}

fn row(text: &mut String, kind: &str, cells: [String; COLUMNS.len()]) {
    let mut line = format!("  {kind:<13}");
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        write!(line, "  {cell:>width$}").ok();
    }
    writeln!(text, "{}", line.trim_end()).ok();
}

fn cells(kind: &KindStats) -> [String; COLUMNS.len()] {
    [
        kind.local_hits.to_string(),
        kind.remote_hits.to_string(),
        hit_rate(kind).map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0)),
        kind.loads.to_string(),
        kind.failed_loads.to_string(),
        mean_load(kind).map_or_else(|| "-".to_owned(), millis),
        kind.coalesced.to_string(),
        kind.stale.to_string(),
        kind.invalidations.to_string(),
        kind.local_entries.to_string(),
        kind.local_bytes.to_string(),
    ]
}

/// Below the table: why reads missed, and what else has occurred.
fn notes(text: &mut String, kind: &KindStats) {
    let name = line(&kind.kind);
    let misses: Vec<_> = kind.misses.iter().filter(|(_, count)| **count > 0).collect();
    if !misses.is_empty() {
        let misses: Vec<_> = misses.iter().map(|(why, count)| format!("{count} {}", line(why))).collect();
        writeln!(text, "  {name} missed: {}", misses.join(", ")).ok();
    }
    let others = [
        (kind.puts, "written by a change"),
        (kind.refreshes, "refreshed early"),
        (kind.negatives, "kept as absent"),
        (kind.oversized, "too large to keep"),
        (kind.refused_fills, "overtaken by a change"),
    ];
    let mut others: Vec<_> =
        others.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if let Some(oldest) = kind.oldest_hit.and_then(time).filter(|oldest| !oldest.is_zero()) {
        others.push(format!("the oldest answer was of {:.1} s ago", oldest.as_secs_f64()));
    }
    if !others.is_empty() {
        writeln!(text, "  {name} also: {}", others.join(", ")).ok();
    }
}

/// The share of reads that a cache has answered; `None` when nothing was read.
fn hit_rate(kind: &KindStats) -> Option<f64> {
    let hits = kind.local_hits.saturating_add(kind.remote_hits);
    let reads = kind.misses.values().fold(hits, |reads, misses| reads.saturating_add(*misses));
    (reads > 0).then(|| hits as f64 / reads as f64)
}

/// How long a load took; `None` when there was none.
fn mean_load(kind: &KindStats) -> Option<Duration> {
    let loads = u32::try_from(kind.loads).ok().filter(|loads| *loads > 0)?;
    Some(kind.load_time.and_then(time)? / loads)
}

/// A time that isn't before its beginning.
fn time(time: impl TryInto<Duration>) -> Option<Duration> {
    time.try_into().ok()
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// What services have counted, as JSON, and which could not be asked, each with why.
pub fn stats_json(counted: &[(Caching, CacheStats)], unasked: &[(Caching, &str)]) -> Value {
    let services = counted.iter().map(|(service, stats)| {
        json!({
            // Who was asked, whatever the answer says.
            "service": service.as_str(),
            "enabled": stats.enabled,
            "link": link_word(stats.link()),
            "tracking": stats.tracking,
            "problem": stats.problem,
            "outages": stats.outages,
            "queued_invalidations": stats.queued_invalidations,
            "kinds": stats.kinds.iter().map(kind_json).collect::<Vec<_>>(),
        })
    });
    let unasked = unasked.iter().map(|(service, why)| json!({ "service": service.as_str(), "reason": why }));
    json!({ "services": services.collect::<Vec<_>>(), "unasked": unasked.collect::<Vec<_>>() })
}

fn link_word(link: Link) -> &'static str {
    match link {
        Link::Unspecified => "unspecified",
        Link::None => "none",
        Link::Down => "down",
        Link::CatchingUp => "catching_up",
        Link::Up => "up",
    }
}

fn kind_json(kind: &KindStats) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "kind": kind.kind,
        "local_hits": kind.local_hits,
        "remote_hits": kind.remote_hits,
        "hit_rate": hit_rate(kind),
        "misses": kind.misses,
        "loads": kind.loads,
        "failed_loads": kind.failed_loads,
        "load_time_s": seconds(kind.load_time.and_then(time)),
        "coalesced": kind.coalesced,
        "stale": kind.stale,
        "refreshes": kind.refreshes,
        "negatives": kind.negatives,
        "oversized": kind.oversized,
        "refused_fills": kind.refused_fills,
        "puts": kind.puts,
        "invalidations": kind.invalidations,
        "local_entries": kind.local_entries,
        "local_bytes": kind.local_bytes,
        "oldest_hit_s": seconds(kind.oldest_hit.and_then(time)),
    })
}

/// A service that has dropped something.
#[derive(Clone, Copy, Debug)]
pub struct Dropped {
    pub service: Caching,
    pub propagation: Propagation,
}

/// Whether Redis, and with it the other instances, has heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// It has, or there is none.
    Done,
    /// It is away, and will be told before it is read again.
    Queued,
    /// The service doesn't tell how it stands to it.
    Unknown,
}

/// The services of which it is so.
fn by(dropped: &[Dropped], propagation: Propagation) -> Vec<&'static str> {
    dropped
        .iter()
        .filter(|dropped| dropped.propagation == propagation)
        .map(|dropped| dropped.service.as_str())
        .collect()
}

/// What was dropped, and by whom, and whether it may still be elsewhere.
pub fn dropped_text(what: &What, dropped: &[Dropped]) -> String {
    let services: Vec<_> = dropped.iter().map(|dropped| dropped.service.as_str()).collect();
    let what = match what {
        What::Key(key) => line(key),
        What::Tag(tag) => format!("everything with the tag {}", line(tag)),
        What::Kind(kind) => format!("everything of the kind {}", line(kind)),
    };
    let mut text = format!("{what} is dropped by {}\n", services.join(" and "));
    let [queued, unknown] =
        [Propagation::Queued, Propagation::Unknown].map(|propagation| by(dropped, propagation).join(" and "));
    if !queued.is_empty() {
        writeln!(text, "Redis isn't in reach of {queued}: it will be told when it is back, and isn't read before").ok();
    }
    if !unknown.is_empty() {
        writeln!(text, "whether Redis is in reach of {unknown} can't be asked: `meshwork cache stats` shows it").ok();
    }
    text
}

/// As [`dropped_text`], as JSON.
pub fn dropped_json(dropped: &[Dropped]) -> Value {
    json!({
        "services": dropped.iter().map(|dropped| dropped.service.as_str()).collect::<Vec<_>>(),
        "redis_queued": by(dropped, Propagation::Queued),
        "redis_unknown": by(dropped, Propagation::Unknown),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn kind() -> KindStats {
        KindStats {
            kind: "products".to_owned(),
            local_hits: 700,
            remote_hits: 200,
            misses: BTreeMap::from([
                ("absent".to_owned(), 60),
                ("expired".to_owned(), 0),
                ("not_fresh".to_owned(), 40),
            ]),
            loads: 80,
            load_time: Duration::from_millis(120).try_into().ok(),
            oldest_hit: Duration::from_millis(29_640).try_into().ok(),
            coalesced: 20,
            puts: 3,
            invalidations: 5,
            local_entries: 42,
            local_bytes: 8_400,
            ..KindStats::default()
        }
    }

    fn stats(link: Link) -> CacheStats {
        CacheStats { enabled: true, link: link.into(), ..CacheStats::default() }
    }

    #[test]
    fn the_table_has_hits_misses_by_reason_and_the_mean_of_loads() {
        let problem = "no beat\r\nwithin 250 ms".to_owned();
        let up = CacheStats { tracking: true, outages: 2, problem, kinds: vec![kind()], ..stats(Link::Up) };
        let text = stats_text(&[(Caching::Products, up)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "products: Redis is up, changes by others are told; lost 2 times");
        assert_eq!(lines[1], "  last problem: no beat  within 250 ms");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(lines[3]),
            "kind local remote hit rate loads failed mean load coalesced stale dropped entries bytes"
        );
        assert_eq!(words(lines[4]), "products 700 200 90.0 % 80 0 1.50 ms 20 0 5 42 8400");
        assert_eq!(lines[3].len(), lines[4].len(), "{text}");
        assert_eq!(lines[5], "  products missed: 60 absent, 40 not_fresh");
        assert_eq!(lines[6], "  products also: 3 written by a change, the oldest answer was of 29.6 s ago");
        assert!(text.ends_with("\nsince its start, of one instance of each service: others count for themselves\n"));
    }

    #[test]
    fn nothing_read_is_no_rate_and_each_state_of_the_link_has_its_words() {
        let idle = KindStats { kind: "users".to_owned(), ..KindStats::default() };
        assert_eq!((hit_rate(&idle), mean_load(&idle)), (None, None));
        let told = |stats: CacheStats| stats_text(&[(Caching::Users, stats)]).lines().next().unwrap().to_owned();
        assert_eq!(told(CacheStats::default()), "users: no cache, by its settings");
        assert_eq!(told(stats(Link::None)), "users: in process alone, without Redis");
        assert_eq!(told(stats(Link::Up)), "users: Redis is up, changes by others aren't told; never lost");
        let down = CacheStats { outages: 1, queued_invalidations: 7, ..stats(Link::Down) };
        assert_eq!(told(down), "users: Redis is away, and isn't read; lost once; 7 invalidations wait for it");
        assert!(told(stats(Link::CatchingUp)).contains("catches up"));
    }

    #[test]
    fn json_has_all_numbers_and_who_could_not_be_asked() {
        let up = CacheStats { kinds: vec![kind()], ..stats(Link::CatchingUp) };
        let json = stats_json(&[(Caching::Products, up)], &[(Caching::Users, "it is down")]);
        let of_products = &json["services"][0];
        assert_eq!((&of_products["service"], &of_products["link"]), (&json!("products"), &json!("catching_up")));
        let of_kind = &of_products["kinds"][0];
        assert_eq!((&of_kind["hit_rate"], &of_kind["load_time_s"]), (&json!(0.9), &json!(0.12)));
        assert_eq!(of_kind["misses"], json!({ "absent": 60, "expired": 0, "not_fresh": 40 }));
        assert_eq!(json["unasked"], json!([{ "service": "users", "reason": "it is down" }]));
    }

    #[test]
    fn what_was_dropped_is_told_with_who_did() {
        let [users, products] = Caching::ALL.map(|service| Dropped { service, propagation: Propagation::Done });
        assert_eq!(
            dropped_text(&What::Kind("users".to_owned()), &[users, products]),
            "everything of the kind users is dropped by users and products\n"
        );
        let anna = What::Key("users/anna".to_owned());
        assert_eq!(dropped_text(&anna, &[users]), "users/anna is dropped by users\n");
        let told = json!({ "services": ["users"], "redis_queued": [], "redis_unknown": [] });
        assert_eq!(dropped_json(&[users]), told);

        let (later, unknown) = (
            Dropped { propagation: Propagation::Queued, ..users },
            Dropped { propagation: Propagation::Unknown, ..products },
        );
        assert_eq!(
            dropped_text(&anna, &[later]),
            "users/anna is dropped by users\n\
             Redis isn't in reach of users: it will be told when it is back, and isn't read before\n"
        );
        let text = dropped_text(&anna, &[later, unknown]);
        assert!(text.contains("of users: it will") && text.contains("of products can't be asked"), "{text}");
        let json = dropped_json(&[later, unknown]);
        assert_eq!((&json["redis_queued"], &json["redis_unknown"]), (&json!(["users"]), &json!(["products"])));
    }
}
