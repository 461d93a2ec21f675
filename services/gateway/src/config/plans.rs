//! Settings of plans: clients that have another limit than all others.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use meshwork::server::auth::Principal;
use meshwork::server::rate::{Plans, Rate};
use meshwork_api::UserName;
use meshwork_chassis::{Role, ServeError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most plans, the most accounts that they name together, and the most characters of a name.
const MOST: usize = 32;
const MOST_ACCOUNTS: usize = 1000;
const MOST_CHARACTERS: usize = 64;

/// How many calls a client on a plan may make, in place of what all others may. An account is on the plan that names it, or else
/// on that of its role.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How many calls at once, after a pause.
    pub burst: NonZeroU32,
    /// How many calls per second in the long run; may be below 1.
    pub per_second: f64,
    /// The accounts on the plan, `users/ID`; 1,000 at most, of all plans together.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// The roles whose accounts are on the plan: `customer`, `staff` or `service`.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Whether its accounts count for what all accounts at one address have together (`gateway.rate_limit.accounts_per_address`).
    #[serde(default = "is_shared")]
    pub address_share: bool,
}

fn is_shared() -> bool {
    true
}

impl Plan {
    /// How many calls a client on the plan `name` may make.
    ///
    /// # Errors
    /// When that is no rate; the error names the key.
    pub(super) fn rate(&self, name: &str) -> Result<Rate, ServeError> {
        Rate::per_second(u64::from(self.burst.get()), self.per_second).map_err(|error| {
            ServeError::new(
                format!("gateway.rate_limit.plans.{name}.per_second: {error}"),
                format!("set `gateway.rate_limit.plans.{name}.per_second` to a number above zero, such as 100"),
            )
        })
    }
}

/// The plans that nobody is on.
fn without_anybody(plans: &BTreeMap<String, Plan>) -> impl Iterator<Item = &str> {
    let is_unused = |plan: &Plan| plan.accounts.is_empty() && plan.roles.is_empty();
    plans.iter().filter(move |(_, plan)| is_unused(plan)).map(|(name, _)| name.as_str())
}

/// Says which plans nobody is on.
pub(super) fn warn_of_unused(plans: &BTreeMap<String, Plan>) {
    for name in without_anybody(plans) {
        tracing::warn!(
            "gateway.rate_limit.plans.{name} names nobody, so that it holds for nobody: list `accounts` or `roles`, or leave it out"
        );
    }
}

/// Who is on which plan.
#[derive(Debug)]
pub(super) struct PlanTable {
    accounts: HashMap<String, Arc<str>>,
    roles: Vec<(Role, Arc<str>)>,
}

impl PlanTable {
    /// The table of these plans.
    ///
    /// # Errors
    /// When there are too many, or somebody is on two of them; the error names the key.
    pub(super) fn new(plans: &BTreeMap<String, Plan>) -> Result<Self, ServeError> {
        let hint = "leave some of `gateway.rate_limit.plans` away, or name the role of accounts in place of each";
        if plans.len() > MOST {
            let sentence = format!("gateway.rate_limit.plans has {} plans, more than {MOST}", plans.len());
            return Err(ServeError::new(sentence, hint));
        }
        let count: usize = plans.values().map(|plan| plan.accounts.len()).sum();
        if count > MOST_ACCOUNTS {
            let sentence = format!("gateway.rate_limit.plans name {count} accounts, more than {MOST_ACCOUNTS}");
            return Err(ServeError::new(sentence, hint));
        }
        let mut table = Self { accounts: HashMap::new(), roles: Vec::new() };
        for (name, plan) in plans {
            table.add(name, plan)?;
        }
        Ok(table)
    }

