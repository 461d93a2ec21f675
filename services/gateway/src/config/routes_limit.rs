//! Settings of how many calls of some methods a client may make.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use meshwork::server::rate::{Rate, Rule};
use meshwork_chassis::ServeError;
use meshwork_chassis::auth::AccessTable;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most limits of methods, and the most methods and services of one.
const MOST: usize = 64;
/// The packages whose methods are known from the start.
const OURS: &str = "meshwork.";

/// How many calls of some methods a client may make, all of them together.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteLimit {
    /// The methods (`package.Service/Method`) and services (`package.Service`) whose calls count. The first names the limit to
    /// callers.
    pub methods: Vec<String>,
    /// How many calls at once, after a pause.
    pub burst: NonZeroU32,
    /// How many calls per second in the long run; may be below 1.
    pub per_second: f64,
}

/// The rules of these limits.
///
/// # Errors
/// When a value is out of its range; the error names the key.
pub(super) fn route_rules(routes: &[RouteLimit]) -> Result<Vec<Rule>, ServeError> {
    if routes.len() > MOST {
        return Err(ServeError::new(
            format!("gateway.rate_limit.routes has {} limits, more than {MOST}", routes.len()),
            "put methods that may have one limit together into one of `gateway.rate_limit.routes`",
        ));
    }
    if routes.is_empty() {
        // Contracts take their time to be read, at each start.
        return Ok(Vec::new());
    }
    let ours = AccessTable::from_contracts()?;
    let services: BTreeSet<_> = ours.services().into_iter().collect();
    let is_there =
        |name: &str| !name.starts_with(OURS) || services.contains(name) || ours.get(&format!("/{name}")).is_some();
    let mut names = BTreeSet::new();
    routes
        .iter()
        .enumerate()
        .map(|(at, route)| {
            let RouteLimit { methods, burst, per_second } = route;
            let key = format!("gateway.rate_limit.routes[{at}]");
            let (Some(first), true) = (methods.first(), methods.len() <= MOST) else {
                return Err(ServeError::new(
                    format!("{key}.methods has {} methods, and not 1 to {MOST}", methods.len()),
                    format!("list in `{key}.methods` whose calls count, such as meshwork.users.v1.AuthService/SignIn"),
                ));
            };
            if let Some(wrong) = methods.iter().find(|name| !is_name(name) || !is_there(name)) {
                return Err(ServeError::new(
                    format!("{key}.methods has {wrong:?}, which is no method and no service"),
                    format!(
                        "set `{key}.methods` to names such as meshwork.users.v1.AuthService/SignIn, or \
                         meshwork.users.v1.AuthService for all of its methods"
                    ),
                ));
            }
            if !names.insert(first.as_str()) {
                return Err(ServeError::new(
                    format!("{key} is named by {first}, as another limit is"),
                    format!("put another method first in `{key}.methods`, or leave one of the limits away"),
                ));
            }
            let rate = Rate::per_second(u64::from(burst.get()), *per_second).map_err(|error| {
                ServeError::new(
                    format!("{key}.per_second: {error}"),
                    format!("set `{key}.per_second` to a number above zero, such as 0.1"),
                )
            })?;
            Ok(Rule::new(first.as_str(), rate).methods(methods))
        })
        .collect()
}

/// The first name in `routes` that `is_there` doesn't know, by its limit's place.
fn unknown<'l>(routes: &'l [RouteLimit], is_there: impl Fn(&str) -> bool) -> Option<(usize, &'l str)> {
    let names_of = |(at, route): (usize, &'l RouteLimit)| route.methods.iter().map(move |name| (at, name.as_str()));
    let mut names = routes.iter().enumerate().flat_map(names_of);
    names.find(|(_, name)| !is_there(name))
}

/// Says if there is none of what a limit is for, by `is_there`: it may come with the routes, or be a mistake.
pub(super) fn warn_of_unknown(routes: &[RouteLimit], is_there: impl Fn(&str) -> bool) {
    if let Some((at, name)) = unknown(routes, is_there) {
        tracing::warn!(
            "gateway.rate_limit.routes[{at}].methods has {name:?}, which is neither the shop's nor an added upstream's: nobody's \
             calls count for it"
        );
    }
}

/// Whether a text may be the full name of a service or a method: a service without a package is taken for the name of a method.
fn is_name(text: &str) -> bool {
    let is_word = |word: &str| {
        let mut bytes = word.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let (service, method) = text.split_once('/').map_or((text, None), |(service, method)| (service, Some(method)));
    text.len() <= 256 && service.contains('.') && service.split('.').all(is_word) && method.is_none_or(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(methods: &[&str], per_second: f64) -> RouteLimit {
        let methods = methods.iter().map(|&method| method.to_owned()).collect();
        RouteLimit { methods, burst: NonZeroU32::MIN, per_second }
    }

    #[track_caller]
    fn refused(routes: &[RouteLimit], start: &str) {
        let error = route_rules(routes).map(drop).unwrap_err();
        assert!(error.sentence.starts_with(start), "{error}");
    }

    #[test]
    fn limits_are_of_methods_and_services_that_there_are() {
        let sign_in = "meshwork.users.v1.AuthService/SignIn";
        let good = [limit(&[sign_in, "shop.v1.Other/Method"], 0.1), limit(&["meshwork.users.v1.AuthService"], 1.0)];
        let rules = route_rules(&good).unwrap();
        assert_eq!(rules.iter().map(Rule::name).collect::<Vec<_>>(), [sign_in, "meshwork.users.v1.AuthService"]);
        assert!(rules[0].counts("/shop.v1.Other/Method") && !rules[0].counts("/meshwork.users.v1.AuthService/SignOut"));
        for wrong in [
            "",
            "/a.B/C",
            "a.B/",
            "a..B",
            "SignIn",
            "Nope/SignIn",
            "meshwork.users.v1.AuthService/SignUp",
            "meshwork.users.v1.AuthServic",
        ] {
            refused(&[good[0].clone(), limit(&[wrong], 1.0)], "gateway.rate_limit.routes[1].methods has \"");
        }
        let is_there = |name: &str| name.starts_with("meshwork.");
        assert_eq!(unknown(&good, is_there), Some((0, "shop.v1.Other/Method")));
        assert_eq!(unknown(&good[1..], is_there), None);
        refused(&[limit(&[], 1.0)], "gateway.rate_limit.routes[0].methods has 0 methods");
        refused(&[limit(&vec![sign_in; MOST + 1], 1.0)], "gateway.rate_limit.routes[0].methods has 65 methods");
        refused(&[good[0].clone(), good[0].clone()], "gateway.rate_limit.routes[1] is named by ");
        refused(&[limit(&[sign_in], 0.0)], "gateway.rate_limit.routes[0].per_second: ");
        refused(&vec![good[0].clone(); MOST + 1], "gateway.rate_limit.routes has 65 limits");
    }
}
