//! Images that stand in for the official ones of the stores, because nothing is pulled in tests.
//!
//! They have the official names and tags, as the chart's values say them, and are called the same way; what runs in them
//! are the servers of this machine: PostgreSQL and Redis of Debian, `nats-server`, and FerretDB for MongoDB.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::kit::Kit;
use crate::image::archive::Image;
use crate::image::layer::{Layer, Owner};
use crate::process::{Process, find_program};
use crate::setup::{self, POSTGRESQL};

/// Whose servers of the official images run as, but for NATS.
const SERVER: Owner = Owner::of(999);

/// The locale of databases, which the C library opens by name.
const LOCALE: &str = "/usr/lib/locale/C.utf8";

/// The name by which the node's containerd knows the image of `pause`.
const PAUSE: &str = "meshwork.test/pause:1";

/// What the shell of an image can call.
const COMMANDS: &[&str] = &["sh", "cat", "chmod", "id", "kill", "ls", "mkdir", "ps", "rm", "sleep"];

/// An image, and the files and folders of this machine that it is made from.
struct StandIn {
    file: &'static str,
    image: Image,
    sources: Vec<PathBuf>,
}

/// Writes the images into the kit's folder, those that have changed, and returns their archives.
///
/// # Errors
/// When a server is missing, the chart doesn't name an image, or one can't be written.
pub fn provide(root: &Path, kit: &Kit) -> Result<Vec<PathBuf>> {
    let tools = setup::run()?;
    let scripts = root.join("tests/cluster/images");
    let name = |store: &str| reference(root, kit, store);
    let images = [
        pause(&kit.pause)?,
        postgres(name("postgresql")?, &scripts)?,
        redis(name("redis")?, &scripts)?,
        nats(name("nats")?, &tools.nats)?,
        mongo(name("mongodb")?, &tools.ferretdb, &scripts)?,
    ];
    images.iter().map(|image| image.provide(&kit.images)).collect()
}

/// The image that the chart names for a store.
fn reference(root: &Path, kit: &Kit, store: &str) -> Result<String> {
    let path = format!("{{.{store}.image.repository}}:{{.{store}.image.tag}}");
    let said = Process::new(&kit.helm)
        .args(["show", "values", "--jsonpath", &path])
        .arg(root.join("helm/meshwork"))
        .limit(Duration::from_secs(30))
        .output()?;
    whole(said.trim()).with_context(|| format!("the chart's values name no image for {store}, but `{said}`"))
}

/// A reference with the registry and the account that are left out for official images.
fn whole(reference: &str) -> Option<String> {
    let (repository, tag) =
        reference.rsplit_once(':').filter(|(repository, tag)| !repository.is_empty() && !tag.is_empty())?;
    let prefix = match repository.split_once('/') {
        None => "docker.io/library/",
        // A registry is told by its dot or its port.
        Some((first, _)) if !first.contains(['.', ':']) => "docker.io/",
        Some(_) => "",
    };
    Some(format!("{prefix}{repository}:{tag}"))
}

fn pause(program: &Path) -> Result<StandIn> {
    let image = Image {
        reference: PAUSE.to_owned(),
        layers: vec![Layer::new().program("/pause", program)?],
        entrypoint: vec!["/pause".to_owned()],
        user: "65535:65535".to_owned(),
        workdir: "/".to_owned(),
        ..Image::default()
    };
    Ok(StandIn { file: "pause.tar", image, sources: vec![program.to_owned()] })
}

