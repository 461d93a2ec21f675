//! Writes images: one file that is an archive as `docker save` makes it and an OCI layout too.
//!
//! The same parts under two tables of contents, so that `docker load`, `podman load`, `ctr images import`, `skopeo` and
//! `crane` all take it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::layer::{Layer, Owner};

/// What an image is made of.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Registry, repository and tag, such as `docker.io/library/redis:7.4`; all three have to be there.
    pub reference: String,
    /// The files, lowest first.
    pub layers: Vec<Layer>,
    /// The program that runs, with the arguments that stay.
    pub entrypoint: Vec<String>,
    /// The arguments that whoever runs it may replace.
    pub cmd: Vec<String>,
    /// `uid:gid`.
    pub user: String,
    /// Each as `NAME=value`.
    pub env: Vec<String>,
    /// The folder in which the program starts.
    pub workdir: String,
    /// What ends the program, such as `SIGINT`; empty for what runtimes send by themselves.
    pub stop_signal: String,
    /// Each as `8080/tcp`.
    pub ports: Vec<String>,
    /// Each as a name and a value.
    pub labels: Vec<(String, String)>,
    /// When it was made, and all of its files with it, in seconds since 1970.
    pub time: u64,
    /// How the layers are packed.
    pub packing: Packing,
}

/// How layers are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Not at all: quick to write and to import.
    #[default]
    Plain,
    /// By gzip: small to pull.
    Gzip,
}

/// An image that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The digest of its configuration, which is what `docker images` and `crictl images` call its id.
    pub id: String,
    /// The digest of its manifest, by which a registry would know it.
    pub digest: String,
    /// How many bytes its layers have as packed: what a node would pull.
    pub packed: u64,
}

/// A part of an image, under the digest of its bytes.
struct Blob {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, digest: digest(&Sha256::digest(&bytes)), bytes }
    }

    fn json(media_type: &'static str, value: &Value) -> Result<Self> {
        Ok(Self::new(media_type, serde_json::to_vec(value)?))
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replacen(':', "/", 1))
    }
}

impl Image {
    /// Writes the image to the file `path`, whole or not at all.
    ///
    /// # Errors
    /// When the reference isn't whole, a file of a layer can't be read, or `path` can't be written.
    pub fn write(&self, path: &Path) -> Result<Written> {
        let (archive, written) = self.archive()?;
        let part = path.with_extension("part");
        let write = || {
            let mut file = BufWriter::new(File::create(&part)?);
            archive.write(&mut file, self.time)?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?;
            anyhow::Ok(fs::rename(&part, path)?)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(written)
    }

    /// The archive, whose files are as those of a layer, and what there is to say of it.
    fn archive(&self) -> Result<(Layer, Written)> {
        let (_, tag) = split(&self.reference)?;
        let (mut layers, mut tars) = (Vec::new(), Vec::new());
        for layer in &self.layers {
            let (blob, tar) = pack(layer, self.packing, self.time)?;
            layers.push(blob);
            tars.push(tar);
        }
        let config = Blob::json("application/vnd.oci.image.config.v1+json", &self.config(&tars)?)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let manifest = Blob::json("application/vnd.oci.image.manifest.v1+json", &manifest)?;
        let mut listed = manifest.descriptor();
        // containerd goes by the first, tools of the OCI by the second.
        listed["annotations"] =
            json!({"io.containerd.image.name": self.reference, "org.opencontainers.image.ref.name": tag});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [listed],
        });
        // Docker's own table of contents.
        let saved = json!([{
            "Config": config.path(),
            "RepoTags": [self.reference],
            "Layers": layers.iter().map(Blob::path).collect::<Vec<_>>(),
        }]);
        let written = Written {
            id: config.digest.clone(),
            digest: manifest.digest.clone(),
            packed: layers.iter().map(|layer| layer.bytes.len() as u64).sum(),
        };
        let text = |value: &Value| serde_json::to_vec(value);
        let mut archive = Layer::new()
            .bytes("oci-layout", text(&json!({"imageLayoutVersion": "1.0.0"}))?, 0o644, Owner::ROOT)
            .bytes("index.json", text(&index)?, 0o644, Owner::ROOT)
            .bytes("manifest.json", text(&saved)?, 0o644, Owner::ROOT);
        for blob in layers.into_iter().chain([config, manifest]) {
            archive = archive.bytes(&blob.path(), blob.bytes, 0o644, Owner::ROOT);
        }
        Ok((archive, written))
    }

    /// What a runtime has to know; `tars` are the digests of the layers before they were packed.
    fn config(&self, tars: &[String]) -> Result<Value> {
        let created = i64::try_from(self.time).ok().and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
        let created = created.with_context(|| format!("{} s after 1970 is no time for an image", self.time))?;
        let created = created.format(&Rfc3339).context("the time of an image can't be written")?;
        let table = |names: &[String]| names.iter().map(|name| (name.clone(), json!({}))).collect::<Value>();
        let labels = self.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Value>();
        let mut config = json!({
            "User": self.user,
            "ExposedPorts": table(&self.ports),
            "Env": self.env,
            "Entrypoint": self.entrypoint,
            "Cmd": self.cmd,
            "WorkingDir": self.workdir,
            "Labels": labels,
        });
        if !self.stop_signal.is_empty() {
            config["StopSignal"] = json!(self.stop_signal);
        }
        Ok(json!({
            "architecture": architecture(),
            "os": "linux",
            "created": created,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": tars},
            "history": tars.iter().map(|_| json!({"created": created})).collect::<Vec<_>>(),
        }))
    }
}

