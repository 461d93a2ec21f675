//! Calls as a careful client makes them: noted before they are sent, and made again, as the same request, while nobody
//! knows what came of them.

use std::time::Duration;

use meshwork::Channel;
use meshwork_api::meshwork::orders::v1::Order;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::journal::Journal;
use super::tally::Tally;
use crate::failure::Failure;
use crate::history::{Amount, Answer, Call, Line, Method, Record};

/// For how long a request is repeated whose outcome isn't known.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one try may take; the policy of the channel has a deadline before.
const TRY: Duration = Duration::from_secs(12);
/// The pause before the second try, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A client of the orders service.
pub type Client = OrderServiceClient<Channel>;

/// What is asked for.
pub struct Request {
    /// By which method.
    pub method: Method,
    /// The same for all tries.
    pub id: String,
    /// Whose order it is.
    pub customer: String,
    /// The order, unless it is to be created.
    pub order: Option<String>,
    /// What is ordered.
    pub lines: Vec<Line>,
}

impl Request {
    /// A request about an order that there is.
    pub fn about(method: Method, customer: &str, order: &str) -> Self {
        let (customer, order) = (customer.to_owned(), Some(order.to_owned()));
        Self { method, id: Uuid::new_v4().to_string(), customer, order, lines: Vec::new() }
    }
}

/// What came of a request.
pub enum Outcome {
    /// It was carried out, on the order of this name.
    Done(String),
    /// It was not, and won't be.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Makes calls to the orders service.
#[derive(Clone)]
pub struct Calls {
    channel: Channel,
    journal: Option<Journal>,
    tally: Tally,
}

impl Calls {
    /// Over a channel; each is noted in the history, if there is one.
    pub fn new(channel: Channel, journal: Option<Journal>, tally: Tally) -> Self {
        Self { channel, journal, tally }
    }

    /// A client for calls that change nothing.
    pub fn client(&self) -> Client {
        OrderServiceClient::new(self.channel.clone())
    }

    /// Makes a request until its outcome is known, or the time for it is over.
    ///
    /// # Errors
    /// When the history can't be written.
    pub async fn make<F, Sent>(&self, request: &Request, send: F) -> Result<Outcome, Failure>
    where
        F: Fn(Client) -> Sent,
        Sent: Future<Output = Result<Response<Order>, Status>>,
    {
        let until = Instant::now() + PATIENCE;
        let (mut pause, longest) = PAUSES;
        loop {
            let call = Uuid::new_v4();
            if let Some(journal) = &self.journal {
                journal.before(noted(call, request)).await?;
            }
            let answer = timeout(TRY, send(self.client())).await;
            let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
            let answer = answer.map(Response::into_inner);
            if let Some(journal) = &self.journal {
                journal.after(answered(call, &answer)).await?;
            }
            match answer {
                Ok(order) => return Ok(Outcome::Done(order.name)),
                Err(status) if !is_unknown(status.code()) => {
                    self.tally.ended(method(request.method), name(status.code()));
                    return Ok(Outcome::Refused);
                }
                Err(_) => {}
            }
            // Between half of it and all, so that clients who failed together don't come again together.
            let next = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            if Instant::now() + next >= until {
                self.tally.ended(method(request.method), "no answer");
                return Ok(Outcome::Unknown);
            }
            sleep(next).await;
            pause = (pause * 2).min(longest);
            self.tally.retried();
        }
    }
}

/// Whether a call that ended so may have been carried out.
fn is_unknown(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled | Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Unavailable | Code::DataLoss
    )
}

fn noted(call: Uuid, request: &Request) -> Record {
    let Request { method, id, customer, order, lines } = request;
    Record::Call(Call {
        call,
        request: id.clone(),
        time: OffsetDateTime::now_utc(),
        method: *method,
        customer: customer.clone(),
        order: order.clone(),
        lines: lines.clone(),
    })
}

fn answered(call: Uuid, answer: &Result<Order, Status>) -> Record {
    let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
    let order = answer.as_ref().ok();
    let total = order.and_then(|order| order.total.clone());
    Record::Answer(Answer {
        call,
        time: OffsetDateTime::now_utc(),
        status: name(code).to_owned(),
        unknown: is_unknown(code),
        order: order.map(|order| order.name.clone()),
        state: order.map(|order| order.state().as_str_name().trim_start_matches("STATE_").to_owned()),
        etag: order.map(|order| order.etag.clone()),
        total: total.map(|total| Amount { currency_code: total.currency_code, units: total.units, nanos: total.nanos }),
    })
}

