//! What a run has come to.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::plan::Plan;
use super::tally::Measured;

/// What a run has come to. Of the orders offered, each was created, failed, is unknown, or was not sent; of those
/// created, each was confirmed, rejected or cancelled, or is unsettled.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Orders a second, as asked for.
    rate: f64,
    /// For how long orders were placed.
    seconds: f64,
    /// Orders that were due.
    offered: u64,
    created: u64,
    confirmed: u64,
    rejected: u64,
    cancelled: u64,
    /// Of those confirmed.
    shipped: u64,
    /// Of those shipped.
    delivered: u64,
    /// Orders whose creation was refused.
    failed: u64,
    /// Orders whose creation was never answered: they may be there.
    unknown: u64,
    /// Orders that had not ended when they were followed no further.
    unsettled: u64,
    /// Orders that were not sent, as too many were in flight.
    refused_by_client: u64,
    /// Calls that repeated one whose outcome was not known.
    retried: u64,
    /// How many calls of each method were refused, by code, or had no answer at all.
    in_vain: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// From the first creation to the last confirmation.
    confirmed_per_second: f64,
    /// From when an order was due to the answer to its creation.
    create_ms: Times,
    /// By the times of an order's events.
    created_to_confirmed_ms: Times,
}

/// How long something took, in milliseconds.
#[derive(Debug, PartialEq, Serialize)]
struct Times {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Times {
    /// From microseconds.
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p99: at(0.99), max: millis(histogram.max()) }
    }
}

impl Report {
    /// Of a run whose orders were placed for so long.
    pub fn new(plan: &Plan, placed: Duration, measured: Measured) -> Self {
        let Measured { counts, create, confirm, span, ends } = measured;
        let mut in_vain: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((method, end), count) in ends {
            in_vain.entry(method).or_default().insert(end, count);
        }
        let span = span.and_then(|(first, last)| last.duration_since(first).ok());
        let span = span.unwrap_or_default().as_secs_f64();
        let ended = counts.confirmed + counts.rejected + counts.cancelled;
        let answered = counts.created + counts.failed + counts.unasked;
        Self {
            rate: plan.rate,
            seconds: rounded(placed.as_secs_f64()),
            offered: counts.offered,
            created: counts.created,
            confirmed: counts.confirmed,
            rejected: counts.rejected,
            cancelled: counts.cancelled,
            shipped: counts.shipped,
            delivered: counts.delivered,
            failed: counts.failed,
            unknown: counts.offered.saturating_sub(answered),
            unsettled: counts.created.saturating_sub(ended),
            refused_by_client: counts.unasked,
            retried: counts.retried,
            in_vain,
            confirmed_per_second: if span > 0.0 { rounded(confirm.len() as f64 / span) } else { 0.0 },
            create_ms: Times::of(&create),
            created_to_confirmed_ms: Times::of(&confirm),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let rows = [
            ("offered", self.offered),
            ("created", self.created),
            ("confirmed", self.confirmed),
            ("rejected", self.rejected),
            ("cancelled", self.cancelled),
            ("shipped", self.shipped),
            ("delivered", self.delivered),
            ("failed", self.failed),
            ("unknown", self.unknown),
            ("unsettled", self.unsettled),
            ("refused by the client", self.refused_by_client),
            ("retried", self.retried),
        ];
        // Writing to a text can't fail.
        for (what, count) in rows {
            writeln!(text, "{what:<24} {count:>9}").ok();
        }
        for (method, ends) in &self.in_vain {
            for (end, count) in ends {
                writeln!(text, "{:<24} {count:>9}", format!("{method}, {end}")).ok();
            }
        }
        writeln!(text, "{:<24} {:>9.1}", "seconds", self.seconds).ok();
        writeln!(text, "{:<24} {:>9.1}", "confirmed per second", self.confirmed_per_second).ok();
        writeln!(text, "\n{:<24} {:>9} {:>9} {:>9}", "milliseconds", "p50", "p99", "max").ok();
        let times = [("create", &self.create_ms), ("created to confirmed", &self.created_to_confirmed_ms)];
        for (what, Times { p50, p99, max }) in times {
            writeln!(text, "{what:<24} {p50:>9.1} {p99:>9.1} {max:>9.1}").ok();
        }
        text
    }
}

fn millis(micros: u64) -> f64 {
    rounded(Duration::from_micros(micros).as_secs_f64() * 1000.0)
}

/// To two digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::load::story::Story;
    use crate::load::tally::Tally;

    /// An order that was confirmed so long after its creation, which was so long after the first one's.
    fn confirmed(created: u64, after: u64) -> Story {
        let created = SystemTime::UNIX_EPOCH + Duration::from_millis(created);
        let confirmed = created + Duration::from_millis(after);
        Story { created: Some(created), confirmed: Some(confirmed), allocated: true, ..Story::default() }
    }

    #[test]
    fn every_order_is_counted_once_and_times_are_of_all_that_were_confirmed() {
        let tally = Tally::new().unwrap();
        for order in 0..100 {
            let mut in_flight = tally.begin();
            tally.created(Duration::from_millis(order));
            in_flight.placed();
            tally.followed(&confirmed(order * 10, 1 + order));
        }
        // Of five more, one is rejected, one cancelled after its confirmation, one refused, and two are still under way.
        let left: Vec<_> = (0..5).map(|_| tally.begin()).collect();
        (0..3).for_each(|_| tally.created(Duration::ZERO));
        tally.followed(&Story { rejected: true, ..Story::default() });
        tally.followed(&Story { cancelled: true, ..confirmed(0, 1000) });
        tally.failed();
        tally.ended("CreateOrder", "INVALID_ARGUMENT");
        tally.unasked();
        let counts = tally.counts();
        assert_eq!((counts.placing, counts.in_flight), (5, 5));
        drop(left);
        assert_eq!((tally.counts().placing, tally.counts().in_flight), (0, 0));

        let report = Report::new(&Plan::plain(20.0, 5), Duration::from_secs(5), tally.measured());
        assert_eq!((report.offered, report.created, report.failed), (106, 103, 1));
        assert_eq!((report.unknown, report.refused_by_client, report.unsettled), (1, 1, 1));
        assert_eq!((report.confirmed, report.rejected, report.cancelled), (100, 1, 1));
        assert_eq!(report.in_vain["CreateOrder"]["INVALID_ARGUMENT"], 1);
        let Times { p50, p99, max } = report.created_to_confirmed_ms;
        assert!((50.0..52.5).contains(&p50) && (99.0..101.0).contains(&p99), "{p50} {p99}");
        assert!((999.0..1002.0).contains(&max), "{max}");
        // 101 confirmations from 0 to 990 + 100 ms.
        assert!((92.0..94.0).contains(&report.confirmed_per_second), "{}", report.confirmed_per_second);
        assert!(report.text().contains("CreateOrder, INVALID_ARGUMENT"), "{}", report.text());
    }
}
