//! The history of a load: what clients asked for and what they were told, one JSON object a line.
//!
//! A call's line is on the disk before the call is sent, an answer's after it came. So a call without an answer may or
//! may not have been carried out: nobody knows.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::failure::Failure;

/// The longest line that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// A run begins; a file may hold several, one behind the other.
    Run {
        run: Uuid,
        #[serde(with = "time::serde::rfc3339")]
        time: OffsetDateTime,
        /// Orders a second.
        rate: f64,
        seconds: u64,
    },
    /// A call is about to be sent; each try is a call of its own.
    Call(Call),
    /// What came back.
    Answer(Answer),
}

/// A call that is about to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub call: Uuid,
    /// The request id, the same for all tries of one request.
    pub request: String,
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    pub method: Method,
    /// Who asks or whose order it is, `users/…`.
    pub customer: String,
    /// The order it is about, `orders/…`; none for a creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// What is ordered; empty for all but a creation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
}

/// An answer to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub call: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// `OK`, or the code's name such as `FAILED_PRECONDITION`.
    pub status: String,
    /// The answer doesn't tell whether the call was carried out.
    #[serde(default)]
    pub unknown: bool,
    /// The order of an answer that is OK, as it is then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Its state, such as `PENDING`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Amount>,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(clippy::enum_variant_names, reason = "they are the methods' names")]
pub enum Method {
    CreateOrder,
    CancelOrder,
    ShipOrder,
    DeliverOrder,
}

/// A line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `products/…`
    pub product: String,
    pub quantity: u32,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    pub currency_code: String,
    pub units: i64,
    pub nanos: i32,
}

/// Reads a history, line by line. A last line that was cut short, as by a crash of its writer, is left out.
///
/// # Errors
/// When the file can't be read, or a line is no record; the failure names the line.
pub fn read(path: &Path, each: impl FnMut(Record)) -> Result<(), Failure> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| unreadable(&shown, &error))?;
    read_lines(BufReader::new(file), &shown, each)
}

fn read_lines(mut lines: impl BufRead, shown: &str, mut each: impl FnMut(Record)) -> Result<(), Failure> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let length = std::io::Read::take(&mut lines, LONGEST).read_until(b'\n', &mut line);
        if length.map_err(|error| unreadable(shown, &error))? == 0 {
            break;
        }
        // As an editor leaves one at the end.
        if line.trim_ascii().is_empty() {
            continue;
        }
        let whole = line.ends_with(b"\n");
        match serde_json::from_slice(&line) {
            Ok(record) => each(record),
            // Whoever wrote it was stopped in the middle: nothing had been sent yet.
            Err(_) if !whole && lines.fill_buf().is_ok_and(<[u8]>::is_empty) => break,
            Err(error) => {
                return Err(Failure::new(
                    format!("line {number} of the history {shown} is no record: {error}"),
                    "give the file as `meshwork load --history` has written it",
                ));
            }
        }
    }
    Ok(())
}

fn unreadable(shown: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("the history {shown} can't be read: {error}"), "give a file that can be read")
}

#[cfg(test)]
mod tests {
    use super::{Answer, Call, Line, Method, Record, read_lines};
    use crate::failure::Failure;

    const RUN: &str = r#"{"kind":"run","run":"5f0f1f9a-4a0b-4c53-9d0e-2f6f0a1b2c3d","time":"2026-01-02T03:04:05Z","rate":50.0,"seconds":60}"#;
    const CALL: &str = r#"{"kind":"call","call":"7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d","request":"r","time":"2026-01-02T03:04:05.5Z","method":"CreateOrder","customer":"users/1","lines":[{"product":"products/1","quantity":2}]}"#;
    const OK: &str = r#"{"kind":"answer","call":"7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d","time":"2026-01-02T03:04:06Z","status":"OK","unknown":false,"order":"orders/1","state":"PENDING","etag":"1","total":{"currency_code":"EUR","units":3,"nanos":0}}"#;
    const FAILED: &str = r#"{"kind":"answer","call":"7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d","time":"2026-01-02T03:04:06Z","status":"UNAVAILABLE","unknown":true}"#;

    fn read(text: &str) -> Result<Vec<Record>, Failure> {
        let mut records = Vec::new();
        read_lines(text.as_bytes(), "h", |record| records.push(record))?;
        Ok(records)
    }

    #[test]
    fn records_are_read_as_they_are_written() {
        let lines = [RUN, CALL, OK, FAILED];
        let records = read(&lines.map(|line| format!("{line}\n")).concat()).unwrap();
        assert!(matches!(&records[1], Record::Call(Call { method: Method::CreateOrder, order: None, lines, .. })
            if *lines == [Line { product: "products/1".to_owned(), quantity: 2 }]));
        assert!(matches!(&records[3], Record::Answer(Answer { unknown: true, order: None, total: None, .. })));
        let written: Vec<_> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        assert_eq!(written, lines);
    }

    #[test]
    fn only_a_last_line_may_be_cut_short() {
        assert!(read("").unwrap().is_empty());
        let torn = &CALL[..CALL.len() / 2];
        assert_eq!(read(&format!("{RUN}\n{torn}")).unwrap().len(), 1);
        assert_eq!(read(&format!("{RUN}\n{CALL}")).unwrap().len(), 2, "whole, but for the end of the line");
        let failure = read(&format!("{RUN}\n{torn}\n{OK}\n")).unwrap_err();
        assert!(failure.sentence().starts_with("line 2 of the history h is no record: "), "{failure}");
        read(&format!("{RUN}\n{torn}\n")).unwrap_err();
    }

    #[test]
    fn blank_lines_hold_nothing() {
        assert_eq!(read(&format!("{RUN}\n{CALL}\n\n")).unwrap().len(), 2);
        assert_eq!(read(&format!("{RUN}\n \r\n{CALL}\n \n\t")).unwrap().len(), 2);
        let failure = read(&format!("{RUN}\n\n{{}}\n")).unwrap_err();
        assert!(failure.sentence().starts_with("line 3 "), "{failure}");
    }
}
