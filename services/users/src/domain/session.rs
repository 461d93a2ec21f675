//! Sessions: a chain of refresh tokens of which only the last one is good, once.

use std::fmt;

use meshwork_api::SessionName;
use time::OffsetDateTime;

/// What is kept of a refresh token: its SHA-256. Who reads the store can't use the tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest([redacted])")
    }
}

/// What leads from a refresh token to its successor, together with a key that the store doesn't have.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenSalt(pub [u8; 16]);

impl fmt::Debug for TokenSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSalt([redacted])")
    }
}

/// How a refresh token may give its successor again after it was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The salt by which the successor follows from it.
    pub salt: TokenSalt,
    /// From when on it doesn't any more.
    pub until: OffsetDateTime,
}

/// A session as its owner sees it. What is of an earlier release lacks the times that were not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub name: SessionName,
    /// When it was opened.
    pub create_time: Option<OffsetDateTime>,
    /// When it was refreshed last.
    pub refresh_time: Option<OffsetDateTime>,
    /// When it ends unless it is refreshed.
    pub expire_time: OffsetDateTime,
}

/// A refresh token that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// When it ceases to be good.
    pub expire_time: OffsetDateTime,
    /// Whether it has given its next pair of tokens already.
    pub used: bool,
    /// Until when it may give the same successor again; `None` while it is unused, and where it may not.
    pub repeat_until: Option<OffsetDateTime>,
}

/// What a refresh token that is presented calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// It is used up, and the next pair of tokens is given.
    Renew,
    /// It is refused.
    Expired,
    /// It came a moment ago, and its answer may be lost: the same successor is given if that is still unused. Else the token
    /// is [reused](Presented::Reused).
    Repeat,
    /// It came before: somebody has copied it, and nobody can tell who is the owner. The session ends.
    Reused,
}

impl RefreshToken {
    /// What it calls for when it is presented at `now`.
    pub fn present(&self, now: OffsetDateTime) -> Presented {
        if self.used && self.repeat_until.is_some_and(|until| now < until) {
            // Even when it has expired meanwhile: it was good when it was used.
            Presented::Repeat
        } else if self.used {
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
        let token =
            |lives: i64, used| RefreshToken { expire_time: now + Duration::seconds(lives), used, repeat_until: None };
        assert_eq!(token(1, false).present(now), Presented::Renew);
        assert_eq!(token(0, false).present(now), Presented::Expired);
        assert_eq!(token(1, true).present(now), Presented::Reused);
        assert_eq!(token(-1, true).present(now), Presented::Reused);
    }

    #[test]
    fn d9_a_used_token_is_no_copy_until_its_time_is_over() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let until = now + Duration::seconds(30);
        let token = RefreshToken { expire_time: now + Duration::seconds(1), used: true, repeat_until: Some(until) };
        for (seconds, presented) in [(0, Presented::Repeat), (29, Presented::Repeat), (30, Presented::Reused)] {
            assert_eq!(token.present(now + Duration::seconds(seconds)), presented, "{seconds} s");
        }
        assert_eq!(RefreshToken { used: false, ..token }.present(now), Presented::Renew);
    }
}
