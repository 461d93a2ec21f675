//! What an ELF file needs to run, and what is left in it of its build.

use anyhow::{Context as _, Result};
use elf::ElfBytes;
use elf::abi::{DT_NEEDED, PT_INTERP, SHT_SYMTAB};
use elf::endian::AnyEndian;

/// What was read of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// It runs without a loader and without shared libraries.
    pub is_static: bool,
    /// It has neither a table of symbols nor anything for debuggers.
    pub is_stripped: bool,
}

impl Program {
    /// Reads the bytes of a program.
    ///
    /// # Errors
    /// When they are no ELF file, or a broken one.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let file = ElfBytes::<AnyEndian>::minimal_parse(bytes).context("it is no ELF file")?;
        let has_loader = file.segments().is_some_and(|all| all.iter().any(|segment| segment.p_type == PT_INTERP));
        let has_libraries = file
            .dynamic()
            .context("its dynamic section is broken")?
            .is_some_and(|all| all.iter().any(|entry| entry.d_tag == DT_NEEDED));
        let has_symbols = file.section_headers().is_some_and(|all| all.iter().any(|part| part.sh_type == SHT_SYMTAB));
        let has_debug_info =
            file.section_header_by_name(".debug_info").context("its section headers are broken")?.is_some();
        Ok(Self { is_static: !has_loader && !has_libraries, is_stripped: !has_symbols && !has_debug_info })
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::process::Process;

    /// Compiles a program that does nothing, and reads it.
    fn compiled(folder: &Path, name: &str, flags: &[&str]) -> Program {
        let program = folder.join(name);
        Process::new("cc")
            .args(["-x", "c", "-o"])
            .arg(&program)
            .args(flags)
            .arg(folder.join("nothing.c"))
            .limit(Duration::from_secs(60))
            .output()
            .unwrap();
        Program::read(&fs::read(program).unwrap()).unwrap()
    }

    #[test]
    fn linkage_and_symbols_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nothing.c"), "int main(void) { return 0; }").unwrap();
        for (name, flags, is_static, is_stripped) in [
            ("dynamic", &["-g"][..], false, false),
            ("dynamic-stripped", &["-s"], false, true),
            ("static", &["-static"], true, false),
            ("static-stripped", &["-static", "-s"], true, true),
            ("static-pie", &["-static-pie", "-s"], true, true),
        ] {
            assert_eq!(compiled(folder.path(), name, flags), Program { is_static, is_stripped }, "{name}");
        }
    }

    #[test]
    fn this_test_itself_is_linked_dynamically() {
        let program = Program::read(&fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        assert_eq!(program, Program { is_static: false, is_stripped: false });
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let error = Program::read(b"#!/bin/sh\necho a script of more than sixteen bytes\n").unwrap_err();
        assert!(format!("{error:#}").starts_with("it is no ELF file: "), "{error:#}");
    }
}
