//! Where a call comes from.

use meshwork::server::{ClientAddress, TrustedProxies};
use tonic::Extensions;

use crate::ports::Origin;

/// Where the call with these extensions comes from, as the server has found it.
pub(super) fn of(extensions: &Extensions) -> Origin {
    // Without the server's layer nobody's word counts.
    let found = extensions.get::<ClientAddress>().copied();
    let client = found.unwrap_or_else(|| TrustedProxies::none().client(extensions, &Default::default()));
    Origin { address: client.to_string().into(), is_internal: client.is_direct() }
}
