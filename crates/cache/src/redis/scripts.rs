//! The scripts that Redis runs: each decides and writes in one step.

use std::sync::LazyLock;

use fred::util::sha1_hash;

/// A script, and the digest that it is called by once the server knows it.
pub(super) struct Script {
    pub text: &'static str,
    pub sha: LazyLock<String>,
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: Script = Script {
            text: include_str!(concat!("scripts/", $file)),
            sha: LazyLock::new(|| sha1_hash(include_str!(concat!("scripts/", $file)))),
        };
    };
}

script!(ACQUIRE, "acquire.lua");
script!(FILL, "fill.lua");
script!(RELEASE, "release.lua");
script!(PUT, "put.lua");
script!(TOMBSTONE, "tombstone.lua");
script!(TAGS, "tags.lua");
script!(BUMP, "bump.lua");
script!(BEAT, "beat.lua");
script!(ADVANCE, "advance.lua");
