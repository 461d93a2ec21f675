//! What a set may hold. It may come of another server, which isn't to be trusted with the memory of this one.

use super::error::InvalidContracts;

/// A bound, and what is counted.
pub(super) struct Bound {
    pub most: usize,
    pub of: &'static str,
}

/// The bytes of all descriptors.
pub(super) const BYTES: Bound = Bound { most: 16 << 20, of: "bytes of descriptors" };
/// The bytes of a file: a client of reflection gets it in one message, which it takes up to 4 MiB, and each open stream of
/// reflection may hold some.
pub(super) const FILE_BYTES: Bound = Bound { most: 1 << 20, of: "bytes in a file" };
pub(super) const FILES: Bound = Bound { most: 10_000, of: "files" };
/// The methods of the descriptors, and as many in the table.
pub(super) const METHODS: Bound = Bound { most: 10_000, of: "methods" };
/// The names by which reflection finds a file.
pub(super) const SYMBOLS: Bound = Bound { most: 250_000, of: "messages, fields, enums, services and methods" };
/// The bytes of these names, which are written out in full and so can be many more than those of the descriptors.
pub(super) const SYMBOL_BYTES: Bound = Bound { most: 32 << 20, of: "bytes of full names" };
/// The services that reflection names; it names them all in one message.
pub(super) const SHOWN: Bound = Bound { most: 1_000, of: "services that are shown" };
pub(super) const SHOWN_BYTES: Bound = Bound { most: 64 << 10, of: "bytes of names of services that are shown" };

impl Bound {
    /// # Errors
    /// When `count` is beyond it.
    pub(super) fn check(&self, count: usize) -> Result<(), InvalidContracts> {
        if count > self.most { Err(self.exceeded(None)) } else { Ok(()) }
    }

    /// As [`Bound::check`]; the error says at which file it was.
    pub(super) fn check_at(&self, count: usize, file: &str) -> Result<(), InvalidContracts> {
        if count > self.most { Err(self.exceeded(Some(file))) } else { Ok(()) }
    }

    fn exceeded(&self, file: Option<&str>) -> InvalidContracts {
        InvalidContracts::too_much(self.most, self.of, file)
    }
}
