//! What is offered from a moment on.

use std::fmt;

use crate::server::auth::AccessTable;

/// Contracts of services, all that [`Contracts::set`](super::Contracts::set) replaces at once.
///
/// It may hold 16 MiB of descriptors, of which a file has at most 1 MiB: 10,000 files, 10,000 methods and 250,000 names of
/// messages, fields and the like, 32 MiB of them when they are written out in full. The table may have 10,000 methods. At most
/// 1,000 services are shown, with 64 KiB of names.
#[derive(Clone, Default)]
pub struct ContractSet {
    /// Encoded `FileDescriptorSet`s, as [`Builder::descriptors`](crate::server::Builder::descriptors) takes them: what methods
    /// stream, and what reflection tells of them. Clients of reflection ask for imported files too.
    pub descriptors: Vec<Vec<u8>>,
    /// Whom methods admit. One that the descriptors have and the table hasn't is refused.
    pub access: AccessTable,
    /// The services that reflection names, `package.Service`, as [`Builder::show`](crate::server::Builder::show) takes them.
    pub shown: Vec<String>,
}

impl fmt::Debug for ContractSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Descriptors have a great many bytes, which tell nobody anything.
        f.debug_struct("ContractSet")
            .field("descriptors", &self.descriptors.iter().map(Vec::len).collect::<Vec<_>>())
            .field("access", &self.access)
            .field("shown", &self.shown)
            .finish()
    }
}
