//! The settings of other issuers whose tokens are exchanged for ours.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use meshwork::server::auth::jwt::Algorithm;
use meshwork_chassis::ServeError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::domain::{MAX_SUBJECT, Role};

/// The most issuers.
const MAX_ISSUERS: usize = 16;
/// The most audiences of an issuer.
const MAX_AUDIENCES: usize = 16;
/// The most subjects of an issuer that have a role by the settings.
const MAX_ROLES: usize = 10_000;
/// The most bytes of an issuer, an audience or a URL.
const MAX_TEXT: usize = 255;
/// The most that the clocks of an issuer and ours may differ by.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// What tokens are signed by: signatures that whoever verifies them can't make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum IssuerAlgorithm {
    /// Ed25519 (RFC 8037).
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
}

impl From<IssuerAlgorithm> for Algorithm {
    fn from(algorithm: IssuerAlgorithm) -> Self {
        match algorithm {
            IssuerAlgorithm::EdDsa => Self::EdDSA,
            IssuerAlgorithm::Es256 => Self::ES256,
            IssuerAlgorithm::Es384 => Self::ES384,
            IssuerAlgorithm::Rs256 => Self::RS256,
            IssuerAlgorithm::Rs384 => Self::RS384,
            IssuerAlgorithm::Rs512 => Self::RS512,
            IssuerAlgorithm::Ps256 => Self::PS256,
            IssuerAlgorithm::Ps384 => Self::PS384,
            IssuerAlgorithm::Ps512 => Self::PS512,
        }
    }
}

/// The role of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IssuerRole {
    /// Buys.
    Customer,
    /// Runs the shop.
    Staff,
}

impl From<IssuerRole> for Role {
    fn from(role: IssuerRole) -> Self {
        match role {
            IssuerRole::Customer => Self::Customer,
            IssuerRole::Staff => Self::Staff,
        }
    }
}

/// Another issuer whose tokens are exchanged for ours.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The issuer, exactly as its tokens have it as `iss`: a URL, unless `jwks_url` is set.
    pub issuer: String,
    /// Whom its tokens must be for: one of these has to be among their `aud`. Name an audience that is this back end's alone, such as
    /// the client id that it is registered by: who has tokens for another application of the issuer could use them here otherwise.
    pub audiences: Vec<String>,
    /// Where its keys are published (RFC 7517). Empty: where the document says that is at `/.well-known/openid-configuration` below
    /// the issuer (OpenID Connect Discovery 1.0).
    #[serde(default)]
    pub jwks_url: String,
    /// A file of PEM certificates of the authorities by which its servers are known, read at the start; empty: those that browsers
    /// know.
    #[serde(default)]
    pub ca: PathBuf,
    /// What its tokens may be signed by: of EdDSA, ES256, ES384, RS256, RS384, RS512, PS256, PS384 and PS512.
    #[serde(default = "algorithms")]
    pub algorithms: Vec<IssuerAlgorithm>,
    /// What its clock and ours may differ by, in whole seconds, up to 60s.
    #[serde(default = "clock_skew", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub clock_skew: Duration,
    /// The roles of its subjects (the `sub` of their tokens), `customer` or `staff`. Who isn't named is a customer, whatever a token
    /// says of roles.
    #[serde(default)]
    pub roles: BTreeMap<String, IssuerRole>,
    /// Whether somebody who comes first gets an account. If not, only those whom `roles` names get one.
    #[serde(default = "create_accounts")]
    pub create_accounts: bool,
}

fn algorithms() -> Vec<IssuerAlgorithm> {
    vec![IssuerAlgorithm::Rs256, IssuerAlgorithm::Es256, IssuerAlgorithm::EdDsa]
}

const fn clock_skew() -> Duration {
    Duration::from_secs(5)
}

const fn create_accounts() -> bool {
    true
}

