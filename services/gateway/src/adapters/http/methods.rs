//! The methods that there are, as the routes have them.

use tonic::Status;

/// Whom the front makes calls to.
pub trait Methods: Send + Sync + 'static {
    /// Whether the method at `path`, `/package.Service/Method`, has a route.
    fn has(&self, path: &str) -> bool;

    /// Whether the configuration has added it: what it says of HTTP's paths comes after what this program's methods say.
    fn is_added(&self, path: &str) -> bool;

    /// Whether it, which the configuration has added, may have a path of HTTP whose first segments are these texts.
    fn has_http_path(&self, path: &str, beginning: &[&str]) -> bool;

    /// What its documentation says of it beside its contract; `None` when nobody may call it.
    fn note(&self, path: &str) -> Option<MethodNote>;

    /// What a call gets whose method has no route.
    fn refusal(&self, path: &str) -> Status;
}

/// What the documentation says of a method beside its contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodNote {
    /// The names of the upstreams that may answer it.
    pub upstreams: Vec<String>,
    /// Whom it admits, if its contract isn't to say it.
    pub callers: Option<Vec<String>>,
}
