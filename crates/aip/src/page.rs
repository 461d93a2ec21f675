//! Pages of lists (AIP-158): opaque tokens bound to their list, and pages bounded by count and by bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::violations::Violations;

/// How many items a page has when the caller doesn't say.
pub const DEFAULT_SIZE: usize = 50;
/// How many items a page has at most.
pub const MAX_SIZE: usize = 200;
/// How many bytes the messages of a page have at most, unless the first alone has more: half of the 4 MiB that gRPC takes
/// of a message by default.
pub const MAX_BYTES: usize = 2 << 20;
/// What an item costs in its list beside its own bytes: the field's tag and its length.
const ITEM: usize = 6;
/// How many bytes a page token has at most. Ours have fewer: a cursor is made of a time, a number or a name.
pub const MAX_TOKEN: usize = 1024;

/// Which page is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most.
    pub size: usize,
    /// The cursor of the last item of the page before; its form is the store's affair.
    pub after: Option<String>,
}

/// A page of items and, unless it is the last, the cursor of its last item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of up to `size + 1` items: the one too many only shows that there is a next page.
    ///
    /// `bytes` says how many an item has as a message (`encoded_len`). A page has fewer items when they would have more than
    /// [`MAX_BYTES`] together, but the first in any case.
    pub fn cut(items: Vec<T>, size: usize, cursor: impl Fn(&T) -> String, bytes: impl Fn(&T) -> usize) -> Self {
        Self::cut_within(MAX_BYTES, items, size, cursor, bytes)
    }

    /// As [`Page::cut`] does, with a bound of `max_bytes`, for servers whose clients take messages of another size.
    pub fn cut_within(
        max_bytes: usize,
        mut items: Vec<T>,
        size: usize,
        cursor: impl Fn(&T) -> String,
        bytes: impl Fn(&T) -> usize,
    ) -> Self {
        let mut left = max_bytes;
        let mut fits = |item: &T| {
            let rest = left.checked_sub(bytes(item).saturating_add(ITEM));
            left = rest.unwrap_or_default();
            rest.is_some()
        };
        let fitting = items.iter().take(size).take_while(|&item| fits(item)).count();
        let count = fitting.max(size.min(1));
        let more = items.len() > count;
        items.truncate(count);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

#[derive(Serialize, Deserialize)]
struct Token {
    /// The cursor.
    c: String,
    /// The fingerprint of the other arguments.
    q: String,
}

fn fingerprint(arguments: &[&str]) -> String {
    let mut hash = Sha256::new();
    for argument in arguments {
        hash.update(argument.len().to_le_bytes());
        hash.update(argument);
    }
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..9])
}

/// Reads `page_size` and `page_token`. `arguments` are the request's other fields, which must stay as they were.
pub fn read(page_size: i32, page_token: &str, arguments: &[&str], violations: &mut Violations) -> PageRequest {
    let size = match usize::try_from(page_size) {
        Ok(0) => DEFAULT_SIZE,
        Ok(size) => size.min(MAX_SIZE),
        Err(_) => {
            violations.add("page_size", "must not be negative");
            DEFAULT_SIZE
        }
    };
    if page_token.is_empty() {
        return PageRequest { size, after: None };
    }
    let json = (page_token.len() <= MAX_TOKEN).then(|| URL_SAFE_NO_PAD.decode(page_token).ok()).flatten();
    let token = json.and_then(|json| serde_json::from_slice::<Token>(&json).ok());
    let after = match token {
        Some(token) if token.q == fingerprint(arguments) => Some(token.c),
        Some(_) => {
            violations.add("page_token", "belongs to a list with other arguments; begin again without it");
            None
        }
        None => {
            violations.add("page_token", "must be a next_page_token of this list");
            None
        }
    };
    PageRequest { size, after }
}

/// The `next_page_token` for a cursor; empty when there is no next page.
pub fn token(next: Option<&str>, arguments: &[&str]) -> String {
    let Some(cursor) = next else { return String::new() };
    let token = Token { c: cursor.to_owned(), q: fingerprint(arguments) };
    // Two strings always become JSON.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}
