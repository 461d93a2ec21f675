//! Measures, and prints what Prometheus would scrape.

#![allow(clippy::print_stdout, reason = "an example")]

use meshwork_telemetry::{KeyValue, Telemetry};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let telemetry = Telemetry::builder().build()?;
    let meter = telemetry.meter("example");
    let guests = meter.u64_counter("guests").with_description("Who has come.").build();
    let stay = meter.f64_histogram("stay").with_unit("s").with_description("How long they have stayed.").build();
    for (name, seconds) in [("anna", 12.5), ("bert", 3.0)] {
        let attributes = [KeyValue::new("door", if name == "anna" { "front" } else { "back" })];
        guests.add(1, &attributes);
        stay.record(seconds, &attributes);
    }
    print!("{}", telemetry.prometheus()?);
    Ok(())
}
