//! One layer of an image: a set of files, written as a tar that depends on nothing but them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tar::{Archive, Builder, EntryType, Header};

/// Who owns an entry. Images know users by number alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
}

impl Owner {
    /// The superuser, to whom belongs what no process may change.
    pub const ROOT: Self = Self::of(0);

    /// The user and the group of this id.
    pub const fn of(id: u32) -> Self {
        Self { uid: id, gid: id }
    }
}

/// A set of files by their paths in the image. A path that is given twice is what was given last.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// Sorted, so that a folder comes before what is in it, and equal layers are equal byte for byte.
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    mode: u32,
    owner: Owner,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Folder,
    Bytes(Vec<u8>),
    /// Read when the layer is written.
    File(PathBuf),
    Link(String),
}

impl Layer {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder.
    pub fn dir(self, path: &str, mode: u32, owner: Owner) -> Self {
        self.with(path, Entry { mode, owner, content: Content::Folder })
    }

    /// Adds a file of these bytes.
    pub fn bytes(self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32, owner: Owner) -> Self {
        self.with(path, Entry { mode, owner, content: Content::Bytes(bytes.into()) })
    }

    /// Adds a file of this machine; a symbolic link is followed.
    pub fn file(self, path: &str, from: impl Into<PathBuf>, mode: u32, owner: Owner) -> Self {
        self.with(path, Entry { mode, owner, content: Content::File(from.into()) })
    }

    /// Adds a symbolic link at `path` that leads to `target`.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.with(path, Entry { mode: 0o777, owner: Owner::ROOT, content: Content::Link(target.to_owned()) })
    }

    /// Adds a folder of this machine with all that is in it; modes and symbolic links are kept.
    ///
    /// # Errors
    /// When a part of it can't be read, or is neither file, folder nor link.
    pub fn tree(mut self, path: &str, from: &Path, owner: Owner) -> Result<Self> {
        self = self.dir(path, mode_of(&fs::metadata(from).with_context(|| cannot_read(from))?), owner);
        for entry in fs::read_dir(from).with_context(|| cannot_read(from))? {
            let entry = entry.with_context(|| cannot_read(from))?;
            let source = entry.path();
            let name = entry.file_name();
            let name = name.to_str().with_context(|| format!("{} has no name in UTF-8", source.display()))?;
            let inside = format!("{}/{name}", path.trim_end_matches('/'));
            let found = entry.metadata().with_context(|| cannot_read(&source))?;
            self = if found.is_dir() {
                self.tree(&inside, &source, owner)?
            } else if found.is_symlink() {
                let target = fs::read_link(&source).with_context(|| cannot_read(&source))?;
                let target = target.to_str().with_context(|| format!("{} doesn't lead to UTF-8", source.display()))?;
                self.symlink(&inside, target)
            } else if found.is_file() {
                self.file(&inside, &source, mode_of(&found), owner)
            } else {
                bail!("{} is neither a file, a folder nor a link; an image can't hold it", source.display());
            };
        }
        Ok(self)
    }

    fn with(mut self, path: &str, entry: Entry) -> Self {
        self.entries.insert(path.trim_matches('/').to_owned(), entry);
        self
    }

    /// Writes the layer as a tar. Everything in it was changed at `time`, in seconds since 1970.
    ///
    /// Folders that lead to an entry are written too, open to all; so a folder of another layer that isn't like that
    /// has to be given here again when something of this layer is in it.
    ///
    /// # Errors
    /// When a file can't be read, a path doesn't fit, or `writer` refuses.
    pub fn write(&self, writer: impl Write, time: u64) -> Result<()> {
        let mut archive = Builder::new(writer);
        for (path, entry) in self.with_parents() {
            entry.append(&mut archive, path, time).with_context(|| format!("cannot add /{path} to a layer"))?;
        }
        archive.into_inner().context("cannot end a layer")?.flush().context("cannot end a layer")
    }

    /// Puts the files of the layer into the folder `to`, with their owners and modes; folders get no times.
    ///
    /// # Errors
    /// When a file can't be read or written, or can't be given to its owner.
    pub fn unpack(&self, to: &Path, time: u64) -> Result<()> {
        let mut tar = Vec::new();
        self.write(&mut tar, time)?;
        let mut archive = Archive::new(tar.as_slice());
        archive.set_preserve_ownerships(true);
        archive.set_preserve_permissions(true);
        archive.unpack(to).with_context(|| {
            format!("cannot put files with their owners into {}; only root may give files away", to.display())
        })
    }

    fn with_parents(&self) -> BTreeMap<&str, &Entry> {
        const PARENT: &Entry = &Entry { mode: 0o755, owner: Owner::ROOT, content: Content::Folder };
        let mut all = BTreeMap::new();
        for path in self.entries.keys() {
            all.extend(path.match_indices('/').map(|(end, _)| (&path[..end], PARENT)));
        }
        all.extend(self.entries.iter().map(|(path, entry)| (path.as_str(), entry)));
        all
    }
}

