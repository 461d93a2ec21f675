//! Reasons of orders' ends as customers read them.

use std::borrow::Cow;

use crate::names::ProductName;

/// A reason without numbers of pieces that are left, which are for staff. The first releases wrote them into the events
/// of orders that were rejected or cancelled for want of pieces; later ones name the products alone, as this does.
pub fn public_reason(reason: &str) -> Cow<'_, str> {
    match rejected(reason).or_else(|| expired(reason)) {
        Some(public) => Cow::Owned(public),
        None => Cow::Borrowed(reason),
    }
}

/// `too few pieces of products/a: 5 wanted, 3 available; products/b: 2 wanted, 0 available`.
fn rejected(reason: &str) -> Option<String> {
    let shortages = reason.strip_prefix("too few pieces of ")?.split("; ").map(|shortage| {
        let (product, numbers) = shortage.split_once(": ")?;
        let (wanted, available) = numbers.strip_suffix(" available")?.split_once(" wanted, ")?;
        (is_number(wanted) && is_number(available)).then_some(product)
    });
    Some(format!("too few pieces of {}", products(shortages)?))
}

/// `the reservation had expired, and there were only 3 of 5 pieces of products/a, 0 of 2 pieces of products/b`.
fn expired(reason: &str) -> Option<String> {
    let shortages = reason.strip_prefix("the reservation had expired, and there were only ")?.split(", ");
    let shortages = shortages.map(|shortage| {
        let (numbers, product) = shortage.split_once(" pieces of ")?;
        let (available, wanted) = numbers.split_once(" of ")?;
        (is_number(wanted) && is_number(available)).then_some(product)
    });
    Some(format!("the reservation had expired, and there were too few pieces of {}", products(shortages)?))
}

fn is_number(text: &str) -> bool {
    text.parse::<i64>().is_ok()
}

/// The products with commas between them; `None` unless all are such.
fn products<'r>(found: impl Iterator<Item = Option<&'r str>>) -> Option<String> {
    let names = found.map(|product| product.filter(|name| name.parse::<ProductName>().is_ok()));
    names.collect::<Option<Vec<_>>>().map(|names| names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::public_reason;

    #[test]
    fn d3_numbers_that_first_releases_wrote_are_left_out() {
        for (written, public) in [
            ("too few pieces of products/tea: 1000000 wanted, 37 available", "too few pieces of products/tea"),
            (
                "too few pieces of products/tea: 5 wanted, 3 available; products/cup: 2 wanted, 0 available",
                "too few pieces of products/tea, products/cup",
            ),
            (
                "the reservation had expired, and there were only 3 of 5 pieces of products/tea, \
                 0 of 2 pieces of products/cup",
                "the reservation had expired, and there were too few pieces of products/tea, products/cup",
            ),
        ] {
            assert_eq!(public_reason(written), public);
            assert_eq!(public_reason(public), public, "what is public stays as it is");
        }
    }

    #[test]
    fn d3_other_reasons_stay_as_they_are() {
        for reason in [
            "",
            "changed my mind",
            "too few pieces",
            "too few pieces of ",
            "too few pieces of products/tea: some wanted, 3 available",
            "too few pieces of my cake: 2 wanted, 1 available",
            "the reservation had expired, and there were only 3 of 5 pieces of cake",
        ] {
            assert_eq!(public_reason(reason), reason);
        }
    }
}
