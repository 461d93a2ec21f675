//! Path templates of `google.api.http`, such as `/v1/{name=users/*}:verb`.
//!
//! ```text
//! Template  = "/" Segments [ ":" LITERAL ]
//! Segments  = Segment { "/" Segment }
//! Segment   = "*" | "**" | LITERAL | Variable        "**" is the last one only
//! Variable  = "{" FieldPath [ "=" Segments ] "}"     without segments: "*"; no variable in a variable
//! FieldPath = IDENT { "." IDENT }
//! ```

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::percent::{Mode, decode};

/// What a segment of a path must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// This text.
    Literal(String),
    /// `*`: any one that isn't empty.
    One,
    /// `**`: any number of them, to the end of the path.
    Rest,
}

/// A part of the path that is the value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// The path of the field in the request, such as `order.name`.
    pub(super) field: String,
    /// Which segments of the template it has.
    segments: Range<usize>,
    /// It may have any number of segments.
    is_rest: bool,
}

/// A path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) segments: Vec<Segment>,
    pub(super) variables: Vec<Variable>,
    /// What stands behind the last colon.
    pub(super) verb: Option<String>,
}

impl Template {
    /// The values of the variables in a path that fits, split at its slashes and without its verb. `None` where an
    /// escape in them is wrong.
    pub(super) fn captures(&self, path: &[&str]) -> Option<Vec<String>> {
        self.variables.iter().map(|variable| variable.capture(path)).collect()
    }
}

impl Variable {
    fn capture(&self, path: &[&str]) -> Option<String> {
        let Range { start, end } = self.segments;
        let segments = path.get(start..if self.is_rest { path.len() } else { end })?;
        match segments {
            [segment] if !self.is_rest && end - start == 1 => decode(segment, Mode::Segment),
            _ => {
                let decoded = segments.iter().map(|segment| decode(segment, Mode::Segments));
                decoded.collect::<Option<Vec<_>>>().map(|segments| segments.join("/"))
            }
        }
    }
}

impl FromStr for Template {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix('/').ok_or("must begin with a slash")?;
        // A colon within a variable, or in front of a slash, begins no verb.
        let verb = path.rsplit_once(':').filter(|(_, verb)| !verb.contains(['}', '/']));
        let (mut rest, verb) = verb.map_or((path, None), |(path, verb)| (path, Some(verb)));
        let verb = verb.map(|verb| literal(verb).map(str::to_owned)).transpose()?;
        let mut template = Self { segments: Vec::new(), variables: Vec::new(), verb };
        loop {
            let next = if let Some(variable) = rest.strip_prefix('{') {
                let (variable, next) = variable.split_once('}').ok_or("has a variable that doesn't end")?;
                template.variable(variable)?;
                if next.is_empty() { None } else { Some(next.strip_prefix('/').ok_or("has text behind a variable")?) }
            } else {
                let (segment, next) =
                    rest.split_once('/').map_or((rest, None), |(segment, next)| (segment, Some(next)));
                template.segment(segment)?;
                next
            };
            match next {
                Some(next) => rest = next,
                None => return Ok(template),
            }
        }
    }
}

impl Template {
    /// The texts that each path begins with that fits.
    pub(super) fn beginning(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().map_while(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            Segment::One | Segment::Rest => None,
        })
    }

    fn segment(&mut self, text: &str) -> Result<(), &'static str> {
        if self.segments.last() == Some(&Segment::Rest) {
            return Err("has something behind `**`");
        }
        self.segments.push(match text {
            "*" => Segment::One,
            "**" => Segment::Rest,
            _ => Segment::Literal(literal(text)?.to_owned()),
        });
        Ok(())
    }

    fn variable(&mut self, text: &str) -> Result<(), &'static str> {
        let (field, pattern) = text.split_once('=').unwrap_or((text, "*"));
        if !field.split('.').all(is_identifier) {
            return Err("has a variable whose name is no field path");
        }
        if self.variables.iter().any(|variable| variable.field == field) {
            return Err("has a variable twice");
        }
        let start = self.segments.len();
        pattern.split('/').try_for_each(|segment| self.segment(segment))?;
        let segments = start..self.segments.len();
        let is_rest = self.segments.last() == Some(&Segment::Rest);
        self.variables.push(Variable { field: field.to_owned(), segments, is_rest });
        Ok(())
    }
}

