//! The pipeline: what every call of a server goes through, in one order that is written in one place.
//!
//! A call is one future, with one context, its connection's, and one plan, its method's: found once, by its path, when the call
//! begins. Its answer has one body. What holds places (a call in flight, a stream) holds them to the last byte of the answer.

mod answer;
mod bounded;
mod call;
mod calls;
mod context;
mod end;
mod guard;
mod handlers;
mod http;
mod origin;
mod recording;
mod reflection;
mod request;
mod state;
mod time;

pub(super) use self::answer::AnswerBody;
pub(super) use self::calls::ConnectionCalls;
pub(super) use self::context::ConnectionContext;
pub(super) use self::guard::ActiveCall;
pub(super) use self::handlers::{HandlerService, Handlers};
pub(super) use self::reflection::reflection_limits;
pub(super) use self::state::{HealthPortBounds, HttpRequests, Pipeline};
