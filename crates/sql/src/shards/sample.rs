//! Where to split a space of ranges, by a sample of its keys.

use super::map::MAX_SPLIT;

/// How many keys of a sample count as its newest: one in four.
const NEWEST: usize = 4;
/// How many times its fair part of the newest keys makes a range hot.
const HOT: f64 = 2.0;
/// Fewer of the newest keys say nothing.
const ENOUGH: usize = 32;

/// What a sample suggests.
#[derive(Clone, Debug, PartialEq)]
pub struct RangePlan {
    /// Split points that deal the sampled keys out evenly: sorted and unique. There are fewer than asked for when there aren't
    /// enough different keys.
    pub splits: Vec<String>,
    /// The ranges between them that would take much more than their part of what is written now.
    pub hot: Vec<HotRange>,
}

/// A range that would take much more than its part of the newest keys.
#[derive(Clone, Debug, PartialEq)]
pub struct HotRange {
    /// Its first key.
    pub low: String,
    /// Its end, which isn't in it; `None` for the last range.
    pub high: Option<String>,
    /// Its part of the newest quarter of the sample, from 0 to 1.
    pub share: f64,
    /// Why.
    pub cause: HotCause,
}

/// Why a range is hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotCause {
    /// New keys come behind all others, as counters and times do. No split point helps: hash them, or begin the keys with
    /// something that varies.
    Tail,
    /// Few keys take much of the traffic, or new keys crowd together. Split it there again.
    Crowd,
}

/// Proposes split points that make one range for each of `shards`, and names those that would be hot. `keys` are a sample as they
/// were written, the oldest first; who is written twice may be in it twice.
pub fn sample(keys: &[String], shards: usize) -> RangePlan {
    let mut sorted: Vec<&str> = keys.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut splits: Vec<String> = Vec::new();
    for part in 1..shards {
        let at = part * sorted.len() / shards;
        let Some((before, from)) = at.checked_sub(1).and_then(|before| Some((*sorted.get(before)?, *sorted.get(at)?)))
        else {
            continue;
        };
        let split = shortest(before, from);
        // A key that is in the sample often may reach over several parts.
        if !split.is_empty() && split.len() <= MAX_SPLIT && splits.last().is_none_or(|last| last.as_str() < split) {
            splits.push(split.to_owned());
        }
    }
    let hot = hot_ranges(keys, &splits);
    RangePlan { splits, hot }
}

/// The shortest beginning of `from` that is behind `before`; all of it when they are the same.
fn shortest<'a>(before: &str, from: &'a str) -> &'a str {
    let ends = from.char_indices().map(|(at, char)| at + char.len_utf8());
    ends.map(|end| &from[..end]).find(|&beginning| beginning > before).unwrap_or(from)
}

fn hot_ranges(keys: &[String], splits: &[String]) -> Vec<HotRange> {
    let (older, newest) = keys.split_at(keys.len() - keys.len() / NEWEST);
    if newest.len() < ENOUGH {
        return Vec::new();
    }
    let mut counts = vec![0_usize; splits.len() + 1];
    for key in newest {
        counts[splits.partition_point(|split| split <= key)] += 1;
    }
    let last_of_older = older.iter().max();
    let behind = newest.iter().filter(|&key| Some(key) > last_of_older).count();
    let grows_at_the_end = part(behind, newest.len()) > 0.5;
    let fair = part(1, counts.len());
    let range = |(at, count): (usize, &usize)| {
        let share = part(*count, newest.len());
        let is_last = at == splits.len();
        let is_tail = is_last && grows_at_the_end;
        // With one range everything is in it.
        let is_hot = is_tail || (counts.len() > 1 && share > (fair * HOT).min(0.9));
        is_hot.then(|| HotRange {
            low: at.checked_sub(1).and_then(|before| splits.get(before)).cloned().unwrap_or_default(),
            high: splits.get(at).cloned(),
            share,
            cause: if is_tail { HotCause::Tail } else { HotCause::Crowd },
        })
    };
    counts.iter().enumerate().filter_map(range).collect()
}

/// `of` over `all`, for numbers of a sample.
fn part(of: usize, all: usize) -> f64 {
    let number = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    number(of) / number(all.max(1))
}
