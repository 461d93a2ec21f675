//! Changing an order that exists: cancelling, shipping, delivering, and what the inventory makes of it.

use meshwork_api::OrderName;
use meshwork_chassis::Principal;
use meshwork_chassis::request::RequestKey;

use super::create_order::command_id;
use crate::app::{App, AppError, Reply};
use crate::domain::{Command, Order, OrderError, decide, evolve};
use crate::ports::{Append, AppendError, Appended};

/// How often a command is decided anew when others change the order meanwhile.
const TRIES: usize = 5;

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
        // Who may not see the order learns nothing of it, nor of earlier requests.
        let order = self.get_order(&change.principal, &change.name).await?;
        // Services see every order and change none.
        if !change.principal.is_staff() && change.principal.user() != Some(&order.customer) {
            return Err(AppError::NotAllowed);
        }
        let command_id = command_id(change.verb, change.request.as_ref());
        if let Some(request) = &change.request
            && let Some(version) = self.find_answer(request, &change.name, &command_id).await?
        {
            return self.reply_at(&change.name, version, true).await;
        }
        let request = change.request.as_ref();
        self.execute(&change.name, &change.command, change.expected, command_id, request).await
    }

    /// Decides a command on the order as it is and appends what follows; again when others were faster.
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
        for _ in 0..TRIES {
            let order = self.load(name).await?.ok_or(OrderError::Missing)?;
            // The same request may be under way twice. What the other call has done must not be held against this one.
            if request.is_some()
                && let Some(version) = self.store.find(name, &command_id).await?
            {
                return self.reply_at(name, version, true).await;
            }
            if expected.is_some_and(|expected| expected != order.version) {
                return Err(AppError::EtagMismatch);
            }
            let events = decide(Some(&order), command)?;
            let at = self.clock.now();
            self.claim(request, at).await?;
            if events.is_empty() {
                let Some(request) = request else { return self.reply_at(name, order.version, false).await };
                let settled = self.store.settle(request, order.version, at).await?;
                return self.reply_at(name, settled.version, settled.replayed).await;
            }
            let append = Append {
                order: name.clone(),
                before: Some(order.clone()),
                command_id: command_id.clone(),
                events: events.clone(),
                at,
            };
            match self.store.append(append).await {
                Ok(Appended { replayed: false, position, .. }) => {
                    let changed = events.iter().try_fold(order, |order, event| evolve(Some(order), name, event, at));
                    let answer = changed.ok_or(OrderError::Missing)?;
                    return Ok(Reply { answer, position: Some(position), replayed: false });
                }
                Ok(Appended { version, replayed: true, .. }) => return self.reply_at(name, version, true).await,
                Err(AppendError::Conflict) => {}
                Err(AppendError::Store(error)) => return Err(error.into()),
            }
        }
        Err(AppError::Contended)
    }
}
