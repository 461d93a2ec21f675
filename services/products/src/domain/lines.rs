//! Lines: which products, and how many pieces of each.

use std::collections::BTreeMap;

use meshwork_api::ProductName;

/// Pieces of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub product: ProductName,
    /// How many pieces; above zero.
    pub quantity: i64,
}

/// An order's lines: at least one, each product once, in the order of the products.
///
/// That all transactions go through the products in one order keeps two of them from waiting for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines(Vec<Line>);

/// Lines that no order can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLines {
    /// There is no line.
    #[error("an order has at least one line")]
    Empty,
    /// A line has no pieces, or less than none.
    #[error("{quantity} pieces of {product} can't be ordered")]
    Quantity {
        /// The product.
        product: ProductName,
        /// How many pieces.
        quantity: i64,
    },
    /// The lines of a product have more pieces than can be counted.
    #[error("more pieces of {product} are ordered than can be counted")]
    Overflow {
        /// The product.
        product: ProductName,
    },
}

impl Lines {
    /// The lines of an order; lines of one product become one.
    ///
    /// # Errors
    /// See [`InvalidLines`].
    pub fn new(lines: impl IntoIterator<Item = Line>) -> Result<Self, InvalidLines> {
        let mut sums: BTreeMap<ProductName, i64> = BTreeMap::new();
        for Line { product, quantity } in lines {
            if quantity <= 0 {
                return Err(InvalidLines::Quantity { product, quantity });
            }
            let sum = sums.get(&product).copied().unwrap_or(0);
            match sum.checked_add(quantity) {
                Some(sum) => sums.insert(product, sum),
                None => return Err(InvalidLines::Overflow { product }),
            };
        }
        if sums.is_empty() {
            return Err(InvalidLines::Empty);
        }
        Ok(Self(sums.into_iter().map(|(product, quantity)| Line { product, quantity }).collect()))
    }

    /// The lines, in the order of the products.
    pub fn as_slice(&self) -> &[Line] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(product: &str, quantity: i64) -> Line {
        Line { product: ProductName::new(product).unwrap(), quantity }
    }

    #[test]
    fn lines_are_merged_and_sorted() {
        let lines = Lines::new([line("b", 1), line("a", 2), line("b", 3)]).unwrap();
        assert_eq!(lines.as_slice(), [line("a", 2), line("b", 4)]);
    }

    #[test]
    fn impossible_lines_are_refused() {
        assert_eq!(Lines::new([]), Err(InvalidLines::Empty));
        for quantity in [0, -1, i64::MIN] {
            let refused = Lines::new([line("a", 1), line("b", quantity)]);
            assert_eq!(refused, Err(InvalidLines::Quantity { product: line("b", 1).product, quantity }));
        }
        let refused = Lines::new([line("a", i64::MAX), line("a", 1)]);
        assert_eq!(refused, Err(InvalidLines::Overflow { product: line("a", 1).product }));
    }
}
