//! The limits of attempts to sign in, to exchange keys and tokens, and to sign up, in this process or in a Redis that all instances
//! share.

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use meshwork::server::rate::{Decision, RateLimiter, Rule};
use sha2::{Digest as _, Sha256};

use crate::config::AttemptRates;
use crate::domain::Email;
use crate::ports::{AttemptLimits, TooManyAttempts};

/// Limits by address, by e-mail address at one address, and by e-mail address.
#[derive(Debug)]
pub struct RateLimitedAttempts {
    limiter: RateLimiter,
    address: Rule,
    guess: Rule,
    email: Rule,
    sign_up: Rule,
}

impl RateLimitedAttempts {
    /// Holds attempts to these rates, counted by `limiter`.
    pub(crate) fn new(limiter: RateLimiter, rates: AttemptRates) -> Self {
        Self {
            limiter,
            address: Rule::new("sign-ins", rates.address),
            guess: Rule::new("wrong-passwords", rates.guess),
            email: Rule::new("wrong-passwords-of-all", rates.email),
            sign_up: Rule::new("sign-ups", rates.sign_up),
        }
    }

    async fn take(&self, rule: &Rule, key: &str) -> Result<(), TooManyAttempts> {
        match self.limiter.decide(rule, key).await {
            Decision::Denied { retry_after, .. } => Err(TooManyAttempts { retry_after }),
            // No rule here fails closed.
            Decision::Admitted { .. } | Decision::Unavailable { .. } => Ok(()),
        }
    }
}

#[async_trait]
impl AttemptLimits for RateLimitedAttempts {
    async fn sign_in(&self, email: &Email, address: &str) -> Result<(), TooManyAttempts> {
        let email = digest(email);
        // The tighter one first: who is refused by it takes nothing from what the owner has elsewhere.
        self.take(&self.address, address).await?;
        let guess = format!("{address}/{email}");
        self.take(&self.guess, &guess).await?;
        let taken = self.take(&self.email, &email).await;
        if taken.is_err() {
            // What others guess elsewhere is no guess of this address's, whose password isn't looked at.
            self.limiter.give_back(&self.guess, &guess).await;
        }
        taken
    }

    async fn no_guess(&self, email: &Email, address: &str) {
        let email = digest(email);
        self.limiter.give_back(&self.guess, &format!("{address}/{email}")).await;
        self.limiter.give_back(&self.email, &email).await;
    }

    async fn exchange(&self, address: &str) -> Result<(), TooManyAttempts> {
        self.take(&self.address, address).await
    }

    async fn exchanged(&self, address: &str) {
        self.limiter.give_back(&self.address, address).await;
    }

    async fn sign_up(&self, address: &str) -> Result<(), TooManyAttempts> {
        self.take(&self.sign_up, address).await
    }
}

/// What an e-mail address is counted by: nothing in Redis tells whose it is.
fn digest(email: &Email) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(email.key()))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::config::{SignInConfig, SignUpConfig};

    fn limits() -> RateLimitedAttempts {
        let rates = AttemptRates::of(&SignInConfig::default(), &SignUpConfig::default(), NonZeroU32::MIN).unwrap();
        RateLimitedAttempts::new(RateLimiter::in_process(), rates)
    }

    fn anna() -> Email {
        "anna@example.com".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn d10_who_guesses_is_slowed_down_and_locks_nobody_out_elsewhere() {
        let limits = limits();
        for _ in 0..10 {
            limits.sign_in(&anna(), "192.0.2.1").await.unwrap();
        }
        for _ in 0..80 {
            let refused = limits.sign_in(&anna(), "192.0.2.1").await.unwrap_err();
            assert_eq!(refused.retry_after, Duration::from_secs(10));
        }
        limits.sign_in(&anna(), "192.0.2.2").await.unwrap();
        limits.sign_in(&"bert@example.com".parse().unwrap(), "192.0.2.1").await.unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        limits.sign_in(&anna(), "192.0.2.1").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn d10_who_is_refused_for_the_guesses_of_others_has_made_none() {
        let limits = limits();
        for at in 0..10 {
            for _ in 0..10 {
                limits.sign_in(&anna(), &format!("198.51.100.{at}")).await.unwrap();
            }
        }
        for _ in 0..20 {
            let refused = limits.sign_in(&anna(), "192.0.2.1").await.unwrap_err();
            assert!(refused.retry_after <= Duration::from_secs(1), "{refused}");
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        limits.sign_in(&anna(), "192.0.2.1").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_signs_in_has_not_guessed() {
        let limits = limits();
        for _ in 0..50 {
            limits.sign_in(&anna(), "192.0.2.1").await.unwrap();
            limits.no_guess(&anna(), "192.0.2.1").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn d10_one_address_has_so_many_sign_ins_whoever_they_name() {
        let limits = limits();
        let mut admitted = 0;
        for at in 0..500 {
            let email = format!("nobody-{at}@example.com").parse().unwrap();
            admitted += u32::from(limits.sign_in(&email, "192.0.2.1").await.is_ok());
        }
        assert_eq!(admitted, 100);
        limits.sign_in(&anna(), "192.0.2.2").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_keys_count_as_sign_ins_and_right_ones_do_not() {
        let limits = limits();
        for _ in 0..500 {
            limits.exchange("192.0.2.1").await.unwrap();
            limits.exchanged("192.0.2.1").await;
        }
        for _ in 0..100 {
            limits.exchange("192.0.2.1").await.unwrap();
        }
        assert!(limits.exchange("192.0.2.1").await.is_err());
        assert!(limits.sign_in(&anna(), "192.0.2.1").await.is_err());
        limits.exchange("192.0.2.2").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn d11_one_address_tries_few_e_mail_addresses_by_signing_up() {
        let limits = limits();
        for _ in 0..20 {
            limits.sign_up("192.0.2.1").await.unwrap();
        }
        assert_eq!(limits.sign_up("192.0.2.1").await.unwrap_err().retry_after, Duration::from_secs(10));
        limits.sign_up("192.0.2.2").await.unwrap();
    }
}
