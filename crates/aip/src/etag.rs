//! Etags: a resource's version as callers see it (AIP-154).

/// How many bytes an etag has at most; the number in it has at most 19.
const MAX_BYTES: usize = 32;

/// The etag of a version: opaque to callers, and quoted.
pub fn format(version: i64) -> String {
    format!("\"v{version}\"")
}

/// Whether a caller's etag admits a change of the resource at `version`. An empty one admits any.
pub fn admits(etag: &str, version: i64) -> bool {
    etag.is_empty() || etag == format(version)
}

/// The version that an etag names: `None` for an empty etag, an error for one that we never gave.
///
/// # Errors
/// A text that says what would be right.
pub fn parse(etag: &str) -> Result<Option<i64>, &'static str> {
    if etag.is_empty() {
        return Ok(None);
    }
    let version = Some(etag).filter(|etag| etag.len() <= MAX_BYTES);
    let version = version.and_then(|etag| {
        etag.strip_prefix("\"v").and_then(|rest| rest.strip_suffix('"')).and_then(|text| text.parse().ok())
    });
    // A number can be written in several ways; we write it in one.
    version
        .filter(|version| format(*version) == etag)
        .map(Some)
        .ok_or("must be an etag that this service gave, or empty")
}
