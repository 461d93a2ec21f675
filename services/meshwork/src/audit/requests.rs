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
    /// What was ordered.
    pub lines: Vec<Line>,
    /// How often it was sent.
    pub tries: u64,
    /// How many of them were answered that they weren't carried out.
    pub refused: u64,
    /// The answers; different ones, each once.
    pub told: Vec<Told>,
}

/// The requests of a history.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Each once, in the order in which they were first sent.
    pub asked: Vec<Asked>,
    /// By id and method.
    places: HashMap<(String, Method), usize>,
    /// The calls that weren't answered yet, each with its request.
    open: HashMap<Uuid, usize>,
    /// How many answers belong to no call.
    pub stray: u64,
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
            Record::Call(Call { call, request, method, customer, lines, .. }) => {
                let next = self.asked.len();
                let place = *self.places.entry((request.clone(), method)).or_insert(next);
                if place == next {
                    let (tries, refused, told) = (0, 0, Vec::new());
                    self.asked.push(Asked { request, method, customer, lines, tries, refused, told });
                }
                if let Some(asked) = self.asked.get_mut(place) {
                    asked.tries += 1;
                }
                self.open.insert(call, place);
            }
            Record::Answer(answer) => self.answered(answer),
        }
    }

    fn answered(&mut self, answer: Answer) {
        let Some(place) = self.open.remove(&answer.call) else {
            self.stray += 1;
            return;
        };
        let Some(asked) = self.asked.get_mut(place) else { return };
        let Answer { status, unknown, order, state, etag, total, .. } = answer;
        if unknown {
            return;
        }
        if status != "OK" {
            asked.refused += 1;
        } else if let Some(order) = order {
            let told = Told { order, state, etag, total };
            if !asked.told.contains(&told) {
                asked.told.push(told);
            }
        }
    }
}
