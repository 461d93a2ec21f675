//! What a call shows of who makes it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

/// The header of an API key; `authorization` takes one too.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What API keys begin with.
const KEY_PREFIX: &str = "mwk_";
/// The most bytes of a key or token: those that users exchanges.
const LONGEST: usize = 8192;

/// The credentials of a call by their looks; nothing of it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    /// None, or what no key or token looks like.
    Other,
    /// An API key.
    Key(&'a str),
    /// A JSON Web Token.
    Token(&'a str),
}

/// Why credentials are refused by their looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It would be open whose call it is.
    Several,
    /// The header of keys has something else.
    NoKey,
}

/// What these headers show.
///
/// # Errors
/// When they show several credentials, or something that is no key where a key belongs.
pub(super) fn presented(headers: &HeaderMap) -> Result<Presented<'_>, Unfit> {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        (values.next(), values.next().is_some())
    };
    match (one(API_KEY), one(AUTHORIZATION)) {
        ((Some(_), true), _) | ((Some(_), _), (Some(_), _)) => Err(Unfit::Several),
        ((Some(value), false), (None, _)) => {
            value.to_str().ok().filter(|text| is_key(text)).map(Presented::Key).ok_or(Unfit::NoKey)
        }
        ((None, _), (Some(value), false)) => Ok(of_authorization(value)),
        ((None, _), _) => Ok(Presented::Other),
    }
}

fn of_authorization(value: &HeaderValue) -> Presented<'_> {
    let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return Presented::Other;
    };
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.len() > LONGEST {
        return Presented::Other;
    }
    if is_key(token) {
        return Presented::Key(token);
    }
    if token.bytes().filter(|byte| *byte == b'.').count() == 2 { Presented::Token(token) } else { Presented::Other }
}

fn is_key(text: &str) -> bool {
    text.starts_with(KEY_PREFIX) && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
}

/// Whether a token says that another than `issuer` has issued it. Nobody has looked at its signature: it decides who does.
pub(super) fn is_foreign(token: &str, issuer: &str) -> bool {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = payload.and_then(|payload| serde_json::from_slice::<Claims>(&payload).ok());
    claims.is_some_and(|claims| claims.iss != issuer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> Result<Presented<'static>, Unfit> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let headers: &'static HeaderMap = Box::leak(Box::new(headers));
        presented(headers)
    }

    #[test]
    fn keys_and_tokens_are_told_apart_by_their_looks() {
        assert_eq!(of(&[]), Ok(Presented::Other));
        assert_eq!(of(&[("x-api-key", "mwk_a")]), Ok(Presented::Key("mwk_a")));
        assert_eq!(of(&[("authorization", "bearer  mwk_a ")]), Ok(Presented::Key("mwk_a")));
        assert_eq!(of(&[("authorization", "Bearer a.b.c")]), Ok(Presented::Token("a.b.c")));
        for other in ["Bearer a.b", "Basic mwk_a", "mwk_a", "Bearer mwk_a b", ""] {
            assert_eq!(of(&[("authorization", other)]), Ok(Presented::Other), "{other}");
        }
        for no_key in ["", "a.b.c", "Bearer mwk_a", "MWK_a", "mwk_a b"] {
            assert_eq!(of(&[("x-api-key", no_key)]), Err(Unfit::NoKey), "{no_key}");
        }
    }

    #[test]
    fn several_credentials_are_refused() {
        let (key, token) = (("x-api-key", "mwk_a"), ("authorization", "Bearer a.b.c"));
        for several in [[key, token], [key, key], [key, ("authorization", "Bearer mwk_a")], [("x-api-key", ""), token]]
        {
            assert_eq!(of(&several), Err(Unfit::Several), "{several:?}");
        }
        // The verifier refuses them.
        assert_eq!(of(&[token, token]), Ok(Presented::Other));
    }

    #[test]
    fn a_token_is_of_another_issuer_when_it_says_so_once() {
        let token = |payload: &str| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(payload));
        assert!(is_foreign(&token(r#"{"iss":"https://other"}"#), "meshwork"));
        for own in [r#"{"iss":"meshwork"}"#, "{}", r#"{"iss":7}"#, r#"{"iss":"a","iss":"meshwork"}"#, "[", ""] {
            assert!(!is_foreign(&token(own), "meshwork"), "{own}");
        }
        assert!(!is_foreign("e30.*.x", "meshwork"));
    }
}
