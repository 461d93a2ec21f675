//! The names of what is stored in Redis, and what the names in invalidation messages mean.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What is written as `%XX` in names: braces choose the slot of a cluster, blanks and control characters mar commands.
/// What isn't ASCII is too.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'{').add(b'}').add(b'%');
/// Stands for the empty text, since empty braces choose no slot. Encoding makes no lone `%`.
const EMPTY: &str = "%";

/// Names below one prefix. A value and its lease carry one text in braces, and so are in one slot; a tag and its causes too.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// What an invalidation message is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Key { kind: String, key: String },
    Tag(String),
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: encode(prefix) }
    }

    /// The value of a key.
    pub fn value(&self, kind: &str, key: &str) -> String {
        format!("{}:v:{kind}:{{{}}}", self.prefix, encode(key))
    }

    /// The right to fill it.
    pub fn lease(&self, kind: &str, key: &str) -> String {
        format!("{}:l:{kind}:{{{}}}", self.prefix, encode(key))
    }

    /// The version of a tag.
    pub fn tag(&self, tag: &str) -> String {
        format!("{}:t:{{{}}}", self.prefix, encode(tag))
    }

    /// That a cause has bumped it.
    pub fn cause(&self, tag: &str, cause: &str) -> String {
        format!("{}:s:{{{}}}:{}", self.prefix, encode(tag), encode(cause))
    }

    /// A random number that a flush takes away, and how many beats were counted in it.
    pub fn epoch(&self) -> String {
        format!("{}:epoch", self.prefix)
    }

    /// How far the log of a source has been followed.
    pub fn marks(&self, source: &str) -> String {
        format!("{}:m:{}", self.prefix, encode(source))
    }

    /// The prefixes of what other instances' local tiers hold: values and tags.
    pub fn tracked(&self) -> Vec<String> {
        vec![format!("{}:v:", self.prefix), format!("{}:t:", self.prefix)]
    }

    /// What a name is of; `None` when nothing of ours is called so.
    pub fn changed(&self, name: &str) -> Option<Changed> {
        let rest = name.strip_prefix(&self.prefix)?;
        if let Some(rest) = rest.strip_prefix(":v:") {
            let (kind, key) = rest.split_once(':')?;
            return Some(Changed::Key { kind: kind.to_owned(), key: decode(in_braces(key)?)? });
        }
        decode(in_braces(rest.strip_prefix(":t:")?)?).map(Changed::Tag)
    }
}

fn in_braces(text: &str) -> Option<&str> {
    text.strip_prefix('{')?.strip_suffix('}')
}

fn encode(text: &str) -> String {
    if text.is_empty() { EMPTY.to_owned() } else { utf8_percent_encode(text, ENCODED).to_string() }
}

fn decode(text: &str) -> Option<String> {
    if text == EMPTY {
        return Some(String::new());
    }
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;

    #[test]
    fn names_are_those_that_people_look_for() {
        let keys = Keys::new("meshwork");
        assert_eq!(keys.value("products", "lamp"), "meshwork:v:products:{lamp}");
        assert_eq!(keys.lease("products", "lamp"), "meshwork:l:products:{lamp}");
        assert_eq!(keys.tag("kind:products"), "meshwork:t:{kind:products}");
        assert_eq!(keys.cause("products", "products/lamp@7"), "meshwork:s:{products}:products/lamp@7");
        assert_eq!(keys.epoch(), "meshwork:epoch");
        assert_eq!(keys.marks("users/a"), "meshwork:m:users/a");
        assert_eq!(keys.value("products", "a {b}%ü"), "meshwork:v:products:{a%20%7Bb%7D%25%C3%BC}");
    }

    #[test]
    fn the_empty_key_has_a_slot_of_its_own() {
        let keys = Keys::new("p");
        assert_eq!(keys.value("a", ""), "p:v:a:{%}");
        assert_eq!(keys.changed("p:v:a:{%}"), Some(Changed::Key { kind: "a".into(), key: String::new() }));
        assert_ne!(keys.value("a", ""), keys.value("a", "%"));
    }

    #[test]
    fn other_names_are_nothing_of_ours() {
        let keys = Keys::new("p");
        for name in ["", "p", "q:v:a:{b}", "p:l:a:{b}", "p:v:a", "p:v:a:b", "p:t:a", "p:v:a:{%FF}", "pp:v:a:{b}"] {
            assert_eq!(keys.changed(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_message_names_the_key_that_was_written(key in any::<String>(), kind in "[a-z0-9-]{1,32}") {
            let keys = Keys::new("meshwork");
            let name = keys.value(&kind, &key);
            prop_assert!(name.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
            prop_assert_eq!(name.matches(['{', '}']).count(), 2);
            prop_assert_eq!(keys.changed(&name), Some(Changed::Key { kind, key }));
        }

        #[test]
        fn a_message_names_the_tag_that_was_bumped(tag in any::<String>()) {
            let keys = Keys::new("meshwork");
            prop_assert_eq!(keys.changed(&keys.tag(&tag)), Some(Changed::Tag(tag)));
        }
    }
}
