//! API keys and the tokens of other issuers, exchanged for tokens of ours at the users service. The gateway holds no key that
//! could sign: what it gets is verified like any token, and goes to the upstream in place of what the caller sent.
//!
//! ```text
//! ours ───────────────────────────────▶ verifier
//! key, another issuer's ─▶ known? ─▶ one exchange of a credential ─▶ turn of the network ─▶ users ─▶ verifier
//! ```
//!
//! | what | bound |
//! |---|---|
//! | how long an exchange is used | 60 s, and the token's life; what is revoked is refused here after that |
//! | how long what it gave is good elsewhere | the token's life, 290 s, and 5 s of difference between clocks |
//! | how long a refusal is repeated | 5 s, at the network that it was given to |
//! | credentials that are known | 10,000, and 16 refusals of a network |
//! | exchanges that go on, with those that wait | of a network 16 and 64, in all 256 and 2,048, beside 4 of each network |
//! | an exchange, with the wait for its turn | 5 s |

mod cache;
mod flights;
mod presented;
mod turns;
mod users;

use std::sync::Arc;

use futures_util::FutureExt as _;
use http::HeaderMap;
use meshwork::Channel;
use meshwork::server::Peer;
use meshwork::server::auth::{Authenticated, Authenticator, JwtAuthenticator, Principal};
use tonic::{Code, Status};

use self::cache::{ExchangeCache, Fingerprint};
use self::flights::{Flight, Flights};
pub use self::presented::API_KEY;
use self::presented::{Presented, Unfit, is_foreign, presented};
use self::turns::{Full, Turns};
use self::users::{Exchanged, Users};
use super::client::Client;
use super::errors::{
    credentials_refused, credentials_unverifiable, no_api_key, several_credentials, too_many_exchanges,
};

/// Knows callers by tokens of ours, and by what can be exchanged for one.
pub struct Exchange {
    verifier: JwtAuthenticator,
    issuer: String,
    flights: Flights,
    state: Arc<State>,
}

struct State {
    cache: ExchangeCache,
    turns: Turns,
    users: Users,
}

impl Exchange {
    /// Verifies the tokens of `issuer` by `verifier`, and exchanges all else at the users service behind `channel`.
    pub fn new(verifier: JwtAuthenticator, issuer: &str, channel: Channel) -> Self {
        let users = Users::new(channel, verifier.clone());
        let state = Arc::new(State { cache: ExchangeCache::default(), turns: Turns::default(), users });
        Self { verifier, issuer: issuer.to_owned(), flights: Flights::default(), state }
    }

    /// What is known of a credential without asking.
    fn cached(&self, credential: Fingerprint, peer: Option<&Peer>) -> Option<Result<Option<Principal>, Status>> {
        if let Some(principal) = self.state.cache.principal(credential) {
            return Some(Ok(Some(principal)));
        }
        let network = Client::of(peer).network();
        self.state.cache.is_refused(credential, network).then(|| Err(credentials_refused()))
    }

    /// The exchange of a credential, which may go on already.
    fn exchange(&self, text: &str, credential: Fingerprint, client: Client) -> Result<Flight, Status> {
        let network = client.network();
        self.flights.join((credential, network), || {
            let place = self.state.turns.place(network).map_err(|full| match full {
                Full::Network => too_many_exchanges(),
                Full::All => credentials_unverifiable(),
            })?;
            let (state, text) = (Arc::clone(&self.state), text.to_owned());
            let exchanging = async move {
                match state.users.exchange(text, client, place).await {
                    Ok(Exchanged { principal, expiry }) => {
                        state.cache.accept(credential, principal.clone(), expiry);
                        Ok(principal)
                    }
                    Err(status) => {
                        if status.code() == Code::Unauthenticated {
                            state.cache.refuse(credential, network);
                        }
                        Err(status)
                    }
                }
            };
            Ok(exchanging.boxed())
        })
    }
}

impl Authenticator for Exchange {
    fn authenticate(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Authenticated {
        let text = match presented(headers) {
            Err(unfit) => return Authenticated::Now(Err(refused(unfit))),
            Ok(Presented::Key(key)) => key,
            Ok(Presented::Token(token)) if is_foreign(token, &self.issuer) => token,
            Ok(Presented::Token(_) | Presented::Other) => return self.verifier.authenticate(headers, peer),
        };
        let credential = Fingerprint::of(text);
        // It may have become known since it was recalled.
        if let Some(cached) = self.cached(credential, peer) {
            return Authenticated::Now(cached);
        }
        match self.exchange(text, credential, Client::of(peer)) {
            Ok(flight) => Authenticated::Later(flight.map(|outcome| outcome.map(Some)).boxed()),
            Err(status) => Authenticated::Now(Err(status)),
        }
    }

    /// A token of ours that is remembered costs what it costs the verifier. All else costs a digest.
    fn recall(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Option<Result<Option<Principal>, Status>> {
        let recalled = if headers.contains_key(API_KEY) { None } else { self.verifier.recall(headers, peer) };
        if matches!(recalled, Some(Ok(_))) {
            return recalled;
        }
        match presented(headers) {
            Err(unfit) => Some(Err(refused(unfit))),
            Ok(Presented::Key(text) | Presented::Token(text)) => self.cached(Fingerprint::of(text), peer),
            Ok(Presented::Other) => recalled,
        }
    }
}

/// Why credentials are refused by their looks.
fn refused(unfit: Unfit) -> Status {
    match unfit {
        Unfit::Several => several_credentials(),
        Unfit::NoKey => no_api_key(),
    }
}
