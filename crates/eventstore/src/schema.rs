//! Events as bytes, and what becomes of those that older releases have written (ES-5).

use bytes::Bytes;

use crate::NewEvent;

/// An event that can be read from its bytes, a protobuf message's or others.
pub trait Event: Clone + Send + Sync + Sized + 'static {
    /// All types of events, those that are only read any more included.
    const TYPES: &'static [EventType];

    /// The event of a type's newest schema.
    ///
    /// # Errors
    /// A sentence about what can't be understood.
    fn decode(event_type: &str, data: &[u8]) -> Result<Self, String>;
}

/// An event that tells its own bytes.
pub trait EncodeEvent: Event {
    /// The type.
    fn event_type(&self) -> &'static str;

    /// The bytes, by the type's newest schema.
    fn encode(&self) -> Bytes;
}

/// An event that tells its own bytes as it is appended: by its type's newest schema.
pub fn new_event<E: EncodeEvent>(event: &E) -> NewEvent {
    let event_type = event.event_type();
    NewEvent { event_type, schema_version: written_version::<E>(event_type), data: event.encode() }
}

/// From the bytes of one schema to those of the next.
pub type Upcaster = fn(&[u8]) -> Result<Bytes, String>;

/// A type of events.
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    /// Its name, such as `order_created`.
    pub name: &'static str,
    /// How its schemas followed each other: the first leads from version 1 to 2. So the newest version is one more than
    /// there are upcasters.
    pub upcasters: &'static [Upcaster],
}

impl EventType {
    /// A type that has had one schema.
    pub const fn new(name: &'static str) -> Self {
        Self { name, upcasters: &[] }
    }

    /// A type whose schema has changed: each upcaster leads to the next version.
    pub const fn with_upcasters(name: &'static str, upcasters: &'static [Upcaster]) -> Self {
        Self { name, upcasters }
    }

    /// The version of the newest schema, in which events are written.
    pub fn version(&self) -> u16 {
        u16::try_from(self.upcasters.len()).unwrap_or(u16::MAX - 1) + 1
    }
}

/// A stored event, whatever schema it was written in.
///
/// # Errors
/// When the type or its version is unknown, or the bytes can't be understood.
pub fn read_event<E: Event>(event_type: &str, schema_version: u16, data: &Bytes) -> Result<E, String> {
    let Some(known) = E::TYPES.iter().find(|known| known.name == event_type) else {
        return Err(format!("{event_type} is no event that this release knows"));
    };
    let newest = known.version();
    if schema_version == 0 || schema_version > newest {
        return Err(format!("{event_type} has schema version {schema_version}; this release reads 1 to {newest}"));
    }
    let mut data = data.clone();
    for (version, upcast) in (1..).zip(known.upcasters).skip(usize::from(schema_version) - 1) {
        data = upcast(&data).map_err(|problem| format!("{event_type} of schema version {version}: {problem}"))?;
    }
    E::decode(event_type, &data)
}

/// The version in which events of a type are written; 1 for a type that the schema lacks.
pub fn written_version<E: Event>(event_type: &str) -> u16 {
    E::TYPES.iter().find(|known| known.name == event_type).map_or(1, EventType::version)
}
