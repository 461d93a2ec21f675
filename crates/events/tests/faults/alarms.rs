//! What relays say about their lanes.

use std::fmt;
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The lane and the message of each error so far.
static SAID: Mutex<Vec<Said>> = Mutex::new(Vec::new());

#[derive(Default)]
struct Said {
    lane: String,
    message: String,
}

/// Hears what is said in this process, from now on.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
}

/// How often relays of a stream have said something that begins like this.
pub(crate) fn said(stream: &str, begins: &str) -> usize {
    let lane = format!("{stream}.");
    let said = SAID.lock().unwrap();
    said.iter().filter(|it| it.lane.starts_with(&lane) && it.message.starts_with(begins)).count()
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.target().starts_with("meshwork_events")
    }

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        SAID.lock().unwrap().push(said);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "lane" => self.lane = format!("{value:?}"),
            "message" => self.message = format!("{value:?}"),
            _ => {}
        }
    }
}
