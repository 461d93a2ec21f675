//! Changing an order that exists: cancelling, shipping, delivering, and what the inventory makes of it.

use meshwork_api::OrderName;
use meshwork_chassis::Principal;
use meshwork_chassis::request::RequestKey;

use super::command_key::{command_id, command_key};
use crate::app::{App, AppError, Reply};
use crate::domain::{Command, Order, decide};
use crate::ports::Claim;

/// A change that a caller asks for.
#[derive(Clone, Debug)]
pub struct ChangeOrder {
    /// The order.
    pub name: OrderName,
    /// Who asks.
    pub principal: Principal,
    /// What for.
    pub command: Command,
    /// The verb, for the id under which it is stored.
    pub verb: &'static str,
    /// The version that the caller has seen, if it must be the current one.
    pub expected: Option<i64>,
    /// What makes the request repeatable.
    pub request: Option<RequestKey>,
}

impl App {
    /// Carries out a change of the caller's own order, or of any for staff.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn change_order(&self, change: ChangeOrder) -> Result<Reply<Order>, AppError> {
        let ChangeOrder { name, principal, command, verb, expected, request } = change;
        let known = async {
            match &request {
                Some(request) => self.look_up(request).await,
                None => Ok(Claim::Free),
            }
        };
        let (order, known) = tokio::join!(self.get_order(&principal, &name), known);
        // Who may not see the order learns nothing of it, nor of earlier requests.
        let order = order?;
        // Services see every order and change none.
        if !principal.is_staff() && principal.user() != Some(&order.customer) {
            return Err(AppError::NotAllowed);
        }
        let id = command_id(verb, request.as_ref());
        let Some(request) = &request else {
            return self.execute(&name, &command, expected, id, None).await;
        };
        match known? {
            Claim::Ours { settled: Some(version) } => return self.reply_at(&name, version, true).await,
            Claim::Free => {
                // What is refused leaves nothing behind. But the same request may be under way twice: what the other call
                // has done must not be held against this one.
                if let Err(refused) = allowed(&order, &command, expected) {
                    let key = command_key(id, Some(request));
                    return self.answered(&name, &key).await?.ok_or(refused);
                }
                self.claim(request, self.clock.now()).await?;
            }
            // The claim stands, but its effect may have been lost to a crash in between: then it is made now.
            Claim::Ours { settled: None } | Claim::Reused => {}
        }
        self.execute(&name, &command, expected, id, Some(request)).await
    }

    /// Carries out a command on an order that exists. `request`, which has claimed its id, is answered from now on as it is
    /// here, also where nothing is left to do.
    ///
    /// # Errors
    /// See [`AppError`].
    pub(super) async fn execute(
        &self,
        name: &OrderName,
        command: &Command,
        expected: Option<i64>,
        command_id: String,
        request: Option<&RequestKey>,
    ) -> Result<Reply<Order>, AppError> {
        let key = command_key(command_id, request);
        let at = self.clock.now();
        let done = self.store.execute(name, command, expected, &key, at).await?;
        if done.position.is_some() {
            return Ok(done.into());
        }
        let Some(request) = request else { return self.reply_at(name, done.order.version, false).await };
        let settled = self.store.settle(request, done.order.version, at).await?;
        self.reply_at(name, settled.version, settled.replayed).await
    }
}

/// Whether the order as it is allows the command.
fn allowed(order: &Order, command: &Command, expected: Option<i64>) -> Result<(), AppError> {
    if expected.is_some_and(|expected| expected != order.version) {
        return Err(AppError::EtagMismatch);
    }
    decide(Some(order), command)?;
    Ok(())
}
