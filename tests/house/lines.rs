//! No file that nobody wants to read.

/// The most lines that a file of ours may have.
const LIMIT: usize = 600;

/// Files that may be longer, each with the reason.
pub const EXCEPTIONS: &[(&str, &str)] = &[];

/// The files that are too long, from (path, lines), and the exceptions that nothing needs any more.
pub fn violations(lengths: &[(String, usize)], exceptions: &[(&str, &str)]) -> Vec<String> {
    let is_excepted = |file: &str| exceptions.iter().any(|(path, _)| *path == file);
    let too_long = lengths.iter().filter(|(file, lines)| *lines > LIMIT && !is_excepted(file));
    let too_long = too_long.map(|(file, lines)| {
        format!("{file}:{}: has {lines} lines, and no file may have more than {LIMIT}; split it by concern", LIMIT + 1)
    });
    let is_long = |path: &str| lengths.iter().any(|(file, lines)| file == path && *lines > LIMIT);
    let idle = exceptions.iter().filter(|(path, _)| !is_long(path));
    let idle = idle.map(|(path, _)| format!("{path}:1: needs no exception from the limit of {LIMIT} lines; remove it"));
    too_long.chain(idle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(lengths: &[(&str, usize)]) -> Vec<(String, usize)> {
        lengths.iter().map(|(file, lines)| ((*file).to_owned(), *lines)).collect()
    }

    #[test]
    fn a_file_over_the_limit_is_named() {
        let found = violations(&lengths(&[("a.rs", 600), ("b.rs", 601)]), &[]);
        assert_eq!(found, ["b.rs:601: has 601 lines, and no file may have more than 600; split it by concern"]);
    }

    #[test]
    fn an_exception_holds_for_its_file_only_and_as_long_as_it_is_needed() {
        let files = lengths(&[("table.rs", 900), ("other.rs", 900), ("short.rs", 9)]);
        let found = violations(&files, &[("table.rs", "one table"), ("short.rs", "once long"), ("gone.rs", "x")]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("other.rs:601: has 900 lines"), "{}", found[0]);
        assert_eq!(found[1], "short.rs:1: needs no exception from the limit of 600 lines; remove it");
        assert!(found[2].starts_with("gone.rs:1: needs no exception"), "{}", found[2]);
    }
}
