//! `meshwork events`: the events that services tell each other.

mod print;
mod reading_status;
mod tail;

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::sync::Arc;

use meshwork_chassis::bus;
use meshwork_chassis::config::NatsConfig;
use meshwork_events::{Bus, Envelope};
use reading_status::ReadingStatus;
use tail::{Tail, Wanted};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cli::{EventOutput, EventsArgs, EventsCommand, StreamName};
use crate::config::{Flags, Settings, load};
use crate::failure::Failure;
use crate::run::stop_signal;

/// How many events wait to be printed at most: readers wait for a slow terminal.
const QUEUE: usize = 16;

/// Carries out a command of `meshwork events`.
///
/// # Errors
/// When the settings can't be used, there is no bus, or nothing can be printed.
pub async fn run(args: EventsArgs) -> Result<(), Failure> {
    let EventsCommand::Tail(args) = args.command;
    let (settings, _) = load(&args.settings, &Flags::new())?;
    let streams = args.stream.map_or_else(|| StreamName::ALL.to_vec(), |stream| vec![stream]);
    let shards = [(StreamName::Users.as_str(), settings.users.shards.count())];
    let mut opened = Vec::new();
    let mut lanes = Vec::new();
    for stream in streams {
        let bus = open(&mut opened, stream, place_of(&settings, stream), &shards).await?;
        lanes.extend(bus.lanes(stream.as_str()).into_iter().map(|lane| (bus.clone(), lane)));
    }
    let places = opened.iter().map(|((folder, nats), _)| bus::place(folder, nats));
    let status = Arc::new(ReadingStatus::new(lanes.len(), places.collect::<Vec<_>>().join(" and ")));
    let wanted = Arc::new(Wanted { event_type: args.event_type, subject: args.subject });

    let (queue, events) = mpsc::channel(QUEUE);
    let mut readers = JoinSet::new();
    for (bus, lane) in lanes {
        let tail = Tail::new(bus, lane, args.from, wanted.clone(), status.clone());
        readers.spawn(tail.run(queue.clone()));
    }
    drop(queue);
    // Standard output may block for as long as it likes.
    let printer = tokio::task::spawn_blocking(move || print_all(events, args.output));
    tokio::select! {
        stopped = stop_signal() => stopped,
        printed = printer => match printed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Ok(Err(error)) => {
                Err(Failure::new(format!("can't print events: {error}"), "look where standard output leads"))
            }
            Err(error) => Err(Failure::new(format!("printing has panicked: {error}"), "report this bug")),
        },
    }
}

/// Where a bus is: its folder, and the NATS settings that may take its place.
type Place<'a> = (&'a Path, &'a NatsConfig);

/// The bus that the service of a stream publishes to.
fn place_of(settings: &Settings, stream: StreamName) -> Place<'_> {
    match stream {
        StreamName::Users => (&settings.users.bus, &settings.users.nats),
        StreamName::Products => (&settings.products.bus, &settings.products.nats),
        StreamName::Orders => (&settings.orders.bus, &settings.orders.nats),
    }
}

/// Opens the bus of a stream, once for each place.
async fn open<'a>(
    opened: &mut Vec<(Place<'a>, Arc<dyn Bus>)>,
    stream: StreamName,
    (folder, nats): Place<'a>,
    shards: &[(&'static str, u16)],
) -> Result<Arc<dyn Bus>, Failure> {
    let is_same = |other: &Place<'_>| other.1 == nats && (nats.is_set() || other.0 == folder);
    if let Some((_, bus)) = opened.iter().find(|(place, _)| is_same(place)) {
        return Ok(bus.clone());
    }
    // Opening would make a bus that nobody publishes to.
    if !nats.is_set() && !folder.is_dir() {
        return Err(Failure::new(
            format!("there is no event bus in {}", folder.display()),
            "name the folder of a `meshwork up` with --data, or the NATS server with --nats",
        ));
    }
    let bus = bus::open_as("meshwork events tail", stream.as_str(), folder, nats, shards).await?;
    opened.push(((folder, nats), bus.clone()));
    Ok(bus)
}

/// Prints events until there are no more, or standard output takes none.
fn print_all(mut events: mpsc::Receiver<(String, Envelope)>, output: EventOutput) -> io::Result<()> {
    while let Some((stream, event)) = events.blocking_recv() {
        let text = match output {
            EventOutput::Text => print::text(&stream, &event),
            EventOutput::Json => format!("{}\n", print::json(&stream, &event)),
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}