/// Debian's newest PostgreSQL: a layer with it and a shell, what that is made from, and where its programs are in it.
fn postgresql(user: &str) -> Result<(Layer, Vec<PathBuf>, String)> {
    let versions = fs::read_dir(POSTGRESQL).with_context(|| format!("there is no PostgreSQL in {POSTGRESQL}"))?;
    let version = versions
        .flatten()
        .filter(|entry| entry.path().join("bin/initdb").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .max_by_key(|version| version.parse::<u32>().unwrap_or_default())
        .with_context(|| format!("there is no PostgreSQL with `initdb` in {POSTGRESQL}"))?;
    let home = format!("{POSTGRESQL}/{version}");
    let mut layer = with_shell(user)?;
    let mut sources = Vec::new();
    for program in ["postgres", "initdb", "psql", "pg_isready", "pg_ctl"] {
        let path = format!("{home}/bin/{program}");
        layer = layer.program(&path, Path::new(&path))?;
        sources.push(PathBuf::from(path));
    }
    // What it opens by name: the types and languages of databases, and their tables. The compiler of queries is left out,
    // because it is larger than all the rest.
    let modules = PathBuf::from(format!("{home}/lib"));
    for module in fs::read_dir(&modules).with_context(|| format!("cannot read {}", modules.display()))?.flatten() {
        let path = module.path();
        let name = module.file_name().into_string().unwrap_or_default();
        if name.ends_with(".so") && name != "llvmjit.so" {
            layer = layer.file(&format!("{home}/lib/{name}"), path, 0o644, Owner::ROOT);
        }
    }
    let tables = [format!("/usr/share/postgresql/{version}"), "/usr/share/zoneinfo".to_owned(), LOCALE.to_owned()];
    for tables in tables {
        layer = layer.tree(&tables, Path::new(&tables), Owner::ROOT)?;
        sources.push(PathBuf::from(tables));
    }
    sources.push(modules);
    Ok((layer, sources, format!("PATH={home}/bin:/bin")))
}

fn postgres(reference: String, scripts: &Path) -> Result<StandIn> {
    let entrypoint = scripts.join("postgres.sh");
    let (layer, mut sources, path) = postgresql("postgres")?;
    sources.push(entrypoint.clone());
    let layer = layer
        .dir("/var/lib/postgresql", 0o1777, SERVER)
        .dir("/var/lib/postgresql/data", 0o1777, SERVER)
        .dir("/var/run/postgresql", 0o1777, SERVER)
        .file("/entrypoint.sh", entrypoint, 0o755, Owner::ROOT);
    let image = Image {
        reference,
        layers: vec![layer],
        entrypoint: vec!["/entrypoint.sh".to_owned()],
        cmd: vec!["postgres".to_owned()],
        env: vec![path, "LANG=C.UTF-8".to_owned(), "PGDATA=/var/lib/postgresql/data".to_owned()],
        // It ends without waiting for its clients to go.
        stop_signal: "SIGINT".to_owned(),
        workdir: "/".to_owned(),
        ..Image::default()
    };
    Ok(StandIn { file: "postgresql.tar", image, sources })
}

fn redis(reference: String, scripts: &Path) -> Result<StandIn> {
    let entrypoint = scripts.join("redis.sh");
    let mut layer = with_shell("redis")?;
    let mut sources = vec![entrypoint.clone()];
    for program in ["redis-server", "redis-cli"] {
        let path = find_program(program).with_context(|| format!("there is no `{program}` on the PATH"))?;
        layer = layer.program(&format!("/bin/{program}"), &path)?;
        sources.push(path);
    }
    let layer = layer.dir("/data", 0o1777, SERVER).file("/entrypoint.sh", entrypoint, 0o755, Owner::ROOT);
    let image = Image {
        reference,
        layers: vec![layer],
        entrypoint: vec!["/entrypoint.sh".to_owned()],
        cmd: vec!["redis-server".to_owned()],
        env: vec!["PATH=/bin".to_owned()],
        workdir: "/data".to_owned(),
        ..Image::default()
    };
    Ok(StandIn { file: "redis.tar", image, sources })
}

/// The official image has nothing but the server, either.
fn nats(reference: String, program: &Path) -> Result<StandIn> {
    let image = Image {
        reference,
        layers: vec![Layer::new().program("/nats-server", program)?],
        entrypoint: vec!["/nats-server".to_owned()],
        workdir: "/".to_owned(),
        ..Image::default()
    };
    Ok(StandIn { file: "nats.tar", image, sources: vec![program.to_owned()] })
}

/// FerretDB over a PostgreSQL beside it: over SQLite it is too slow for orders under load.
fn mongo(reference: String, program: &Path, scripts: &Path) -> Result<StandIn> {
    let entrypoint = scripts.join("mongo.sh");
    let (layer, mut sources, path) = postgresql("mongodb")?;
    sources.extend([program.to_owned(), entrypoint.clone()]);
    let layer = layer
        .program("/bin/ferretdb", program)?
        .dir("/data", 0o755, Owner::ROOT)
        .dir("/data/db", 0o1777, SERVER)
        .file("/entrypoint.sh", entrypoint, 0o755, Owner::ROOT);
    let image = Image {
        reference,
        layers: vec![layer],
        entrypoint: vec!["/entrypoint.sh".to_owned()],
        cmd: vec!["mongod".to_owned()],
        env: vec![path, "LANG=C.UTF-8".to_owned()],
        workdir: "/".to_owned(),
        ..Image::default()
    };
    Ok(StandIn { file: "mongodb.tar", image, sources })
}

/// A layer with a shell, a few commands, and a name for the user that a server runs as: some don't run without.
fn with_shell(user: &str) -> Result<Layer> {
    let busybox = find_program("busybox").context("there is no `busybox` on the PATH; install busybox-static")?;
    let id = SERVER.uid;
    let layer = Layer::new()
        .program("/bin/busybox", &busybox)?
        .dir("/tmp", 0o1777, Owner::ROOT)
        .bytes("/etc/passwd", format!("root:x:0:0::/:/bin/sh\n{user}:x:{id}:{id}::/:/bin/sh\n"), 0o644, Owner::ROOT)
        .bytes("/etc/group", format!("root:x:0:\n{user}:x:{id}:\n"), 0o644, Owner::ROOT);
    Ok(COMMANDS.iter().fold(layer, |layer, command| layer.symlink(&format!("/bin/{command}"), "busybox")))
}

impl StandIn {
    /// Writes the image, unless it is there as it would be written, and returns its archive.
    fn provide(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(self.file);
        let stamp_path = path.with_extension("stamp");
        let stamp = self.stamp()?;
        if path.is_file() && fs::read_to_string(&stamp_path).is_ok_and(|found| found == stamp) {
            return Ok(path);
        }
        self.image.write(&path)?;
        fs::write(&stamp_path, stamp).with_context(|| format!("cannot write {}", stamp_path.display()))?;
        eprintln!("made {}, which stands in for {}", path.display(), self.image.reference);
        Ok(path)
    }

    /// Differs when the image would.
    fn stamp(&self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        // This file says how they are made.
        include_str!("stand_ins.rs").hash(&mut hasher);
        self.sources.iter().try_for_each(|source| hash_tree(source, &mut hasher))?;
        Ok(format!("{} {:016x}", self.image.reference, hasher.finish()))
    }
}

/// Takes in what tells whether a file, or one below a folder, has changed, without reading it.
fn hash_tree(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let cannot_read = || format!("cannot read {}", path.display());
    let found = fs::symlink_metadata(path).with_context(cannot_read)?;
    path.hash(hasher);
    if found.is_dir() {
        let mut inside = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>())
            .with_context(cannot_read)?;
        inside.sort();
        return inside.iter().try_for_each(|path| hash_tree(path, hasher));
    }
    // A link is what it leads to; where it leads nowhere, it is itself.
    let found = fs::metadata(path).unwrap_or(found);
    found.len().hash(hasher);
    found.modified().with_context(cannot_read)?.hash(hasher);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_made_whole() {
        for (said, expected) in [
            ("postgres:17", Some("docker.io/library/postgres:17")),
            ("docker.io/library/postgres:17", Some("docker.io/library/postgres:17")),
            ("someone/redis:7", Some("docker.io/someone/redis:7")),
            ("registry.example:5000/redis:7", Some("registry.example:5000/redis:7")),
            (":", None),
            ("nats:", None),
            ("nats", None),
        ] {
            assert_eq!(whole(said).as_deref(), expected, "{said}");
        }
    }

    #[test]
    fn a_stamp_tells_when_a_source_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let stamp = || {
            let mut hasher = DefaultHasher::new();
            hash_tree(folder.path(), &mut hasher).unwrap();
            hasher.finish()
        };
        write("a", "1");
        let first = stamp();
        assert_eq!(stamp(), first);
        write("a", "11");
        let second = stamp();
        assert_ne!(second, first);
        write("b", "");
        assert_ne!(stamp(), second);
    }

    #[test]
    fn an_image_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::write(&source, "1").unwrap();
        let stand_in = || StandIn {
            file: "it.tar",
            image: Image {
                reference: "example.test/it:1".to_owned(),
                layers: vec![Layer::new().file("/it", &source, 0o644, Owner::ROOT)],
                ..Image::default()
            },
            sources: vec![source.clone()],
        };
        let archive = stand_in().provide(folder.path()).unwrap();
        fs::write(&archive, "kept").unwrap();
        stand_in().provide(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&archive).unwrap(), "kept");
        fs::write(&source, "22").unwrap();
        stand_in().provide(folder.path()).unwrap();
        assert_ne!(fs::read(&archive).unwrap(), b"kept");
    }
}
