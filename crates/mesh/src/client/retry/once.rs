//! Calls that are made once.

/// In the extensions of a request: the call is neither retried nor hedged, whatever the policy and the descriptors say. A
/// call that provably never reached a server's application still goes to another connection (a transparent retry, gRFC
/// A6): no application gets it twice.
///
/// ```
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(meshwork::retry::NoRetry);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoRetry;

/// In the extensions of a request: nothing of its body is kept to be sent again, so that not even a transparent retry
/// follows once a part of it is on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unbuffered;
