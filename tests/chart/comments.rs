//! Reads the comments of `values.yaml`, which no reader of YAML keeps.

/// A key with what is written above it.
#[derive(Debug, PartialEq, Eq)]
pub struct Comment {
    /// The line of the key, from 1.
    pub line: usize,
    /// The key, with those that it is below: `image.tag`.
    pub path: String,
    /// The text that begins with `# -- ` in the lines right above, as one line; empty when there is none.
    pub text: String,
}

/// The keys of a text of block-style YAML, in their order.
///
/// # Errors
/// When a line is none that values have.
pub fn of(yaml: &str) -> Result<Vec<Comment>, String> {
    let mut found = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut above: Option<String> = None;
    // The items of a list are no keys of the values.
    let mut list = None;
    for (number, line) in yaml.lines().enumerate() {
        let rest = line.trim_start();
        let indent = line.len() - rest.len();
        if rest.is_empty() {
            above = None;
            continue;
        }
        if list.is_some_and(|list| indent > list) {
            continue;
        }
        if let Some(comment) = rest.strip_prefix('#') {
            above = match (comment.strip_prefix(" -- "), above) {
                (Some(begin), None) => Some(begin.to_owned()),
                (Some(_), Some(_)) => return Err(format!("{}: has two comments for one key", number + 1)),
                (None, Some(before)) => Some(format!("{before} {}", comment.trim())),
                (None, None) => None,
            };
            continue;
        }
        if rest.starts_with("- ") {
            list = Some(indent);
            above = None;
            continue;
        }
        list = None;
        let key = rest.split(':').next().filter(|key| rest.contains(':') && is_key(key));
        let key = key.ok_or_else(|| format!("{}: is neither key, nor comment, nor item of a list", number + 1))?;
        parents.retain(|(of_parent, _)| *of_parent < indent);
        let path = parents.iter().map(|(_, key)| key.as_str()).chain([key]).collect::<Vec<_>>().join(".");
        parents.push((indent, key.to_owned()));
        found.push(Comment { line: number + 1, path, text: above.take().unwrap_or_default() });
    }
    Ok(found)
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

#[test]
fn comments_belong_to_the_key_below_them() {
    let yaml = "# About the file.\n\n# -- One\n# and more.\na: 1\n# -- Two.\nb:\n  # -- Three.\n  c: [1]\n  d: x # no\n\
                e:\n  - # -- Not this.\n    f: 1\n# -- Gone.\n\ng: {}\n";
    let found: Vec<_> = of(yaml).unwrap().into_iter().map(|comment| (comment.path, comment.text)).collect();
    let wanted = [("a", "One and more."), ("b", "Two."), ("b.c", "Three."), ("b.d", ""), ("e", ""), ("g", "")];
    assert_eq!(found, wanted.map(|(path, text)| (path.to_owned(), text.to_owned())));
    assert_eq!(of("a:\n  b: 1\n# -- c.\n# -- d.\nc: 1\n").unwrap_err(), "4: has two comments for one key");
    assert!(of("a: |\n  text\n").unwrap_err().starts_with("2: is neither"));
}
