//! Who calls, and who may call what.
//!
//! [`AuthenticationLayer`] asks an [`Authenticator`] who calls and leaves a [`Principal`] in the extensions of the request;
//! [`AuthorizationLayer`] holds it against an [`AccessTable`]. Whose resource it is, only the handler can know.
//!
//! | a call | is answered |
//! |---|---|
//! | without credentials, for a method that needs them | UNAUTHENTICATED, `NOT_SIGNED_IN` |
//! | with credentials that are wrong, for any method | UNAUTHENTICATED, `BAD_TOKEN` |
//! | with credentials that can't be verified yet | UNAVAILABLE, `KEYS_UNAVAILABLE`, with RetryInfo |
//! | of a principal that the method doesn't admit | PERMISSION_DENIED, `NOT_ALLOWED` |
//! | of a principal whose scopes don't permit the method | PERMISSION_DENIED, `SCOPE_MISSING` |
//! | of a method that the table doesn't have | as if it admitted nobody; UNIMPLEMENTED when nothing answers it |
//! | that goes on when the credentials of its principal expire (by a [server](crate::server::Server)) | UNAUTHENTICATED, `CREDENTIALS_EXPIRED` |
//!
//! Each of these answers but the last has [`Refused`] among its extensions. The feature `jwt` adds an authenticator by JSON Web
//! Tokens.

mod access;
mod authenticate;
mod authorize;
#[cfg(feature = "descriptors")]
mod by_option;
#[cfg(feature = "jwt")]
pub mod jwt;
mod principal;
mod verification;

pub use self::access::{Access, AccessTable};
pub use self::authenticate::{
    AuthenticateFuture, Authenticated, AuthenticationLayer, AuthenticationService, Authenticator,
};
pub use self::authorize::{AuthorizationLayer, AuthorizationService, AuthorizeFuture};
pub(in crate::server) use self::authorize::{outside_scopes, refusal};
#[cfg(feature = "descriptors")]
pub use self::by_option::InvalidOption;
#[cfg(feature = "jwt")]
pub use self::jwt::JwtAuthenticator;
pub use self::principal::Principal;
pub(in crate::server) use self::verification::{VERIFIED_WITHIN, verified};

/// Marks a response, by its extensions, that [`AuthenticationLayer`] or [`AuthorizationLayer`] has answered with: layers
/// outside of them can count such calls. It never goes over the wire.
///
/// ```
/// use meshwork::server::auth::Refused;
///
/// fn was_refused<B>(response: &http::Response<B>) -> bool {
///     response.extensions().get::<Refused>().is_some()
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Refused;

/// The response that refuses a call.
fn refuse<B: Default>(status: Option<tonic::Status>) -> http::Response<B> {
    let status = status.unwrap_or_else(|| tonic::Status::internal("polled after its end"));
    let mut response = status.into_http();
    response.extensions_mut().insert(Refused);
    response
}
