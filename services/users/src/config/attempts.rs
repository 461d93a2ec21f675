//! The settings of how often somebody may try to sign in and to sign up, and of how passwords are hashed.

use std::num::NonZeroU32;
use std::time::Duration;

use meshwork::server::rate::Rate;
use meshwork_chassis::ServeError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The least memory that argon2 hashes with, in KiB.
const MIN_MEMORY: u32 = 8;
/// The most memory of a hash in KiB.
const MAX_MEMORY: u32 = 4 << 20;
/// The most passes of a hash.
const MAX_PASSES: u32 = 1000;
/// The longest that one may wait for its turn: callers don't wait for longer.
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// How often somebody may try to sign in. An address is an IPv4 address or an IPv6 /64, as the gateway names it; calls that come
/// from within the back end, such as services' own sign-ins, are not limited.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignInConfig {
    /// How many sign-ins at once from one address, after a pause, whether they succeed or not. API keys, and tokens of other issuers,
    /// that are wrong count with them.
    pub address_burst: NonZeroU32,
    /// How many sign-ins per second from one address in the long run; may be below 1.
    pub address_per_second: f64,
    /// How many wrong passwords at once for one e-mail address, from one address. Sign-ins that succeed don't count.
    pub guess_burst: NonZeroU32,
    /// How many wrong passwords per second for one e-mail address, from one address, in the long run.
    pub guess_per_second: f64,
    /// How many wrong passwords at once for one e-mail address, from all addresses together. It is the looser one: who guesses
    /// at one address must not lock the owner out at another.
    pub email_burst: NonZeroU32,
    /// How many wrong passwords per second for one e-mail address, from all addresses together, in the long run.
    pub email_per_second: f64,
    /// How many instances share these limits and those of `sign_up`. Without a Redis each admits its share of them; so it does
    /// while Redis is away.
    pub instances: NonZeroU32,
}

impl Default for SignInConfig {
    fn default() -> Self {
        Self {
            address_burst: const { NonZeroU32::new(100).unwrap() },
            address_per_second: 2.0,
            guess_burst: const { NonZeroU32::new(10).unwrap() },
            guess_per_second: 0.1,
            email_burst: const { NonZeroU32::new(100).unwrap() },
            email_per_second: 1.0,
            instances: NonZeroU32::MIN,
        }
    }
}

/// How often somebody may try to sign up, or to take another e-mail address: either tells whether an address is taken, so that
/// this bounds how many can be tried. What staff do doesn't count.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignUpConfig {
    /// How many at once from one address, after a pause, whether they succeed or not.
    pub address_burst: NonZeroU32,
    /// How many per second from one address in the long run; may be below 1.
    pub address_per_second: f64,
}

impl Default for SignUpConfig {
    fn default() -> Self {
        Self { address_burst: const { NonZeroU32::new(20).unwrap() }, address_per_second: 0.1 }
    }
}

/// How passwords are hashed: by argon2id, few at once, the addresses they come from in turn.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordsConfig {
    /// How many passwords are hashed at once; each takes a core, and `memory_kib`. Those of services have one more place, for
    /// themselves.
    pub at_once: NonZeroU32,
    /// The memory of a new hash in KiB, from 8 to 4194304 (4 GiB). Old hashes keep theirs until their passwords
    /// change.
    pub memory_kib: u32,
    /// The passes of a new hash, from 1 to 1000.
    pub passes: u32,
    /// How many may wait for their turn from one address. What is above is refused as PASSWORDS_BUSY.
    pub waiting_per_address: NonZeroU32,
    /// How many may wait for their turn altogether. Above that, who comes from an address with few waiting takes the place of
    /// one from the address with the most.
    pub waiting: NonZeroU32,
    /// How long one waits for its turn, up to 1 minute; 0s: who doesn't have it at once is refused.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub patience: Duration,
}

impl Default for PasswordsConfig {
    fn default() -> Self {
        Self {
            at_once: const { NonZeroU32::new(2).unwrap() },
            // As OWASP advises.
            memory_kib: 19 << 10,
            passes: 2,
            waiting_per_address: const { NonZeroU32::new(16).unwrap() },
            waiting: const { NonZeroU32::new(512).unwrap() },
            patience: Duration::from_secs(3),
        }
    }
}

