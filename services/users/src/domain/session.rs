//! Sessions: a chain of refresh tokens of which only the last one is good, once.

use std::fmt;

use time::OffsetDateTime;

/// What is kept of a refresh token: its SHA-256. Who reads the store can't use the tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest([redacted])")
    }
}

/// A refresh token that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// When it ceases to be good.
    pub expire_time: OffsetDateTime,
    /// Whether it has given its next pair of tokens already.
    pub used: bool,
}

/// What a refresh token that is presented calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// It is used up, and the next pair of tokens is given.
    Renew,
    /// It is refused.
    Expired,
    /// It came before: somebody has copied it, and nobody can tell who is the owner. The session ends.
    Reused,
}

impl RefreshToken {
    /// What it calls for when it is presented at `now`.
    pub fn present(&self, now: OffsetDateTime) -> Presented {
        if self.used {
            // Even when it has expired: that it is a copy is what matters.
            Presented::Reused
        } else if now >= self.expire_time {
            Presented::Expired
        } else {
            Presented::Renew
        }
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn a_token_is_good_once_until_it_expires() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let token = |lives: i64, used| RefreshToken { expire_time: now + Duration::seconds(lives), used };
        assert_eq!(token(1, false).present(now), Presented::Renew);
        assert_eq!(token(0, false).present(now), Presented::Expired);
        assert_eq!(token(1, true).present(now), Presented::Reused);
        assert_eq!(token(-1, true).present(now), Presented::Reused);
    }
}