impl IssuerConfig {
    /// Whether the values make sense; `key` names the entry.
    fn check(&self, key: &str) -> Result<(), ServeError> {
        let refuse = |name: &str, value: String, right: &str| {
            Err(ServeError::new(format!("{key}.{name} is {value}"), format!("it must be {right}")))
        };
        if !is_text(&self.issuer, MAX_TEXT) {
            let right = format!("1 to {MAX_TEXT} bytes without control characters");
            return refuse("issuer", shown(&self.issuer), &right);
        }
        if self.jwks_url.is_empty() {
            if let Err(right) = discovery_url(&self.issuer) {
                return refuse("issuer", shown(&self.issuer), &format!("{right}, unless jwks_url is set"));
            }
        } else if let Err(right) = endpoint(&self.jwks_url) {
            return refuse("jwks_url", shown(&self.jwks_url), right);
        }
        let mut audiences = HashSet::new();
        if !(1..=MAX_AUDIENCES).contains(&self.audiences.len()) {
            let right = format!("a list of 1 to {MAX_AUDIENCES}");
            return refuse("audiences", format!("a list of {}", self.audiences.len()), &right);
        }
        if let Some(wrong) = self.audiences.iter().find(|audience| !is_text(audience, MAX_TEXT)) {
            let right = format!("a list of texts of 1 to {MAX_TEXT} bytes without control characters");
            return refuse("audiences", format!("a list with {}", shown(wrong)), &right);
        }
        if let Some(again) = self.audiences.iter().find(|audience| !audiences.insert(audience.as_str())) {
            return refuse("audiences", format!("a list with {} twice", shown(again)), "a list of each audience once");
        }
        let distinct: HashSet<_> = self.algorithms.iter().collect();
        if distinct.is_empty() || distinct.len() < self.algorithms.len() {
            return refuse("algorithms", format!("{:?}", self.algorithms), "a list of one or more, each once");
        }
        if self.clock_skew > MAX_SKEW {
            let skew = humantime_serde::re::humantime::format_duration(self.clock_skew);
            return refuse("clock_skew", skew.to_string(), &format!("0s to {}s", MAX_SKEW.as_secs()));
        }
        if self.roles.len() > MAX_ROLES {
            return refuse("roles", format!("a table of {}", self.roles.len()), &format!("one of at most {MAX_ROLES}"));
        }
        match self.roles.keys().find(|subject| !(1..=MAX_SUBJECT).contains(&subject.len())) {
            Some(subject) => {
                let right = format!("of subjects of 1 to {MAX_SUBJECT} bytes");
                refuse("roles", format!("a table with {}", shown(subject)), &right)
            }
            None => Ok(()),
        }
    }
}

/// Whether the issuers' values make sense; `own` is the issuer that we are.
///
/// # Errors
/// A sentence that names the key, its value and what would be right.
pub(super) fn check(issuers: &[IssuerConfig], own: &str) -> Result<(), ServeError> {
    if issuers.len() > MAX_ISSUERS {
        let sentence = format!("users.issuers is a list of {}", issuers.len());
        return Err(ServeError::new(sentence, format!("it must have at most {MAX_ISSUERS}")));
    }
    let mut names = HashSet::new();
    for (at, issuer) in issuers.iter().enumerate() {
        let key = format!("users.issuers[{at}]");
        issuer.check(&key)?;
        if issuer.issuer == own {
            let sentence = format!("{key}.issuer is {}, which is users.auth.issuer", shown(own));
            return Err(ServeError::new(sentence, "it must be another: our own tokens are not exchanged"));
        }
        if !names.insert(&issuer.issuer) {
            let sentence = format!("{key}.issuer is {}, which is there twice", shown(&issuer.issuer));
            return Err(ServeError::new(sentence, "name each issuer once, with all of its audiences"));
        }
    }
    Ok(())
}

/// Where an issuer's discovery document is (OpenID Connect Discovery 1.0 §4).
///
/// # Errors
/// What would be right.
pub(crate) fn discovery_url(issuer: &str) -> Result<Url, &'static str> {
    let is_bare = endpoint(issuer)?.query().is_none();
    if !is_bare {
        return Err("an https URL without query");
    }
    // The issuer is what its tokens say, to the letter; only what is fetched is in its normal form.
    endpoint(&format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer)))
}

/// A URL that keys are fetched from: what they are must reach us as it was sent, so that it is https, or http on this host.
///
/// # Errors
/// What would be right.
pub(crate) fn endpoint(text: &str) -> Result<Url, &'static str> {
    const RIGHT: &str =
        "an https URL of at most 255 bytes, without user, password and fragment; http on a loopback host alone";
    if text.len() > MAX_TEXT + "/.well-known/openid-configuration".len() {
        return Err(RIGHT);
    }
    let url = Url::parse(text).map_err(|_| RIGHT)?;
    let is_loopback = match url.host().ok_or(RIGHT)? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    let is_bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if is_safe && is_bare { Ok(url) } else { Err(RIGHT) }
}

