//! What the clients of a history know: which requests were answered, and how.

use std::collections::HashMap;
use std::path::Path;

use uuid::Uuid;

use crate::failure::Failure;
use crate::history::{self, Amount, Answer, Call, Line, Method, Record};

/// What came back for a request that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The order.
    pub order: String,
    /// Its state then.
    pub state: Option<String>,
    /// Its version then.
    pub etag: Option<String>,
    /// Its sum.
    pub total: Option<Amount>,
}

/// A request with what was answered to its tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its id.
    pub request: String,
    /// What for.
    pub method: Method,
    /// Who asked, or whose order it is about.
    pub customer: String,
    /// The order that it is about; none for a creation.
    pub order: Option<String>,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// How often it was sent.
    pub tries: u64,
    /// How many of them were answered that they weren't carried out.
    pub refused: u64,
    /// How many of them were answered with OK, and without an order.
    pub empty: u64,
    /// How many of them were answered again, and otherwise.
    pub answered_again: u64,
    /// The answers; different ones, each once.
    pub told: Vec<Told>,
}

/// The requests of a history.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Each once, in the order in which they were first sent.
    pub asked: Vec<Asked>,
    /// By id, method and customer.
    places: HashMap<(String, Method, String), usize>,
    /// The calls, each with its request and how it was answered.
    calls: HashMap<Uuid, (usize, Option<End>)>,
    /// The answers that belong to no call before them, by the ids that they name.
    pub stray: Vec<Uuid>,
}

/// How a call was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    status: String,
    told: Option<Told>,
}

impl Requests {
    /// Reads a history.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let mut requests = Self::default();
        history::read(path, |record| requests.add(record))?;
        Ok(requests)
    }

    /// Adds a line of a history.
    pub fn add(&mut self, record: Record) {
        match record {
            Record::Run { .. } => {}
            Record::Call(Call { call, request, method, customer, order, lines, .. }) => {
                let next = self.asked.len();
                let place = *self.places.entry((request.clone(), method, customer.clone())).or_insert(next);
                if place == next {
                    let (tries, refused, empty, answered_again, told) = (0, 0, 0, 0, Vec::new());
                    let asked =
                        Asked { request, method, customer, order, lines, tries, refused, empty, answered_again, told };
                    self.asked.push(asked);
                }
                if let Some(asked) = self.asked.get_mut(place) {
                    asked.tries += 1;
                }
                self.calls.insert(call, (place, None));
            }
            Record::Answer(answer) => self.answered(answer),
        }
    }

    fn answered(&mut self, answer: Answer) {
        let Answer { call, status, unknown, order, state, etag, total, .. } = answer;
        let Some((place, before)) = self.calls.get_mut(&call) else {
            self.stray.push(call);
            return;
        };
        let Some(asked) = self.asked.get_mut(*place) else { return };
        let told = order.map(|order| Told { order, state, etag, total });
        let end = End { status, told };
        // It may be said twice, if it is the same.
        if before.as_ref() == Some(&end) {
            return;
        }
        let is_first = before.is_none();
        asked.answered_again += u64::from(!is_first);
        let is_ok = end.status == "OK";
        if let Some(told) = end.told.as_ref().filter(|told| is_ok && !unknown && !asked.told.contains(told)) {
            asked.told.push(told.clone());
        }
        asked.empty += u64::from(is_ok && end.told.is_none());
        asked.refused += u64::from(!is_ok && !unknown && is_first);
        *before = Some(end);
    }
}
