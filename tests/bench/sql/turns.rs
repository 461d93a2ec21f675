//! The same work done in several ways, by turns.

use std::time::Instant;

use crate::{Values, rounded};

/// How many callers do the work at once.
pub(crate) const CALLERS: usize = 16;
/// How often each way of doing it has its turn.
const ROUNDS: usize = 9;

/// Has [`CALLERS`] callers do `work`, which does so many operations; the operations a second of all.
pub(crate) async fn per_second<F>(operations: usize, work: impl Fn(usize) -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let begun = Instant::now();
    let callers: Vec<_> = (0..CALLERS).map(|caller| tokio::spawn(work(caller))).collect();
    for caller in callers {
        caller.await.unwrap();
    }
    (CALLERS * operations) as f64 / begun.elapsed().as_secs_f64()
}

/// The rates of one way of doing the work, a round each.
pub(crate) struct Rates(Vec<f64>);

impl Rates {
    fn median(&self) -> f64 {
        median(self.0.clone())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Does the work in each of `ways` ways, by turns; who begins changes from round to round. `round` does it in one of them.
pub(crate) async fn by_turns(ways: usize, round: impl AsyncFn(usize) -> f64) -> Vec<Rates> {
    let mut rates: Vec<_> = (0..ways).map(|_| Rates(Vec::with_capacity(ROUNDS))).collect();
    // One that doesn't count: connections are made, pages are read.
    for way in 0..ways {
        round(way).await;
    }
    for turn in 0..ROUNDS {
        for way in 0..ways {
            let way = (way + turn) % ways;
            rates[way].0.push(round(way).await);
        }
    }
    rates
}

/// Adds what a way does a second, and how that stands to `base`, by rounds.
pub(crate) fn add(values: &mut Values, name: &str, base_name: &str, rates: &Rates, base: &Rates) {
    values.add(format!("{name}_per_second"), rates.median().round());
    let mut ratios: Vec<_> = rates.0.iter().zip(&base.0).map(|(rate, base)| rate / base).collect();
    ratios.sort_by(f64::total_cmp);
    values.add(format!("{name}_against_{base_name}"), rounded(ratios[ratios.len() / 2]));
    let least_and_most = vec![rounded(ratios[0]), rounded(ratios[ratios.len() - 1])];
    values.add(format!("{name}_against_{base_name}_least_and_most"), least_and_most);
}

/// Adds what a way does a second.
pub(crate) fn add_rate(values: &mut Values, name: &str, rates: &Rates) {
    values.add(format!("{name}_per_second"), rates.median().round());
}
