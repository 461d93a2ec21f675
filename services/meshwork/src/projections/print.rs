//! What `meshwork projections` prints.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use meshwork_api::meshwork::admin::v1::{Projection, ProjectionProgress, ProjectionReport};
use serde_json::{Value, json};

/// An enum's word, in small letters and without its prefix.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// The line on a terminal that tells how far the work is.
pub struct Line {
    terminal: bool,
    shown: bool,
}

impl Line {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: false }
    }

    /// Shows how far the work is, in place of what was shown before.
    pub fn show(&mut self, progress: &ProjectionProgress) {
        if !self.terminal {
            return;
        }
        self.shown = true;
        // A terminal that has gone away is no reason to end the work.
        write!(std::io::stderr(), "\r\x1b[2K{}", progress_text(progress)).ok();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.shown {
            write!(std::io::stderr(), "\r\x1b[2K").ok();
        }
    }
}

fn progress_text(progress: &ProjectionProgress) -> String {
    let phase = word(progress.phase().as_str_name(), "PHASE_");
    let ProjectionProgress { applied_commits, total_commits, compared_rows, differing_rows, .. } = progress;
    format!(
        "{phase}: {applied_commits} of {total_commits} commits, {compared_rows} rows compared, {differing_rows} differ"
    )
}

/// The projection, as a table of its versions and a list of what is parked.
pub fn projection_text(projection: &Projection) -> String {
    let mut text = format!("{}\n\n", projection.name);
    let mut row = |version: &str, state: &str, partition: &str, position: &str, head: &str, lag: &str| {
        let line = format!("{version:>7}  {state:<8}  {partition:>9}  {position:>10}  {head:>10}  {lag:>8}");
        writeln!(text, "{}", line.trim_end()).ok();
    };
    row("version", "state", "partition", "position", "head", "lag");
    for version in &projection.versions {
        let state = word(version.state().as_str_name(), "STATE_");
        for partition in &version.partitions {
            row(
                &version.version.to_string(),
                &state,
                &partition.partition.to_string(),
                &partition.position.to_string(),
                &partition.head.to_string(),
                &partition.lag.to_string(),
            );
        }
    }
    for version in &projection.versions {
        for problem in &version.divergences {
            writeln!(
                text,
                "\nversion {} has diverged: {problem}:\n  `meshwork projections rebuild {} --accept-differences`",
                version.version, projection.name
            )
            .ok();
        }
        if !version.divergences.is_empty() {
            continue;
        }
        let ahead = version.partitions.iter().filter(|partition| partition.position > partition.head);
        let ahead: Vec<_> = ahead.map(|partition| partition.partition.to_string()).collect();
        if !ahead.is_empty() {
            writeln!(
                text,
                "\nversion {} is ahead of the event store in partition {}: the store was put back to an older copy, or is \
                 another one;\n  put the right one back, or `meshwork projections rebuild {} --accept-differences`",
                version.version,
                ahead.join(", "),
                projection.name
            )
            .ok();
        }
    }
    for version in &projection.versions {
        for parked in &version.parked_streams {
            writeln!(text, "\nparked in version {}: {}\n  {}", version.version, parked.stream, parked.reason).ok();
        }
    }
    if projection.versions.iter().all(|version| version.parked_streams.is_empty()) {
        writeln!(text, "\nnothing is parked").ok();
    }
    text
}

/// What a rebuild or rollback has done and found.
pub fn report_text(verb: &str, report: &ProjectionReport) -> String {
    let ProjectionReport { version, previous_version, applied_commits, compared_rows, differing_rows, .. } = report;
    let mut text = format!("{verb}: version {version} is live, version {previous_version} was\n");
    writeln!(text, "{applied_commits} commits applied, {compared_rows} rows compared, {differing_rows} differ").ok();
    for difference in &report.differences {
        let says = |row: &str| if row.is_empty() { "(none)".to_owned() } else { row.to_owned() };
        let (live, built) = (says(&difference.live), says(&difference.built));
        writeln!(text, "  {}\n    was {live}\n    is  {built}", difference.key).ok();
    }
    text
}

/// The projection as JSON.
pub fn projection_json(projection: &Projection) -> Value {
    let versions = projection.versions.iter().map(|version| {
        let partitions = version.partitions.iter().map(|partition| {
            json!({
                "partition": partition.partition,
                "position": partition.position,
                "head": partition.head,
                "lag": partition.lag,
            })
        });
        let parked = version.parked_streams.iter().map(|parked| {
            json!({
                "stream": parked.stream,
                "partition": parked.partition,
                "position": parked.position,
                "reason": parked.reason,
            })
        });
        json!({
            "version": version.version,
            "state": word(version.state().as_str_name(), "STATE_"),
            "partitions": partitions.collect::<Vec<_>>(),
            "parked": parked.collect::<Vec<_>>(),
            "divergences": version.divergences,
        })
    });
    json!({
        "name": projection.name,
        "versions": versions.collect::<Vec<_>>(),
        "last_report": projection.last_report.as_ref().map(report_json),
    })
}

/// A report as JSON.
pub fn report_json(report: &ProjectionReport) -> Value {
    let differences = report
        .differences
        .iter()
        .map(|difference| json!({ "key": difference.key, "live": difference.live, "built": difference.built }));
    json!({
        "version": report.version,
        "previous_version": report.previous_version,
        "applied_commits": report.applied_commits,
        "compared_rows": report.compared_rows,
        "differing_rows": report.differing_rows,
        "differences": differences.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use meshwork_api::meshwork::admin::v1::projection::Version;
    use meshwork_api::meshwork::admin::v1::projection::version::Partition;

    use super::*;

    #[test]
    fn a_version_that_is_ahead_of_the_event_store_is_told_with_what_can_be_done() {
        let partition = |partition, position, head| Partition { partition, position, head, lag: 0 };
        let partitions = vec![partition(0, 7, 7), partition(1, 9, 4), partition(3, 2, 1)];
        let version = Version { version: 2, partitions, ..Version::default() };
        let mut projection = Projection {
            name: "projections/orders".to_owned(),
            versions: vec![version.clone(), Version { version: 1, partitions: vec![partition(0, 7, 7)], ..version }],
            last_report: None,
        };
        let text = projection_text(&projection);
        let told = "version 2 is ahead of the event store in partition 1, 3: ";
        assert!(text.contains(told) && text.contains("rebuild projections/orders --accept-differences"), "{text}");
        assert_eq!(text.matches("is ahead").count(), 1, "{text}");
        // The service says more of the live one.
        projection.versions[0].divergences = vec!["it ends at commit 4 of partition 1".to_owned()];
        let text = projection_text(&projection);
        assert!(!text.contains("is ahead"), "{text}");
        projection.versions.remove(0);
        let text = projection_text(&projection);
        assert!(!text.contains("is ahead") && !text.contains("has diverged"), "{text}");
    }

    #[test]
    fn a_version_that_has_diverged_is_told_of_though_it_is_not_ahead() {
        let problem = "the event store is another one: its commit 6 of partition 0 is not the one that was applied";
        let version = Version { version: 2, divergences: vec![problem.to_owned()], ..Version::default() };
        let mut projection = Projection { name: "projections/orders".to_owned(), ..Projection::default() };
        projection.versions.push(version);
        let text = projection_text(&projection);
        assert!(text.contains(&format!("version 2 has diverged: {problem}")), "{text}");
        assert!(text.contains("`meshwork projections rebuild projections/orders --accept-differences`"), "{text}");
        assert_eq!(projection_json(&projection)["versions"][0]["divergences"], json!([problem]));
    }
}