/// A method's name.
fn method(method: Method) -> &'static str {
    match method {
        Method::CreateOrder => "CreateOrder",
        Method::CancelOrder => "CancelOrder",
        Method::ShipOrder => "ShipOrder",
        Method::DeliverOrder => "DeliverOrder",
    }
}

/// A code's name.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};
    use std::path::Path;
    use std::sync::Mutex;

    use meshwork_chassis::ClientConfig;

    use super::*;
    use crate::history;
    use crate::load::plan::Plan;

    fn order() -> Order {
        Order { name: "orders/1".to_owned(), etag: "3".to_owned(), state: 6, ..Order::default() }
    }

    fn records(path: &Path) -> Vec<Record> {
        let mut records = Vec::new();
        history::read(path, |record| records.push(record)).unwrap();
        records
    }

    /// Makes a request whose tries are answered so, one after the other; returns what came of it, what was noted, and how
    /// often it was repeated.
    async fn made(answers: Vec<Result<Order, Status>>) -> (Outcome, Vec<Record>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let journal = Journal::open(&path).unwrap();
        journal.begin(&Plan::plain(1.0, 1)).await.unwrap();
        let tally = Tally::new().unwrap();
        let channel = ClientConfig::default().channel("--target", "http://127.0.0.1:9").unwrap();
        let calls = Calls::new(channel, Some(journal.clone()), tally.clone());
        let answers = Mutex::new(VecDeque::from(answers));
        let request = Request::about(Method::CancelOrder, "users/anna", "orders/1");
        let send = |_: Client| {
            let last = records(&path).pop();
            assert!(matches!(last, Some(Record::Call(_))), "sent before it was noted: {last:?}");
            let answer = answers.lock().unwrap().pop_front().unwrap();
            async move { answer.map(Response::new) }
        };
        let outcome = calls.make(&request, send).await.unwrap();
        journal.flush().await.unwrap();
        assert!(answers.lock().unwrap().is_empty(), "it was given up");
        (outcome, records(&path), tally.counts().retried)
    }

    #[tokio::test]
    async fn a_request_is_the_same_in_all_tries_until_its_outcome_is_known() {
        let unknown = [Status::unavailable("away"), Status::deadline_exceeded("late")].map(Err);
        let answers = unknown.into_iter().chain([Ok(order())]).collect();
        let (outcome, records, retried) = made(answers).await;
        assert!(matches!(outcome, Outcome::Done(name) if name == "orders/1"));
        assert_eq!(retried, 2);
        let (mut requests, mut calls, mut ends) = (HashSet::new(), Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Run { .. } => {}
                Record::Call(Call { call, request, order, .. }) => {
                    assert_eq!(order.as_deref(), Some("orders/1"));
                    requests.insert(request);
                    calls.push(call);
                }
                Record::Answer(Answer { call, status, unknown, state, .. }) => {
                    assert_eq!(Some(&call), calls.last());
                    ends.push((status, unknown, state));
                }
            }
        }
        assert_eq!((requests.len(), HashSet::<Uuid>::from_iter(calls).len()), (1, 3));
        let end = |status: &str, unknown, state: Option<&str>| (status.to_owned(), unknown, state.map(str::to_owned));
        let expected =
            [end("UNAVAILABLE", true, None), end("DEADLINE_EXCEEDED", true, None), end("OK", false, Some("CANCELLED"))];
        assert_eq!(ends, expected);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_asked_again() {
        let (outcome, records, retried) = made(vec![Err(Status::failed_precondition("shipped"))]).await;
        assert!(matches!(outcome, Outcome::Refused));
        assert_eq!(retried, 0);
        let refused = |record: &Record| {
            matches!(record, Record::Answer(Answer { status, unknown: false, order: None, .. })
                if status == "FAILED_PRECONDITION")
        };
        assert!(records.len() == 3 && refused(&records[2]), "{records:?}");
    }
}
