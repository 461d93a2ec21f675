//! The events of accounts, as they come over the bus.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_api::meshwork::events::v1 as proto;
use meshwork_chassis::CancellationToken;
use meshwork_events::{ConsumerState, Envelope, HandleError, Handler};
use meshwork_eventstore::Context;
use prost::Message;

use crate::app::{App, AppError};
use crate::ports::StoreError;

/// The stream of accounts.
pub const STREAM: &str = "users";
/// How often it is looked for orders that are to be looked through again.
const INTERVAL: Duration = Duration::from_secs(5);
/// On whose behalf that is done.
const ACTOR: &str = "services/orders";

/// Calls off the orders of customers who are gone.
///
/// To be gone is final: an event that comes again, or out of its order, finds nothing left to do.
pub struct CustomerEvents {
    app: App,
    state: Arc<dyn ConsumerState>,
}

impl CustomerEvents {
    /// Reactions by `app`, of a consumer with this state.
    pub fn new(app: App, state: Arc<dyn ConsumerState>) -> Self {
        Self { app, state }
    }
}

#[async_trait]
impl Handler for CustomerEvents {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        if self.state.blocks(&event.subject, event.version).await? {
            return Err(HandleError::Parked);
        }
        let Some(customer) = gone(event).map_err(HandleError::Poison)? else { return Ok(()) };
        self.app.customer_is_gone(&customer, event.time).await.map_err(|error| match error {
            AppError::Store(StoreError::Damaged(problem)) => HandleError::Poison(problem),
            error => HandleError::Retry(error.to_string()),
        })
    }
}

/// Who is gone by an event; `None` for events that orders don't react to, known or not (NT-8). What has come through since the
/// deletion is called off when the account is erased.
fn gone(event: &Envelope) -> Result<Option<UserName>, String> {
    let damaged = |error: prost::DecodeError| format!("{} can't be decoded: {error}", event.event_type);
    let user = match event.event_type.as_str() {
        "user_deleted" => proto::UserDeleted::decode(event.data.as_ref()).map_err(damaged)?.user,
        "user_erased" => proto::UserErased::decode(event.data.as_ref()).map_err(damaged)?.user,
        _ => return Ok(None),
    };
    let user =
        user.parse::<UserName>().map_err(|error| format!("{} is about an account that {error}", event.event_type))?;
    Ok(Some(user))
}

/// Looks through the orders of those again who are gone, until `shutdown`.
pub async fn run(app: App, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        let context = Context { actor: ACTOR.to_owned(), ..Context::default() };
        if let Err(error) = context.scope(app.look_through_again()).await {
            tracing::warn!(%error, "the orders of deleted customers are looked through again later");
        }
    }
}