fn is_text(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A value for people, unless it is too long to be shown, or may hold a password.
fn shown(text: &str) -> String {
    if text.contains("://") && text.contains('@') {
        return "a URL with a user".to_owned();
    }
    if text.len() <= MAX_TEXT { format!("{text:?}") } else { format!("a text of {} bytes", text.len()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(changes: &Value) -> IssuerConfig {
        let mut settings = json!({ "issuer": "https://login.example.com", "audiences": ["shop"] });
        for (key, value) in changes.as_object().unwrap() {
            settings[key] = value.clone();
        }
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn what_is_not_set_is_safe() {
        let settings = settings(&json!({}));
        assert_eq!(settings.algorithms, [IssuerAlgorithm::Rs256, IssuerAlgorithm::Es256, IssuerAlgorithm::EdDsa]);
        assert_eq!((settings.clock_skew, settings.create_accounts), (Duration::from_secs(5), true));
        check(&[settings], "meshwork").unwrap();
    }

    #[test]
    fn settings_are_read() {
        let text = json!({
            "roles": {"anna": "staff", "auth0|bert": "customer"},
            "algorithms": ["EdDSA", "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            "clock_skew": "1m", "create_accounts": false, "jwks_url": "http://127.0.0.1:1/keys",
        });
        let settings = settings(&text);
        check(std::slice::from_ref(&settings), "meshwork").unwrap();
        assert_eq!(settings.roles["anna"], IssuerRole::Staff);
        assert!(settings.algorithms.iter().all(|algorithm| {
            serde_json::to_value(algorithm).unwrap() == json!(format!("{:?}", Algorithm::from(*algorithm)))
        }));
        for wrong in [
            json!({"algorithms": ["HS256"]}),
            json!({"algorithms": ["none"]}),
            json!({"roles": {"anna": "service"}}),
            json!({"subjects": {}}),
        ] {
            let mut all = json!({ "issuer": "https://a.example", "audiences": ["shop"] });
            all.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
            assert!(serde_json::from_value::<IssuerConfig>(all).is_err(), "{wrong}");
        }
        assert!(serde_json::from_value::<IssuerConfig>(json!({ "issuer": "https://a.example" })).is_err());
    }

    #[test]
    fn bad_settings_are_refused_by_their_keys() {
        for (key, changes) in [
            ("issuer", json!({"issuer": ""})),
            ("issuer", json!({"issuer": "login.example.com"})),
            ("issuer", json!({"issuer": "http://login.example.com"})),
            ("issuer", json!({"issuer": "http://10.0.0.1"})),
            ("issuer", json!({"issuer": "ftp://login.example.com"})),
            ("issuer", json!({"issuer": "https://login.example.com?a=b"})),
            ("issuer", json!({"issuer": "https://login.example.com#a"})),
            ("issuer", json!({"issuer": "https://anna:secret@login.example.com"})),
            ("issuer", json!({"issuer": format!("https://login.example.com/{}", "a".repeat(255))})),
            ("issuer", json!({"issuer": "a\nb", "jwks_url": "https://login.example.com/keys"})),
            ("jwks_url", json!({"jwks_url": "http://login.example.com/keys"})),
            ("jwks_url", json!({"jwks_url": "keys"})),
            ("audiences", json!({"audiences": []})),
            ("audiences", json!({"audiences": ["shop", "shop"]})),
            ("audiences", json!({"audiences": [""]})),
            ("audiences", json!({"audiences": vec!["a"; 17]})),
            ("algorithms", json!({"algorithms": []})),
            ("algorithms", json!({"algorithms": ["ES256", "ES256"]})),
            ("clock_skew", json!({"clock_skew": "61s"})),
            ("roles", json!({"roles": {"": "staff"}})),
            ("roles", json!({"roles": {("a".repeat(256)): "staff"}})),
        ] {
            let refused = check(&[settings(&changes)], "meshwork").unwrap_err();
            assert!(refused.sentence.starts_with(&format!("users.issuers[0].{key} is ")), "{key}: {refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
        let own = check(&[settings(&json!({}))], "https://login.example.com").unwrap_err();
        assert!(
            own.sentence.contains("users.issuers[0].issuer") && own.sentence.contains("users.auth.issuer"),
            "{own}"
        );
        let twice = check(&[settings(&json!({})), settings(&json!({"audiences": ["desk"]}))], "meshwork").unwrap_err();
        assert!(twice.sentence.starts_with("users.issuers[1].issuer "), "{twice}");
        assert!(check(&vec![settings(&json!({})); 17], "meshwork").is_err());
        // With the place of its keys, an issuer is any text.
        let text = settings(&json!({"issuer": "accounts", "jwks_url": "https://login.example.com/keys"}));
        check(&[text], "meshwork").unwrap();
    }

    #[test]
    fn documents_are_below_their_issuers() {
        for (issuer, url) in [
            ("https://a.example", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/realms/shop/", "https://a.example/realms/shop/.well-known/openid-configuration"),
            ("http://[::1]:8080", "http://[::1]:8080/.well-known/openid-configuration"),
            ("http://localhost:8080", "http://localhost:8080/.well-known/openid-configuration"),
        ] {
            assert_eq!(discovery_url(issuer).unwrap().as_str(), url);
        }
    }
}
