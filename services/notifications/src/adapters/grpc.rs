//! The methods of `meshwork.notifications.v1.NotificationService`.

use std::sync::Arc;

use meshwork_aip::{Violations, filter, page};
use meshwork_api::meshwork::notifications::v1 as pb;
use meshwork_api::meshwork::notifications::v1::notification_service_server::NotificationService;
use meshwork_api::{NotificationName, OrderName, UserName};
use meshwork_chassis::{Principal, errors};
use tonic::{Request, Response, Status};

use super::convert::{state_from_word, to_proto};
use super::errors::{DOMAIN, status};
use crate::app::Notifications;
use crate::ports::Selection;

/// The fields that a list's filter may name.
const FILTER_FIELDS: &[&str] = &["state", "about", "recipient"];

/// Answers calls with the use cases.
pub struct NotificationGrpc {
    app: Arc<Notifications>,
}

impl NotificationGrpc {
    /// Answers with `app`.
    pub fn new(app: Arc<Notifications>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl NotificationService for NotificationGrpc {
    async fn list_notifications(
        &self,
        request: Request<pb::ListNotificationsRequest>,
    ) -> Result<Response<pb::ListNotificationsResponse>, Status> {
        let caller = Principal::of(&request);
        let request = request.into_inner();
        let mut violations = Violations::new();
        let selection = selection(&request.filter, &mut violations);
        let arguments = [request.filter.as_str()];
        let wanted = page::read(request.page_size, &request.page_token, &arguments, &mut violations);
        violations.finish(DOMAIN)?;
        let found = self.app.list_notifications(&caller, selection, wanted).await.map_err(|error| status(&error))?;
        Ok(Response::new(pb::ListNotificationsResponse {
            notifications: found.items.iter().map(to_proto).collect(),
            next_page_token: page::token(found.next.as_deref(), &arguments),
        }))
    }

    async fn get_notification(
        &self,
        request: Request<pb::GetNotificationRequest>,
    ) -> Result<Response<pb::Notification>, Status> {
        let caller = Principal::of(&request);
        let name = name(&request.get_ref().name)?;
        let notification = self.app.get_notification(&caller, &name).await.map_err(|error| status(&error))?;
        Ok(Response::new(to_proto(&notification)))
    }

    async fn resend_notification(
        &self,
        request: Request<pb::ResendNotificationRequest>,
    ) -> Result<Response<pb::Notification>, Status> {
        let name = name(&request.get_ref().name)?;
        let notification = self.app.resend_notification(&name).await.map_err(|error| status(&error))?;
        Ok(Response::new(to_proto(&notification)))
    }
}

fn name(name: &str) -> Result<NotificationName, Status> {
    let mut violations = Violations::new();
    let name = violations.name::<NotificationName>(name, "name");
    violations.finish(DOMAIN)?;
    name.ok_or_else(|| errors::internal(DOMAIN, &"a name was neither read nor a violation"))
}

fn selection(text: &str, violations: &mut Violations) -> Selection {
    let filter = filter::parse(text, FILTER_FIELDS, violations);
    let state = filter.get("state").and_then(|word| {
        let state = state_from_word(word);
        state.map_err(|problem| violations.add("filter", problem)).ok()
    });
    let recipient = filter.get("recipient").and_then(|name| violations.name::<UserName>(name, "filter"));
    let about = filter.get("about").map(str::to_owned);
    if let Some(name) = &about {
        let is_name = name.parse::<OrderName>().is_ok() || name.parse::<UserName>().is_ok();
        violations.check(is_name, "filter", "about must be the name of an order or of a user");
    }
    Selection { state, about, recipient }
}