/// The layer as a part of the image, and the digest of its tar.
fn pack(layer: &Layer, packing: Packing, time: u64) -> Result<(Blob, String)> {
    match packing {
        Packing::Plain => {
            let mut tar = Vec::new();
            layer.write(&mut tar, time)?;
            let blob = Blob::new("application/vnd.oci.image.layer.v1.tar", tar);
            let digest = blob.digest.clone();
            Ok((blob, digest))
        }
        Packing::Gzip => {
            // With neither a name, a time nor a system in its header.
            let gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
            let mut tar = Hashed { hash: Sha256::new(), inner: gzip };
            layer.write(&mut tar, time)?;
            let packed = tar.inner.finish().context("cannot pack a layer")?;
            Ok((Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", packed), digest(&tar.hash.finalize())))
        }
    }
}

/// Takes the digest of what passes.
struct Hashed<W> {
    hash: Sha256,
    inner: W,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A digest as images write it.
fn digest(hash: &[u8]) -> String {
    let hex = hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{hex}")
}

/// What Go, and so every registry, calls the processor that this program was built for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The repository and the tag of a whole reference.
fn split(reference: &str) -> Result<(&str, &str)> {
    reference.rsplit_once(':').filter(|(repository, tag)| repository.contains('/') && !tag.contains('/')).with_context(
        || format!("`{reference}` names no image; write it whole, such as docker.io/library/meshwork:1.0.0"),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    fn image(packing: Packing) -> Image {
        Image {
            reference: "docker.io/library/thing:1.2.3".to_owned(),
            layers: vec![
                Layer::new().bytes("/etc/passwd", "root:x:0:0", 0o644, Owner::ROOT),
                Layer::new().bytes("/thing", vec![7; 10_000], 0o755, Owner::ROOT),
            ],
            entrypoint: vec!["/thing".to_owned()],
            cmd: vec!["serve".to_owned()],
            user: "65532:65532".to_owned(),
            env: vec!["A=b".to_owned()],
            workdir: "/data".to_owned(),
            stop_signal: String::new(),
            ports: vec!["8080/tcp".to_owned()],
            labels: vec![("org.opencontainers.image.version".to_owned(), "1.2.3".to_owned())],
            time: 1_700_000_000,
            packing,
        }
    }

    /// The files of an archive, by their paths.
    fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let files = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        files.collect()
    }

    /// What writing an image gives: the archive's bytes, its files, and what was said of it.
    fn write(image: &Image) -> (Vec<u8>, BTreeMap<String, Vec<u8>>, Written) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thing.tar");
        let written = image.write(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is left");
        let bytes = fs::read(&path).unwrap();
        let files = unpacked(&bytes);
        (bytes, files, written)
    }

    fn json_of(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
        serde_json::from_slice(&files[path]).unwrap()
    }

    fn text(value: &Value) -> &str {
        value.as_str().unwrap()
    }

    #[test]
    fn equal_images_are_equal_byte_for_byte() {
        for packing in [Packing::Plain, Packing::Gzip] {
            let (first, _, _) = write(&image(packing));
            let (second, _, _) = write(&image(packing));
            assert!(first == second, "{packing:?}");
            let (later, _, _) = write(&Image { time: 1_700_000_001, ..image(packing) });
            assert!(first != later, "{packing:?}: the time is in it");
        }
    }

    #[test]
    fn every_part_lies_under_the_digest_of_its_bytes() {
        for packing in [Packing::Plain, Packing::Gzip] {
            let (_, files, _) = write(&image(packing));
            let blobs: Vec<_> =
                files.iter().filter_map(|(path, bytes)| Some((path.strip_prefix("blobs/sha256/")?, bytes))).collect();
            let blobs: Vec<_> = blobs.into_iter().filter(|(name, _)| !name.is_empty()).collect();
            assert_eq!(blobs.len(), 4, "two layers, the configuration and the manifest");
            for (name, bytes) in blobs {
                assert_eq!(digest(&Sha256::digest(bytes)), format!("sha256:{name}"));
            }
        }
    }

    #[test]
    fn dockers_table_leads_to_the_configuration_and_the_layers() {
        let (_, files, written) = write(&image(Packing::Gzip));
        let saved = json_of(&files, "manifest.json");
        assert_eq!(saved[0]["RepoTags"], json!(["docker.io/library/thing:1.2.3"]));
        assert_eq!(text(&saved[0]["Config"]), format!("blobs/{}", written.id.replace(':', "/")));
        let config = json_of(&files, text(&saved[0]["Config"]));
        let layers = saved[0]["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        let mut packed = 0;
        for (layer, tar) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap()) {
            let gzip = &files[text(layer)];
            packed += gzip.len() as u64;
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(gzip.as_slice()).read_to_end(&mut unpacked).unwrap();
            assert_eq!(digest(&Sha256::digest(&unpacked)), text(tar));
        }
        assert_eq!(written.packed, packed);
        assert!(packed < 2_000, "ten thousand equal bytes were packed into {packed}");
    }

    #[test]
    fn the_layout_of_the_oci_leads_to_the_same() {
        let (_, files, written) = write(&image(Packing::Plain));
        assert_eq!(json_of(&files, "oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
        let index = json_of(&files, "index.json");
        let listed = &index["manifests"][0];
        assert_eq!(listed["annotations"]["io.containerd.image.name"], "docker.io/library/thing:1.2.3");
        assert_eq!(listed["annotations"]["org.opencontainers.image.ref.name"], "1.2.3");
        assert_eq!(listed["digest"], json!(written.digest));
        let manifest = json_of(&files, &format!("blobs/{}", written.digest.replace(':', "/")));
        assert_eq!(manifest["config"]["digest"], json!(written.id));
        for part in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"], listed]) {
            let bytes = &files[&format!("blobs/{}", text(&part["digest"]).replace(':', "/"))];
            assert_eq!(part["size"], json!(bytes.len()));
        }
        assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    }

    #[test]
    fn the_configuration_says_how_to_run_it() {
        let (_, files, written) = write(&image(Packing::Plain));
        let config = json_of(&files, &format!("blobs/{}", written.id.replace(':', "/")));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(
            config["config"],
            json!({
                "User": "65532:65532",
                "ExposedPorts": {"8080/tcp": {}},
                "Env": ["A=b"],
                "Entrypoint": ["/thing"],
                "Cmd": ["serve"],
                "WorkingDir": "/data",
                "Labels": {"org.opencontainers.image.version": "1.2.3"},
            })
        );
    }

    #[test]
    fn the_configuration_says_what_ends_it() {
        let (_, files, written) = write(&Image { stop_signal: "SIGINT".to_owned(), ..image(Packing::Plain) });
        let config = json_of(&files, &format!("blobs/{}", written.id.replace(':', "/")));
        assert_eq!(config["config"]["StopSignal"], "SIGINT");
    }

    #[test]
    fn a_reference_that_is_not_whole_is_refused() {
        for reference in ["thing", "thing:1", "docker.io/library/thing", "localhost:5000/thing", ""] {
            let image = Image { reference: reference.to_owned(), ..image(Packing::Plain) };
            let error = image.write(Path::new("/no/such/folder/x.tar")).unwrap_err().to_string();
            assert!(error.contains("names no image; write it whole"), "{error}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = image(Packing::Plain).write(Path::new("/no/such/folder/x.tar")).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot write /no/such/folder/x.tar: "), "{error:#}");
    }
}
