//! A set that may be offered: read once, bounded, and without a contradiction in itself.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::Message as _;
use prost_types::FileDescriptorProto;

use super::bounds::{BYTES, FILE_BYTES, FILES, METHODS, SHOWN, SHOWN_BYTES};
use super::error::InvalidContracts;
use super::file::{DescriptorFile, RawFile, RawSet, files};
use super::set::ContractSet;
use super::symbols::Symbols;
use crate::server::auth::AccessTable;
use crate::server::plan::StreamingMethods;

/// The packages of what every server has itself. What others say of them is passed over: their servers have them as well.
const OWN_PACKAGES: [&str; 3] = ["grpc.health.v1", "grpc.reflection.v1", "grpc.reflection.v1alpha"];

/// A [`ContractSet`] that was checked.
#[derive(Default)]
pub(super) struct CheckedSet {
    files: Files,
    pub methods: StreamingMethods,
    pub access: AccessTable,
    pub shown: Vec<String>,
}

/// Files, each name once.
#[derive(Default)]
pub(super) struct Files(BTreeMap<Box<str>, DescriptorFile>);

impl CheckedSet {
    /// Reads and checks `set`.
    ///
    /// # Errors
    /// When it can't be read, holds too much, or says one thing in two ways.
    pub(super) fn read(set: ContractSet) -> Result<Self, InvalidContracts> {
        let ContractSet { descriptors, access, shown } = set;
        BYTES.check(descriptors.iter().map(Vec::len).sum())?;
        METHODS.check(access.methods().count())?;
        SHOWN.check(shown.len())?;
        SHOWN_BYTES.check(shown.iter().map(String::len).sum())?;
        let mut reading = Reading::default();
        for (place, set) in descriptors.into_iter().enumerate() {
            let files = files(set.into()).map_err(|error| InvalidContracts::undecodable(place, &error))?;
            for (file, raw) in files {
                if file.name.is_empty() {
                    return Err(InvalidContracts::unnamed_file(place));
                }
                reading.add(file, raw)?;
            }
        }
        Ok(Self { files: reading.files, methods: reading.methods, access, shown })
    }

    /// The files that `built`, those of the server itself, don't have: an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// When a file is in both, and not as the same.
    pub(super) fn beside(&self, built: &Files) -> Result<Vec<u8>, InvalidContracts> {
        let mut added = RawSet::default();
        for file in self.files.0.values() {
            if !built.has(file)? {
                added.file.push(file.encoded.clone());
            }
        }
        Ok(added.encode_to_vec())
    }
}

impl Files {
    /// Those of encoded `FileDescriptorSet`s. Of one name the first counts, as in reflection.
    ///
    /// # Errors
    /// When one of them is none.
    pub(super) fn decode<'s>(sets: impl IntoIterator<Item = &'s [u8]>) -> Result<Self, prost::DecodeError> {
        let mut all = Self::default();
        for set in sets {
            for (file, _) in files(Bytes::copy_from_slice(set))? {
                all.0.entry(file.name.clone()).or_insert(file);
            }
        }
        Ok(all)
    }

    /// Whether `file` is among them.
    ///
    /// # Errors
    /// When one of its name is, and says something else.
    fn has(&self, file: &DescriptorFile) -> Result<bool, InvalidContracts> {
        match self.0.get(&file.name) {
            None => Ok(false),
            Some(other) if file.is_same(other) || file.is_of_protobuf() => Ok(true),
            Some(_) => Err(InvalidContracts::other_contents(&file.name)),
        }
    }
}

/// A set as far as it was read.
#[derive(Default)]
struct Reading {
    files: Files,
    methods: StreamingMethods,
    symbols: Symbols,
    /// For each service its encoded descriptor, and the file that it is in.
    services: HashMap<String, (Bytes, Box<str>)>,
    count: usize,
}

impl Reading {
    fn add(&mut self, file: DescriptorFile, raw: RawFile) -> Result<(), InvalidContracts> {
        if OWN_PACKAGES.contains(&raw.package()) || self.files.has(&file)? {
            return Ok(());
        }
        FILES.check_at(self.files.0.len() + 1, &file.name)?;
        FILE_BYTES.check_at(file.encoded.len(), &file.name)?;
        let decoded = FileDescriptorProto::decode(file.encoded.clone())
            .map_err(|error| InvalidContracts::undecodable_file(&file.name, &error))?;
        // Before anything is written out in full.
        self.symbols.add(&file.name, &decoded)?;
        self.count += decoded.service.iter().map(|service| service.method.len()).sum::<usize>();
        METHODS.check_at(self.count, &file.name)?;
        let dot = if decoded.package().is_empty() { "" } else { "." };
        for (service, encoded) in decoded.service.iter().zip(raw.service) {
            let name = format!("{}{dot}{}", decoded.package(), service.name());
            match self.services.get(&name) {
                Some((other, _)) if *other == encoded => {}
                Some((_, other)) => return Err(InvalidContracts::other_service(&name, &file.name, other)),
                None => {
                    self.services.insert(name, (encoded, file.name.clone()));
                }
            }
        }
        self.methods.add(&decoded);
        self.files.0.insert(file.name.clone(), file);
        Ok(())
    }
}
