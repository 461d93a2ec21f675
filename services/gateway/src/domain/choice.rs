//! Choices by weight, at a point that somebody else gives: the domain has no dice.

use super::upstream::UpstreamName;

/// What an upstream has of the calls of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Who answers.
    pub upstream: UpstreamName,
    /// Its weight among all of the route.
    pub weight: u32,
}

/// Upstreams with the weights by which calls are spread over them; the sum is above zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighted {
    shares: Vec<Share>,
    total: u64,
}

impl Weighted {
    /// Those of `shares`; `None` when all weights together are zero.
    pub fn new(shares: Vec<Share>) -> Option<Self> {
        let total = shares.iter().map(|share| u64::from(share.weight)).sum();
        (total > 0).then_some(Self { shares, total })
    }

    /// The upstream at `point` of all that a `u64` can be, which are dealt out in the order of the shares: of points that are
    /// equally likely, each upstream gets its share. When the last of several gets more weight, it keeps the points that it had.
    pub fn pick(&self, point: u64) -> Option<&UpstreamName> {
        let mut at = u64::try_from((u128::from(point) * u128::from(self.total)) >> 64).unwrap_or(u64::MAX);
        for share in &self.shares {
            match at.checked_sub(u64::from(share.weight)) {
                None => return Some(&share.upstream),
                Some(rest) => at = rest,
            }
        }
        None
    }

    /// All upstreams, with those that get no calls.
    pub fn upstreams(&self) -> impl Iterator<Item = &UpstreamName> {
        self.shares.iter().map(|share| &share.upstream)
    }

    /// The upstreams that get calls.
    pub fn used(&self) -> impl Iterator<Item = &UpstreamName> {
        self.shares.iter().filter(|share| share.weight > 0).map(|share| &share.upstream)
    }
}

/// How many of a hundred calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent {
    /// The points below this one are within it.
    end: u128,
}

impl Percent {
    /// So many of a hundred; `None` when that is less than none or more than all.
    pub fn new(percent: f64) -> Option<Self> {
        // As many points as there are.
        const POINTS: f64 = 18_446_744_073_709_551_616.0;
        (0.0..=100.0).contains(&percent).then(|| Self { end: (percent / 100.0 * POINTS) as u128 })
    }

    /// Whether the call at `point` of all that a `u64` can be is one of them.
    pub fn has(self, point: u64) -> bool {
        u128::from(point) < self.end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weighted(weights: &[u32]) -> Option<Weighted> {
        let share = |(at, weight): (usize, &u32)| {
            let upstream = UpstreamName::new(&format!("u{at}")).unwrap();
            Share { upstream, weight: *weight }
        };
        Weighted::new(weights.iter().enumerate().map(share).collect())
    }

    /// The middles of so many equal parts of all points that there are.
    fn points(number: u64) -> impl Iterator<Item = u64> {
        (0..number).map(move |at| u64::try_from(((u128::from(at) * 2 + 1) << 63) / u128::from(number)).unwrap())
    }

    proptest! {
        #[test]
        fn each_gets_its_share_and_who_has_no_weight_gets_nothing(weights in prop::collection::vec(0_u32..50, 1..6)) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let weighted = weighted(&weights).unwrap();
            let mut got = vec![0_u32; weights.len()];
            for point in points(u64::from(total)) {
                let name = weighted.pick(point).unwrap().as_str();
                got[name[1..].parse::<usize>().unwrap()] += 1;
            }
            prop_assert_eq!(got, weights);
        }

        #[test]
        fn every_point_leads_to_somebody_with_weight(
            weights in prop::collection::vec(any::<u32>(), 1..6),
            point in any::<u64>(),
        ) {
            let Some(weighted) = weighted(&weights) else { return Ok(()) };
            for point in [point, 0, u64::MAX] {
                let name = weighted.pick(point).unwrap();
                prop_assert!(weighted.used().any(|used| used == name));
            }
        }

        #[test]
        fn who_was_sent_to_the_canary_stays_there_when_it_gets_more(
            point in any::<u64>(),
            few in 0_u32..=100,
            more in 0_u32..=100,
        ) {
            let (few, more) = (few.min(more), few.max(more));
            let before = weighted(&[100 - few, few]).unwrap();
            let after = weighted(&[100 - more, more]).unwrap();
            let is_canary = |weighted: &Weighted| weighted.pick(point).unwrap().as_str() == "u1";
            prop_assert!(!is_canary(&before) || is_canary(&after));
        }

        #[test]
        fn a_percentage_is_that_of_all_points(percent in 0_u32..=100) {
            let some = Percent::new(f64::from(percent)).unwrap();
            let within = points(1_000).filter(|point| some.has(*point)).count();
            prop_assert!(within.abs_diff(usize::try_from(percent).unwrap() * 10) <= 1, "{within}");
        }
    }

    #[test]
    fn nothing_together_is_no_choice_and_percentages_have_ends() {
        assert_eq!(weighted(&[]), None);
        assert_eq!(weighted(&[0, 0]), None);
        for percent in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Percent::new(percent), None);
        }
        assert!(!Percent::new(0.0).unwrap().has(0));
        assert!(Percent::new(100.0).unwrap().has(u64::MAX));
    }
}