fn is_identifier(text: &str) -> bool {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(is_start) && text.bytes().all(|byte| is_start(byte) || byte.is_ascii_digit())
}

/// What RFC 3986 lets stand in a segment, without escapes and what has a meaning in templates.
fn literal(text: &str) -> Result<&str, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;@".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) { Ok(text) } else { Err("has a segment that is no text") }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Literal(text) => text,
            Self::One => "*",
            Self::Rest => "**",
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            f.write_str("/")?;
            let begins = self.variables.iter().find(|variable| variable.segments.start == index);
            if let Some(Variable { field, .. }) = begins {
                write!(f, "{{{field}=")?;
            }
            write!(f, "{segment}")?;
            if self.variables.iter().any(|variable| variable.segments.end == index + 1) {
                f.write_str("}")?;
            }
        }
        self.verb.iter().try_for_each(|verb| write!(f, ":{verb}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn captures(template: &str, path: &str) -> Option<Vec<String>> {
        let path: Vec<_> = path.split('/').collect();
        template.parse::<Template>().unwrap().captures(&path)
    }

    #[test]
    fn templates_are_read_and_printed() {
        for (text, printed) in [
            ("/v1/orders", "/v1/orders"),
            ("/v1/products:batchGet", "/v1/products:batchGet"),
            ("/v1/{name=users/*/sessions/*}:revoke", "/v1/{name=users/*/sessions/*}:revoke"),
            ("/v1/{product.name=products/*}", "/v1/{product.name=products/*}"),
            ("/v1/a/{id}/b/{rest=**}", "/v1/a/{id=*}/b/{rest=**}"),
            ("/v1/*/**:verb", "/v1/*/**:verb"),
        ] {
            assert_eq!(text.parse::<Template>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for wrong in [
            "",
            "v1",
            "/",
            "/v1/",
            "/v1//a",
            "/v1/**/a",
            "/{a=**}/{b=**}",
            "/v1/{a",
            "/v1/{a}b",
            "/v1/{}",
            "/v1/{a.}",
            "/v1/{1a}",
            "/v1/{a=}",
            "/v1/{a={b}}",
            "/{a}/{a}",
            "/v1:",
            "/v1/a%2F",
            "/v1/a?b",
            "/v1/***",
        ] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_of_one_segment_is_decoded_and_one_of_several_keeps_escaped_slashes() {
        assert_eq!(captures("/v1/{id}", "v1/a%2Fb%20c").unwrap(), ["a/b c"]);
        assert_eq!(captures("/v1/{name=users/*}", "v1/users/a%2Fb%20c").unwrap(), ["users/a%2Fb c"]);
        assert_eq!(captures("/v1/{name=**}", "v1/a/b%2F/c").unwrap(), ["a/b%2F/c"]);
        assert_eq!(captures("/v1/{name=**}", "v1").unwrap(), [""]);
        assert_eq!(captures("/v1/{id}", "v1/%zz"), None);
    }

    fn segment() -> impl Strategy<Value = String> {
        prop_oneof![Just("*".to_owned()), "[a-zA-Z0-9_.~-]{1,8}"]
    }

    prop_compose! {
        fn template()(
            before in prop::collection::vec(segment(), 0..4),
            variable in prop::option::of((
                "[a-z_][a-z0-9_]{0,5}(\\.[a-z]{1,3})?",
                prop::collection::vec(segment(), 1..3),
            )),
            rest in any::<bool>(),
            verb in prop::option::of("[a-zA-Z]{1,8}"),
        ) -> String {
            let mut segments = before;
            segments.insert(0, "v1".to_owned());
            segments.extend(variable.map(|(field, segments)| format!("{{{field}={}}}", segments.join("/"))));
            segments.extend(rest.then(|| "**".to_owned()));
            format!("/{}{}", segments.join("/"), verb.map(|verb| format!(":{verb}")).unwrap_or_default())
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(text in template()) {
            let read: Template = text.parse().unwrap();
            prop_assert_eq!(read.to_string(), text);
        }

        #[test]
        fn any_text_is_a_template_or_none(text in any::<String>(), like in "[/{}=*:.a%]{0,24}") {
            for text in [text, like] {
                if let Ok(template) = text.parse::<Template>() {
                    prop_assert_eq!(template.to_string().parse::<Template>(), Ok(template));
                }
            }
        }
    }
}
