//! From a picker's choice to an endpoint that can take the attempt.

use smallvec::SmallVec;
use tokio::time::Instant;

use super::candidate::Candidate;
use super::estimate::Estimate;
use super::picker::{PickArgs, Picker};

/// So many endpoints are compared with each other when the picker's choice can't be used; of more, those after the choice
/// come first. Nothing is allocated, a call looks at few of a thousand endpoints, and not all calls run to the same one.
const BLOCK: usize = 16;

/// A further attempt passes over a choice that fails as often as that.
const MOSTLY_FAILS: f32 = 0.5;

/// Offers an attempt to `candidates`, each at most once, until `take` takes it: to the picker's choice; then, by expected
/// cost, to those that the call has not been to; then to those that it has. `tried` says of an index whether the call has
/// been there; `None` for its first attempt.
pub(crate) fn select<T, F: Fn(usize) -> bool>(
    picker: &dyn Picker,
    call: &PickArgs<'_>,
    candidates: &[Candidate],
    tried: Option<F>,
    mut take: impl FnMut(usize) -> Option<T>,
) -> Option<T> {
    let count = candidates.len();
    let choice = picker.pick(call, candidates) % count;
    let usable = tried
        .as_ref()
        .is_none_or(|tried| !tried(choice) && candidates[choice].load().failure_rate(call.now) < MOSTLY_FAILS);
    if usable && let Some(taken) = take(choice) {
        return Some(taken);
    }
    // It was offered, and is not offered again.
    let first = usize::from(usable);
    for again in [false, true] {
        if again && tried.is_none() {
            break;
        }
        for start in (first..count).step_by(BLOCK) {
            let block = (start..count.min(start + BLOCK))
                .map(|step| (choice + step) % count)
                .filter(|&index| tried.as_ref().is_some_and(|tried| tried(index)) == again);
            for index in by_expected_cost(block, candidates, call.now) {
                if let Some(taken) = take(index) {
                    return Some(taken);
                }
            }
        }
    }
    None
}

/// The indices of a block, the one of least expected cost first; equal ones stay in their order.
fn by_expected_cost(
    block: impl Iterator<Item = usize>,
    candidates: &[Candidate],
    now: Instant,
) -> SmallVec<[usize; BLOCK]> {
    let estimates: SmallVec<[(usize, Estimate); BLOCK]> =
        block.map(|index| (index, Estimate::of(&candidates[index], now))).collect();
    let answered = estimates.iter().filter_map(|(_, estimate)| estimate.answered_nanos()).reduce(f32::min);
    let floor = answered.unwrap_or(0.0);
    let mut costs: SmallVec<[(usize, f32); BLOCK]> =
        estimates.iter().map(|(index, estimate)| (*index, estimate.expected_cost(floor))).collect();
    costs.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    costs.into_iter().map(|(index, _)| index).collect()
}