impl Entry {
    fn append<W: Write>(&self, archive: &mut Builder<W>, path: &str, time: u64) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(self.mode);
        header.set_uid(self.owner.uid.into());
        header.set_gid(self.owner.gid.into());
        header.set_mtime(time);
        let mut append = |kind: EntryType, path: &str, bytes: &[u8]| {
            header.set_entry_type(kind);
            header.set_size(bytes.len().try_into()?);
            anyhow::Ok(archive.append_data(&mut header, path, bytes)?)
        };
        match &self.content {
            Content::Folder => append(EntryType::Directory, &format!("{path}/"), &[]),
            Content::Bytes(bytes) => append(EntryType::Regular, path, bytes),
            // Whole, so that its length is true even if somebody writes to the file.
            Content::File(from) => {
                append(EntryType::Regular, path, &fs::read(from).with_context(|| cannot_read(from))?)
            }
            Content::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                Ok(archive.append_link(&mut header, path, target)?)
            }
        }
    }
}

/// What a file of this machine may be used for, without what only its owner's machine understands (set-user-id).
#[cfg(unix)]
fn mode_of(file: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    file.permissions().mode() & 0o1777
}

/// Without modes, whatever the file is can be read and run.
#[cfg(not(unix))]
fn mode_of(_file: &fs::Metadata) -> u32 {
    0o755
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Every entry as `path kind mode uid:gid time content`.
    fn listed(layer: &Layer) -> Vec<String> {
        let mut tar = Vec::new();
        layer.write(&mut tar, 1_700_000_000).unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header().clone();
            let link = entry.link_name().unwrap().map(|to| to.display().to_string()).unwrap_or_default();
            assert_eq!(header.username(), Ok(Some("")), "users are known by number");
            assert_eq!(header.groupname(), Ok(Some("")));
            format!(
                "{} {:?} {:o} {}:{} {} {content}{link}",
                entry.path().unwrap().display(),
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
            )
        });
        entries.collect()
    }

    #[test]
    fn entries_are_sorted_and_carry_their_owner_their_mode_and_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("host");
        fs::write(&host, "of the host").unwrap();
        let layer = Layer::new()
            .symlink("/bin/name", "/program")
            .file("/program", &host, 0o755, Owner::ROOT)
            .dir("/data", 0o750, Owner::of(65_532))
            .bytes("/data/x", "text", 0o640, Owner { uid: 1, gid: 2 });
        assert_eq!(
            listed(&layer),
            [
                "bin/ Directory 755 0:0 1700000000 ",
                "bin/name Symlink 777 0:0 1700000000 /program",
                "data/ Directory 750 65532:65532 1700000000 ",
                "data/x Regular 640 1:2 1700000000 text",
                "program Regular 755 0:0 1700000000 of the host",
            ]
        );
    }

    #[test]
    fn the_order_of_giving_leaves_no_trace() {
        let write = |layer: Layer| {
            let mut tar = Vec::new();
            layer.write(&mut tar, 7).unwrap();
            tar
        };
        let one = Layer::new().bytes("/a/b", "1", 0o644, Owner::ROOT).dir("/a.b", 0o755, Owner::ROOT);
        let other = Layer::new().dir("a.b/", 0o755, Owner::ROOT).bytes("a/b", "1", 0o644, Owner::ROOT);
        assert_eq!(write(one.clone()), write(other));
        assert_ne!(write(one.clone()), write(one.bytes("/a/b", "2", 0o644, Owner::ROOT)));
    }

    #[test]
    fn what_is_given_last_counts() {
        let layer = Layer::new().bytes("/a", "1", 0o644, Owner::ROOT).bytes("/a", "2", 0o600, Owner::ROOT);
        assert_eq!(listed(&layer), ["a Regular 600 0:0 1700000000 2"]);
    }

    #[test]
    fn paths_longer_than_a_header_arrive_whole() {
        let path = format!("usr/share/{}/{}", "x".repeat(90), "y".repeat(90));
        let layer = Layer::new().bytes(&path, "far", 0o644, Owner::ROOT);
        assert_eq!(listed(&layer).pop().unwrap(), format!("{path} Regular 644 0:0 1700000000 far"));
    }

    #[test]
    fn a_path_that_leads_out_of_the_image_is_refused() {
        let layer = Layer::new().bytes("/a/../../b", "", 0o644, Owner::ROOT);
        let error = layer.write(Vec::new(), 0).unwrap_err();
        assert!(format!("{error:#}").contains("cannot add /a/.."), "{error:#}");
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = Layer::new().file("/x", "/no/such/file", 0o644, Owner::ROOT).write(Vec::new(), 0).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot add /x to a layer: cannot read /no/such/file: "), "{error:#}");
    }

    #[cfg(unix)]
    #[test]
    fn files_are_unpacked_as_the_layer_says() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let folder = tempfile::tempdir().unwrap();
        let of_folder = fs::metadata(folder.path()).unwrap();
        let me = Owner { uid: of_folder.uid(), gid: of_folder.gid() };
        // Whoever may not give files away has nothing to give away here; with root, `/data` is given to another.
        let data = if me.uid == 0 { Owner::of(65_532) } else { me };
        let root = folder.path().join("root");
        let layer = Layer::new()
            .dir("/tmp", 0o1777, me)
            .dir("/data", 0o700, data)
            .bytes("/a/b", "x", 0o640, me)
            .dir("/a", 0o755, me);
        layer.unpack(&root, 1_700_000_000).unwrap();
        let found = |path: &str| fs::metadata(root.join(path)).unwrap();
        assert_eq!(found("tmp").permissions().mode() & 0o7777, 0o1777);
        assert_eq!((found("data").uid(), found("data").gid()), (data.uid, data.gid));
        assert_eq!((found("a/b").permissions().mode() & 0o7777, found("a/b").mtime()), (0o640, 1_700_000_000));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_of_the_machine_is_taken_with_modes_and_links() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("run"), "#!").unwrap();
        for (path, mode) in [(inner.join("run"), 0o4750), (inner.clone(), 0o700), (folder.path().to_owned(), 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("inner/run", folder.path().join("link")).unwrap();
        let layer = Layer::new().tree("/opt/it", folder.path(), Owner::of(9)).unwrap();
        assert_eq!(
            listed(&layer),
            [
                "opt/ Directory 755 0:0 1700000000 ",
                "opt/it/ Directory 755 9:9 1700000000 ",
                "opt/it/inner/ Directory 700 9:9 1700000000 ",
                "opt/it/inner/run Regular 750 9:9 1700000000 #!",
                "opt/it/link Symlink 777 0:0 1700000000 inner/run",
            ]
        );
    }
}
