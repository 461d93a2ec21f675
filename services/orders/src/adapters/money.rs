//! Amounts between the domain and the contracts.

use meshwork_api::google::r#type::Money as MoneyProto;
use meshwork_chassis::money;

use crate::domain::Money;

pub(super) fn money_to_proto(money: &Money) -> MoneyProto {
    money::money(&money.currency, money.minor)
}

/// The amount; `None` when there is none, or one that isn't a whole number of the currency's smallest unit.
pub(super) fn money_from_proto(money: Option<&MoneyProto>) -> Option<Money> {
    let money = money?;
    let minor = money::minor(money)?;
    Some(Money { currency: money.currency_code.clone(), minor })
}
