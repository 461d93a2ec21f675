//! Where tokens come from.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use http::header::InvalidHeaderValue;

/// Where tokens come from.
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// A new token. It is given up when it takes longer than [`timeout`](super::CredentialsBuilder::timeout) says.
    ///
    /// # Errors
    /// A sentence about what went wrong, for the status of the calls that need the token.
    async fn token(&self) -> Result<Token, String>;
}

#[async_trait]
impl<S: TokenSource + ?Sized> TokenSource for Arc<S> {
    async fn token(&self) -> Result<Token, String> {
        self.as_ref().token().await
    }
}

/// A token, and how long it lives. `Debug` doesn't show it, and HPACK doesn't index it (RFC 7541, 7.1.3).
#[derive(Clone, Debug)]
pub struct Token {
    pub(super) header: HeaderValue,
    pub(super) lives: Duration,
}

impl Token {
    /// A token by the value of the header `authorization`, such as `Basic …`, that lives for so long from now on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use meshwork::credentials::Token;
    /// let token = Token::new(http::HeaderValue::from_static("Basic bTptCg=="), Duration::from_secs(3600));
    /// ```
    pub fn new(mut authorization: HeaderValue, lives: Duration) -> Self {
        authorization.set_sensitive(true);
        Self { header: authorization, lives }
    }

    /// A bearer token (RFC 6750) that lives for so long from now on.
    ///
    /// # Errors
    /// When it has characters that a header may not have.
    pub fn bearer(token: &str, lives: Duration) -> Result<Self, InvalidHeaderValue> {
        Ok(Self::new(HeaderValue::try_from(format!("Bearer {token}"))?, lives))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::bearer("secret", Duration::ZERO).unwrap();
        assert_eq!(token.header, "Bearer secret");
        assert!(token.header.is_sensitive() && !format!("{token:?}").contains("secret"));
        Token::bearer("a\nb", Duration::ZERO).unwrap_err();
    }
}
