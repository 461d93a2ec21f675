//! Goes through all orders: each one is run from the beginning, by the choices that lead to it.

use crate::gates::Waiting;

/// The choices of an order, each of so many.
#[derive(Default)]
pub(crate) struct Explorer {
    choices: Vec<Choice>,
    at: usize,
}

struct Choice {
    taken: usize,
    of: usize,
}

impl Explorer {
    /// The choice that this order takes here.
    fn choose(&mut self, of: usize) -> usize {
        // Where there is but one, nothing is chosen.
        if of == 1 {
            return 0;
        }
        let taken = match self.choices.get(self.at) {
            Some(choice) => {
                assert_eq!(choice.of, of, "the same choices have led to another place");
                choice.taken
            }
            None => {
                self.choices.push(Choice { taken: 0, of });
                0
            }
        };
        self.at += 1;
        taken
    }

    /// Goes on to the next order; `false` after the last one.
    pub(crate) fn next(&mut self) -> bool {
        self.at = 0;
        while let Some(last) = self.choices.last_mut() {
            last.taken += 1;
            if last.taken < last.of {
                return true;
            }
            self.choices.pop();
        }
        false
    }
}

/// One order as it comes about.
pub(crate) struct Order {
    /// How often an actor may still be left that could go on.
    switches: usize,
    last: Option<usize>,
    /// Who was let pass, and to what.
    pub(crate) trace: Vec<Waiting>,
}

impl Order {
    pub(crate) fn new(switches: usize) -> Self {
        Self { switches, last: None, trace: Vec::new() }
    }

    /// Whose turn it is, by his place among those who wait.
    pub(crate) fn turn(&mut self, explorer: &mut Explorer, waiting: &[Waiting]) -> usize {
        let goes_on = |who: &Waiting| Some(who.actor) == self.last;
        let may_go_on = waiting.iter().any(goes_on);
        let is_fixed = may_go_on && self.switches == 0;
        let places: Vec<usize> = (0..waiting.len()).filter(|&place| !is_fixed || goes_on(&waiting[place])).collect();
        let place = places[explorer.choose(places.len())];
        let chosen = waiting[place];
        self.switches -= usize::from(may_go_on && !goes_on(&chosen));
        self.last = Some(chosen.actor);
        self.trace.push(chosen);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The orders of actors with so many steps each.
    fn orders(steps: &[usize], switches: usize) -> Vec<Vec<usize>> {
        let (mut explorer, mut all) = (Explorer::default(), Vec::new());
        loop {
            let (mut order, mut left) = (Order::new(switches), steps.to_vec());
            while left.iter().any(|left| *left > 0) {
                let those = (0..left.len()).filter(|actor| left[*actor] > 0);
                let waiting: Vec<Waiting> = those.map(|actor| Waiting { actor, what: "step" }).collect();
                let place = order.turn(&mut explorer, &waiting);
                left[waiting[place].actor] -= 1;
            }
            all.push(order.trace.iter().map(|step| step.actor).collect());
            if !explorer.next() {
                return all;
            }
        }
    }

    #[test]
    fn all_orders_are_gone_through_once() {
        let all = orders(&[2, 1], usize::MAX);
        assert_eq!(all, [[0, 0, 1], [0, 1, 0], [1, 0, 0]]);
        let mut all = orders(&[5, 4, 2], usize::MAX);
        assert_eq!(all.len(), 6_930);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6_930);
    }

    #[test]
    fn with_a_bound_of_switches_those_are_left_out_that_have_more() {
        assert_eq!(orders(&[2, 2], 0), [[0, 0, 1, 1], [1, 1, 0, 0]]);
        assert_eq!(orders(&[5, 4, 2], 2).len(), 300);
    }
}
