//! The words of the spaces.

use meshwork_users::shards::Space;

/// The word of a space by its number.
pub fn space_name(number: i16) -> String {
    let space = Space::ALL.into_iter().find(|space| space.number() == number);
    space.map_or_else(|| format!("space {number}"), |space| space.as_str().to_owned())
}