    fn add(&mut self, name: &str, Plan { accounts, roles, .. }: &Plan) -> Result<(), ServeError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > MOST_CHARACTERS || !name.bytes().all(is_word) {
            return Err(ServeError::new(
                format!("gateway.rate_limit.plans has a plan {name:?}, which is no name"),
                "name each of `gateway.rate_limit.plans` by 1 to 64 letters, digits, - and _",
            ));
        }
        let key = format!("gateway.rate_limit.plans.{name}");
        let twice = |key: &str, who: &str, other: &str| {
            let sentence = format!("{key} has {who}, which is on the plan {other} already");
            ServeError::new(sentence, format!("take {who} out of one of the two plans"))
        };
        let plan: Arc<str> = name.into();
        for account in accounts {
            if account.parse::<UserName>().is_err() {
                return Err(ServeError::new(
                    format!("{key}.accounts has {account:?}, which is the name of no account"),
                    format!("set `{key}.accounts` to names such as users/anna"),
                ));
            }
            if let Some(other) = self.accounts.insert(account.clone(), Arc::clone(&plan)) {
                return Err(twice(&format!("{key}.accounts"), account, &other));
            }
        }
        for word in roles {
            let role: Role = word.parse().map_err(|error| {
                ServeError::new(
                    format!("{key}.roles: {error}"),
                    format!("set `{key}.roles` to some of customer, staff and service"),
                )
            })?;
            if let Some((_, other)) = self.roles.iter().find(|(taken, _)| *taken == role) {
                return Err(twice(&format!("{key}.roles"), word, other));
            }
            self.roles.push((role, Arc::clone(&plan)));
        }
        Ok(())
    }
}

impl Plans for PlanTable {
    fn plan(&self, principal: Option<&Principal>) -> Option<&str> {
        let principal = principal?;
        let named = self.accounts.get(principal.subject());
        let of_role = || self.roles.iter().find(|(role, _)| principal.has_role(role.as_str())).map(|(_, plan)| plan);
        named.or_else(of_role).map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(accounts: &[&str], roles: &[&str]) -> Plan {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let (accounts, roles) = (texts(accounts), texts(roles));
        Plan { burst: NonZeroU32::MIN, per_second: 1.0, accounts, roles, address_share: true }
    }

    fn table(plans: &[(&str, Plan)]) -> Result<PlanTable, ServeError> {
        PlanTable::new(&plans.iter().map(|(name, plan)| ((*name).to_owned(), plan.clone())).collect())
    }

    #[test]
    fn an_account_is_on_the_plan_that_names_it_or_on_that_of_its_role() {
        let table = table(&[("gold", plan(&["users/anna"], &[])), ("inside", plan(&[], &["staff"]))]).unwrap();
        let plan = |user: &str, role: &str| {
            let principal = Principal::new(format!("users/{user}"), [role]);
            table.plan(Some(&principal)).map(str::to_owned)
        };
        assert_eq!(plan("anna", "staff").as_deref(), Some("gold"));
        assert_eq!(plan("bert", "staff").as_deref(), Some("inside"));
        assert_eq!(plan("bert", "customer"), None);
        assert_eq!(table.plan(None), None);
    }

    #[test]
    fn plans_that_name_nobody_are_found() {
        let plans = [("gold", plan(&["users/anna"], &[])), ("inside", plan(&[], &["staff"])), ("red", plan(&[], &[]))];
        let plans = plans.map(|(name, plan)| (name.to_owned(), plan)).into();
        assert_eq!(without_anybody(&plans).collect::<Vec<_>>(), ["red"]);
    }

    #[test]
    fn plans_that_can_not_be_are_refused_by_their_keys() {
        let refused = |plans: &[(&str, Plan)], start: &str| {
            let error = table(plans).unwrap_err();
            assert!(error.sentence.starts_with(start), "{error}");
        };
        let gold = ("gold", plan(&["users/anna"], &["staff"]));
        refused(
            &[gold.clone(), ("red", plan(&["users/anna"], &[]))],
            "gateway.rate_limit.plans.red.accounts has users/anna",
        );
        refused(&[gold.clone(), ("red", plan(&[], &["staff"]))], "gateway.rate_limit.plans.red.roles has staff");
        refused(&[("red", plan(&["anna"], &[]))], "gateway.rate_limit.plans.red.accounts has \"anna\"");
        refused(&[("red", plan(&[], &["king"]))], "gateway.rate_limit.plans.red.roles: ");
        refused(&[("a b", plan(&[], &[]))], "gateway.rate_limit.plans has a plan \"a b\"");
        let names: Vec<_> = (0..=MOST_ACCOUNTS).map(|at| format!("users/u{at}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        refused(&[("red", plan(&names, &[]))], "gateway.rate_limit.plans name 1001 accounts");
        let many: BTreeMap<_, _> = (0..=MOST).map(|at| (format!("p{at}"), plan(&[], &[]))).collect();
        assert!(PlanTable::new(&many).unwrap_err().sentence.starts_with("gateway.rate_limit.plans has 33 plans"));
        let rate = Plan { per_second: 0.0, ..gold.1 }.rate("gold").unwrap_err();
        assert!(rate.sentence.starts_with("gateway.rate_limit.plans.gold.per_second: "), "{rate}");
    }
}
