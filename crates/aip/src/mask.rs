//! Update masks (AIP-134, AIP-161).

use prost_types::FieldMask;

use crate::echo::echo;
use crate::violations::Violations;

/// How many paths a mask has at most.
pub const MAX_PATHS: usize = 100;
/// How many bytes its paths have together at most.
pub const MAX_BYTES: usize = 8 << 10;

/// Which fields an update changes.
///
/// `fields` names every field that may be changed, each with whether the request sets it. Without a mask the fields that
/// are set are changed, with `*` all of them. A path that is not in `fields` is a fault; `output_only` paths are left
/// out silently (AIP-203). A mask of more than [`MAX_PATHS`] paths or [`MAX_BYTES`] bytes is a fault, and not read.
pub fn resolve(
    mask: Option<&FieldMask>,
    fields: &[(&'static str, bool)],
    output_only: &[&str],
    violations: &mut Violations,
) -> Vec<&'static str> {
    let paths: &[String] = mask.map_or(&[], |mask| &mask.paths);
    if paths.is_empty() {
        let set: Vec<_> = fields.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
        violations.check(!set.is_empty(), "update_mask", "must name a field to change, or a field must be set");
        return set;
    }
    if paths.len() == 1 && paths[0] == "*" {
        return fields.iter().map(|(name, _)| *name).collect();
    }
    if paths.len() > MAX_PATHS || paths.iter().map(String::len).sum::<usize>() > MAX_BYTES {
        violations
            .add("update_mask", format_args!("must have at most {MAX_PATHS} paths, of {MAX_BYTES} bytes together"));
        return Vec::new();
    }
    let mut chosen = Vec::new();
    for path in paths {
        if let Some((name, _)) = fields.iter().find(|(name, _)| name == path) {
            if !chosen.contains(name) {
                chosen.push(*name);
            }
        } else if !output_only.contains(&path.as_str()) {
            let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            violations
                .add("update_mask", format_args!("names {:?}; it may name {} or be *", echo(path), names.join(", ")));
        }
    }
    chosen
}
