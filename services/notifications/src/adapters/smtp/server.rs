//! Which mail server is meant, and how it is spoken to: what a URL says.

use std::net::IpAddr;

use meshwork_chassis::config::Secret;
use percent_encoding::percent_decode_str;
use url::Url;

/// What URLs look like.
const URLS: &str = "smtp://[USER:PASSWORD@]HOST[:PORT][?tls=required|opportunistic|none], \
                    smtps://[USER:PASSWORD@]HOST[:PORT], or empty";

/// When a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// From its first byte.
    Implicit,
    /// By STARTTLS, before anything else is said.
    Required,
    /// By STARTTLS, if the server has it and it works; whatever its certificate.
    Opportunistic,
    /// Never.
    None,
}

/// With which account letters are handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub user: Secret,
    /// Its password.
    pub password: Secret,
}

/// A mail server. One with a [`Login`] is on this host or always encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailServer {
    /// A name or an address; of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// When a connection is encrypted.
    pub encryption: Encryption,
    /// The account; `None` for a server that takes letters from anybody.
    pub login: Option<Login>,
}

impl MailServer {
    /// The server that `url` names. When it doesn't say so, TLS is required of `smtp://` with a login and used without one
    /// where it is offered; the port is 465 for `smtps://`, else 587 with a login and 25 without.
    ///
    /// # Errors
    /// What would be right. It doesn't quote the URL, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let url = Url::parse(url).map_err(|_| URLS)?;
        let is_implicit = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            _ => return Err(URLS),
        };
        let host = url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']'));
        let host = host.filter(|host| !host.is_empty()).ok_or(URLS)?;
        if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte)) {
            return Err("with a HOST of ASCII letters, digits, `.`, `-` and `_` (of other alphabets as `xn--…`)");
        }
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(URLS);
        }
        let login = login(&url)?;
        let mut asked = url.query_pairs();
        let encryption = match (asked.next(), asked.next()) {
            (None, _) if is_implicit => Encryption::Implicit,
            (Some(_), _) if is_implicit => return Err("without `tls` where it is smtps://, which is always encrypted"),
            (None, _) if login.is_some() => Encryption::Required,
            (None, _) => Encryption::Opportunistic,
            (Some((key, value)), None) if key == "tls" => match value.as_ref() {
                "required" => Encryption::Required,
                "opportunistic" => Encryption::Opportunistic,
                "none" => Encryption::None,
                _ => return Err("with tls=required, tls=opportunistic or tls=none"),
            },
            _ => return Err("with `tls` as its only parameter"),
        };
        let is_certain = matches!(encryption, Encryption::Implicit | Encryption::Required);
        if login.is_some() && !is_certain && !is_loopback(host) {
            return Err("with tls=required: a login goes unencrypted to this host alone (localhost, 127.0.0.1, [::1])");
        }
        let port = match (url.port(), is_implicit, &login) {
            (Some(port), ..) => port,
            (None, true, _) => 465,
            (None, false, Some(_)) => 587,
            (None, false, None) => 25,
        };
        Ok(Self { host: host.to_owned(), port, encryption, login })
    }
}

/// The account that a URL holds, if any.
fn login(url: &Url) -> Result<Option<Login>, &'static str> {
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        // A null byte parts the fields of a login.
        Ok(text) if !text.contains('\0') => Ok(Secret::new(text)),
        _ => Err("with USER and PASSWORD in UTF-8, reserved characters as %40 and the like"),
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", _) | (_, None | Some("")) => Err("with both USER and PASSWORD, or neither"),
        (user, Some(password)) => Ok(Some(Login { user: decoded(user)?, password: decoded(password)? })),
    }
}

/// Whether a host is this one, by its name (RFC 6761) or by its address.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, u16, Encryption, Option<(String, String)>) {
        let server = MailServer::parse(url).unwrap_or_else(|right| panic!("{url}: {right}"));
        let login = server.login.map(|login| (login.user.expose().to_owned(), login.password.expose().to_owned()));
        (server.host, server.port, server.encryption, login)
    }

    #[test]
    fn what_a_url_leaves_out_is_the_safe_choice() {
        use Encryption::{Implicit, None as Never, Opportunistic, Required};
        for (url, host, port, encryption) in [
            ("smtp://mail.example.com", "mail.example.com", 25, Opportunistic),
            ("smtp://mail.example.com/", "mail.example.com", 25, Opportunistic),
            ("smtp://mail:2525?tls=none", "mail", 2525, Never),
            ("smtp://mail?tls=required", "mail", 25, Required),
            ("smtp://a:b@mail", "mail", 587, Required),
            ("smtp://a:b@mail?tls=required", "mail", 587, Required),
            ("smtp://a:b@localhost", "localhost", 587, Required),
            ("smtp://a:b@localhost?tls=none", "localhost", 587, Never),
            ("smtp://a:b@127.0.0.1:2525?tls=opportunistic", "127.0.0.1", 2525, Opportunistic),
            ("smtp://a:b@[::1]:2525?tls=none", "::1", 2525, Never),
            ("smtps://a:b@mail", "mail", 465, Implicit),
            ("smtps://[2001:db8::1]", "2001:db8::1", 465, Implicit),
        ] {
            let found = parsed(url);
            assert_eq!((found.0.as_str(), found.1, found.2), (host, port, encryption), "{url}");
        }
    }

    #[test]
    fn a_login_may_hold_any_character() {
        let (.., login) = parsed("smtps://anna%40example.com:p%C3%A4ss%2F%3A%40@mail");
        assert_eq!(login, Some(("anna@example.com".to_owned(), "päss/:@".to_owned())));
        let debug = format!("{:?}", MailServer::parse("smtps://anna:hush@mail").unwrap());
        assert!(!debug.contains("hush") && !debug.contains("anna"), "{debug}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_its_secrets() {
        for (url, right) in [
            ("mail.example.com", "smtp://"),
            ("http://a:hush@mail", "smtp://"),
            ("smtp://", "smtp://"),
            ("smtp:mail", "smtp://"),
            ("smtp://a:hush@mail/hello", "smtp://"),
            ("smtp://a:hush@mail#x", "smtp://"),
            ("smtp://a:hush@mail:70000", "smtp://"),
            ("smtp://bücher.example", "xn--"),
            ("smtp://anna@mail", "both USER and PASSWORD"),
            ("smtp://:hush@mail", "both USER and PASSWORD"),
            ("smtp://a:%FF@mail", "UTF-8"),
            ("smtp://a:hush%00@mail", "UTF-8"),
            ("smtp://mail?tls=yes", "tls=required"),
            ("smtp://mail?tls=none&tls=required", "only parameter"),
            ("smtp://mail?ssl=1", "only parameter"),
            ("smtps://mail?tls=none", "smtps://"),
            ("smtp://a:hush@mail?tls=none", "tls=required"),
            ("smtp://a:hush@mail?tls=opportunistic", "tls=required"),
            ("smtp://a:hush@192.0.2.1?tls=none", "tls=required"),
            ("smtp://a:hush@localhost.example.com?tls=none", "tls=required"),
            ("smtp://a:hush@0.0.0.0?tls=none", "tls=required"),
        ] {
            let refused = MailServer::parse(url).unwrap_err();
            assert!(refused.contains(right) && !refused.contains("hush"), "{url}: {refused}");
        }
    }
}