impl PasswordsConfig {
    /// Whether a service can live with the values: it would have no memory for a hash, or everybody would wait for one, otherwise.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        for (key, value, least, most) in
            [("memory_kib", self.memory_kib, MIN_MEMORY, MAX_MEMORY), ("passes", self.passes, 1, MAX_PASSES)]
        {
            if !(least..=most).contains(&value) {
                let sentence = format!("users.passwords.{key} is {value}");
                return Err(ServeError::new(sentence, format!("it must be {least} to {most}")));
            }
        }
        if self.patience > MAX_PATIENCE {
            let patience = humantime_serde::re::humantime::format_duration(self.patience);
            let hint = format!("it must be 0s to {}s", MAX_PATIENCE.as_secs());
            return Err(ServeError::new(format!("users.passwords.patience is {patience}"), hint));
        }
        Ok(())
    }
}

/// The rates of the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptRates {
    /// Sign-ins from one address.
    pub address: Rate,
    /// Wrong passwords for one e-mail address from one address.
    pub guess: Rate,
    /// Wrong passwords for one e-mail address.
    pub email: Rate,
    /// Sign-ups from one address.
    pub sign_up: Rate,
}

impl AttemptRates {
    /// The rates that are set, of one of so many instances.
    ///
    /// # Errors
    /// When one is no rate; the error names the key.
    pub(crate) fn of(
        sign_in: &SignInConfig,
        sign_up: &SignUpConfig,
        instances: NonZeroU32,
    ) -> Result<Self, ServeError> {
        let rate = |key: &str, burst: NonZeroU32, per_second: f64| {
            let burst = (burst.get() / instances.get()).max(1);
            Rate::per_second(u64::from(burst), per_second / f64::from(instances.get())).map_err(|error| {
                ServeError::new(format!("users.{key}: {error}"), "set it to a number above zero, such as 1")
            })
        };
        Ok(Self {
            address: rate("sign_in.address_per_second", sign_in.address_burst, sign_in.address_per_second)?,
            guess: rate("sign_in.guess_per_second", sign_in.guess_burst, sign_in.guess_per_second)?,
            email: rate("sign_in.email_per_second", sign_in.email_burst, sign_in.email_per_second)?,
            sign_up: rate("sign_up.address_per_second", sign_up.address_burst, sign_up.address_per_second)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_redis_each_instance_admits_its_share() {
        let of = |instances| {
            let instances = NonZeroU32::new(instances).unwrap();
            AttemptRates::of(&SignInConfig::default(), &SignUpConfig::default(), instances).unwrap()
        };
        assert_eq!((of(1).address.burst(), of(4).address.burst()), (100, 25));
        assert!((of(4).address.tokens_per_second() - 0.5).abs() < 1e-6);
        assert_eq!(of(100).guess.burst(), 1, "at least one at a time");
    }

    #[test]
    fn hashes_have_bounds() {
        let default = PasswordsConfig::default;
        default().check().unwrap();
        for (wrong, sentence) in [
            (PasswordsConfig { memory_kib: 7, ..default() }, "users.passwords.memory_kib is 7"),
            (PasswordsConfig { memory_kib: u32::MAX, ..default() }, "users.passwords.memory_kib is 4294967295"),
            (PasswordsConfig { passes: 0, ..default() }, "users.passwords.passes is 0"),
            (PasswordsConfig { passes: 1001, ..default() }, "users.passwords.passes is 1001"),
            (PasswordsConfig { patience: Duration::from_secs(61), ..default() }, "users.passwords.patience is 1m 1s"),
        ] {
            assert_eq!(wrong.check().unwrap_err().sentence, sentence);
        }
    }

    #[test]
    fn a_rate_that_is_none_is_refused_by_its_key() {
        let wrong = SignUpConfig { address_per_second: 0.0, ..SignUpConfig::default() };
        let refused = AttemptRates::of(&SignInConfig::default(), &wrong, NonZeroU32::MIN).unwrap_err();
        assert!(refused.sentence.starts_with("users.sign_up.address_per_second: "), "{refused}");
    }
}
