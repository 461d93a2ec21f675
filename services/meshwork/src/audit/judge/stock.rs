//! I1, I2, I3: the pieces.

use std::collections::HashMap;

use meshwork_api::meshwork::orders::v1::order;
use meshwork_api::meshwork::products::v1::reservation::State;

use crate::audit::evidence::{Evidence, Stock};
use crate::audit::verdict::Verdict;

/// I1.
pub fn identities(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::new("I1", "each piece of a product is in one place");
    for stock in &evidence.stocks {
        let Stock { product, available, held, allocated, shipped, received } = stock;
        let parts = [*available, *held, *allocated, *shipped];
        let sum = parts.iter().map(|part| i128::from(*part)).sum::<i128>();
        let holds = parts.iter().all(|part| *part >= 0) && sum == i128::from(*received);
        verdict.check(holds, product, || {
            format!("{available} available + {held} held + {allocated} allocated + {shipped} shipped of {received}")
        });
    }
    verdict
}

/// The pieces of each product that reservations keep: held, allocated and shipped.
fn kept(evidence: &Evidence) -> HashMap<&str, [i64; 3]> {
    let mut kept: HashMap<&str, [i64; 3]> = HashMap::new();
    for reservation in &evidence.reservations {
        let place = match reservation.state {
            State::Held => 0,
            State::Allocated => 1,
            State::Shipped => 2,
            _ => continue,
        };
        for (product, quantity) in &reservation.lines {
            let sums = kept.entry(product).or_default();
            sums[place] = sums[place].saturating_add(*quantity);
        }
    }
    kept
}

/// I2.
pub fn sums(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::new("I2", "stocks are the sums of their reservations");
    let mut kept = kept(evidence);
    for stock in &evidence.stocks {
        let reserved = kept.remove(stock.product.as_ref()).unwrap_or_default();
        let [held, allocated, shipped] = reserved;
        verdict.check(reserved == [stock.held, stock.allocated, stock.shipped], &stock.product, || {
            format!(
                "{} held, {} allocated, {} shipped, but reservations have {held}, {allocated}, {shipped}",
                stock.held, stock.allocated, stock.shipped
            )
        });
    }
    // A product that is removed from sale has no stock to be seen, and nothing waits in it.
    for (product, [held, allocated, _]) in kept {
        let problem = || format!("reservations have {held} held and {allocated} allocated, and there is no stock");
        verdict.check(held == 0 && allocated == 0, product, problem);
    }
    verdict
}

/// I3.
pub fn oversell(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::new("I3", "no more pieces are sold than have come");
    let mut sold: HashMap<&str, i64> = HashMap::new();
    for order in evidence.folded.iter().filter_map(|folded| folded.order.as_ref()) {
        if matches!(order.state, order::State::Confirmed | order::State::Shipped | order::State::Delivered) {
            for line in &order.lines {
                let sum = sold.entry(&line.product).or_default();
                *sum = sum.saturating_add(line.quantity);
            }
        }
    }
    let mut kept = kept(evidence);
    for Stock { product, received, .. } in &evidence.stocks {
        let sold = sold.remove(product.as_ref()).unwrap_or_default();
        let kept = kept.remove(product.as_ref()).unwrap_or_default().into_iter().fold(0_i64, i64::saturating_add);
        verdict.check(sold <= *received && kept <= *received, product, || {
            format!("orders have {sold} of it and reservations keep {kept}, of {received} that have come")
        });
    }
    verdict
}
