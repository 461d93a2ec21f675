//! The names in a file, as reflection has them.

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

use super::bounds::{SYMBOL_BYTES, SYMBOLS};
use super::error::InvalidContracts;

/// How many names there are, and how long they are in full.
#[derive(Default)]
pub(super) struct Symbols {
    count: usize,
    bytes: usize,
}

impl Symbols {
    /// Counts those of `file`, whose name is `path`.
    ///
    /// # Errors
    /// When something has no name, or there are too many.
    pub(super) fn add(&mut self, path: &str, file: &FileDescriptorProto) -> Result<(), InvalidContracts> {
        let mut counted = Counted { symbols: self, path };
        let package = file.package().len();
        for message in &file.message_type {
            counted.message(package, message)?;
        }
        for of_enum in &file.enum_type {
            counted.enumeration(package, of_enum)?;
        }
        for service in &file.service {
            let prefix = counted.add(package, service.name.as_deref(), "a service")?;
            for method in &service.method {
                counted.add(prefix, method.name.as_deref(), "a method")?;
            }
        }
        Ok(())
    }
}

/// A file whose names are being counted.
struct Counted<'a> {
    symbols: &'a mut Symbols,
    path: &'a str,
}

impl Counted<'_> {
    /// Counts the name of `what`, within a full name of `prefix` bytes: how long it is in full.
    fn add(&mut self, prefix: usize, name: Option<&str>, what: &str) -> Result<usize, InvalidContracts> {
        let name = name.filter(|name| !name.is_empty()).ok_or_else(|| InvalidContracts::unnamed(self.path, what))?;
        let full = prefix + usize::from(prefix > 0) + name.len();
        self.symbols.count += 1;
        self.symbols.bytes += full;
        SYMBOLS.check_at(self.symbols.count, self.path)?;
        SYMBOL_BYTES.check_at(self.symbols.bytes, self.path)?;
        Ok(full)
    }

    /// Decoding has bounded how deep messages are in one another.
    fn message(&mut self, prefix: usize, message: &DescriptorProto) -> Result<(), InvalidContracts> {
        let prefix = self.add(prefix, message.name.as_deref(), "a message")?;
        for field in &message.field {
            self.add(prefix, field.name.as_deref(), "a field")?;
        }
        for oneof in &message.oneof_decl {
            self.add(prefix, oneof.name.as_deref(), "a oneof")?;
        }
        for nested in &message.nested_type {
            self.message(prefix, nested)?;
        }
        for of_enum in &message.enum_type {
            self.enumeration(prefix, of_enum)?;
        }
        Ok(())
    }

    fn enumeration(&mut self, prefix: usize, of_enum: &EnumDescriptorProto) -> Result<(), InvalidContracts> {
        let prefix = self.add(prefix, of_enum.name.as_deref(), "an enum")?;
        for value in &of_enum.value {
            self.add(prefix, value.name.as_deref(), "a value of an enum")?;
        }
        Ok(())
    }
}
