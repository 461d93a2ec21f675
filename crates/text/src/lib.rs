//! What people write: normalised where it is compared, checked where it is shown.
//!
//! | what | by |
//! |---|---|
//! | letters that are written with one or several code points | [`nfc`], the normal form C (UAX #15) |
//! | domain names | [`domain_to_ascii`], IDNA (UTS #46) |
//! | passwords | [`opaque_string`] (RFC 8265) |
//! | names for people | [`display_text`] |
//! | parts of identifiers | [`is_identifying`] |
//!
//! Nothing here is bounded by itself: callers look at lengths first. [`display_text`] does so for them.

mod characters;
mod display;
mod domain;
mod normal_form;
mod password;

pub use characters::{is_identifying, is_mark, is_visible};
pub use display::{InvalidDisplayText, display_text};
pub use domain::domain_to_ascii;
pub use normal_form::nfc;
pub use password::{is_opaque, opaque_string};
