//! Takes a program of this machine into a layer, with the shared libraries that it loads.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::elf::Program;
use super::layer::{Layer, Owner};
use crate::process::Process;

impl Layer {
    /// Adds the program `from` as `path`, and at their own paths the loader and the libraries that `ldd` finds for it.
    ///
    /// What a program opens by name while it runs isn't found that way.
    ///
    /// # Errors
    /// When it is no program, or one of its libraries is missing here.
    pub fn program(mut self, path: &str, from: &Path) -> Result<Self> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let program = Program::read(&bytes).with_context(|| format!("{} is no program", from.display()))?;
        if !program.is_static {
            let listed = Process::new("ldd").arg(from).limit(Duration::from_secs(30)).output()?;
            for library in libraries(&listed).with_context(|| format!("cannot take {} along", from.display()))? {
                self = self.file(library, library, 0o755, Owner::ROOT);
            }
        }
        Ok(self.bytes(path, bytes, 0o755, Owner::ROOT))
    }
}

/// The paths that `ldd` lists. What has none, the kernel brings.
fn libraries(listed: &str) -> Result<Vec<&str>> {
    let mut found = Vec::new();
    for line in listed.lines() {
        let (name, path) = line.split_once(" => ").unwrap_or((line, line));
        if path.trim() == "not found" {
            bail!("its library {} is missing; install the package that brings it", name.trim());
        }
        found.extend(path.split_whitespace().next().filter(|path| path.starts_with('/')));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_lists() {
        let listed = "\tlinux-vdso.so.1 (0x00007f903cb53000)\n\
                      \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f903b920000)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f903cb55000)\n";
        assert_eq!(libraries(listed).unwrap(), ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert_eq!(libraries("\tstatically linked\n").unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let error = libraries("\tlibx.so.1 => not found\n").unwrap_err().to_string();
        assert_eq!(error, "its library libx.so.1 is missing; install the package that brings it");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_comes_with_its_loader() {
        let program = std::env::current_exe().unwrap();
        let layer = Layer::new().program("/it", &program).unwrap();
        let mut tar = Vec::new();
        layer.write(&mut tar, 0).unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let paths: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        for part in ["ld-linux", "libc.so.6"] {
            assert!(paths.iter().any(|path| path.contains(part)), "{part} is missing in {paths:?}");
        }
        assert!(paths.contains(&"it".to_owned()), "{paths:?}");
    }
}
