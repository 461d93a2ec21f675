//! Recipients, as the users service knows them.

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_api::meshwork::users::v1::GetUserRequest;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_chassis::auth::WithToken;
use meshwork_chassis::consistency::{ConsistencyToken, TOKEN, WalPosition};
use tonic::{Code, Request};

use crate::ports::{LookupError, Recipient, Recipients};

/// Asks the users service.
pub struct GrpcRecipients(UserServiceClient<WithToken>);

impl GrpcRecipients {
    /// Asks over `channel`, which carries a token of the service role.
    pub fn new(channel: WithToken) -> Self {
        Self(UserServiceClient::new(channel))
    }
}

#[async_trait]
impl Recipients for GrpcRecipients {
    async fn find(&self, user: &UserName) -> Result<Option<Recipient>, LookupError> {
        let mut request = Request::new(GetUserRequest { name: user.to_string() });
        // No replica answers: it may not have heard of the address that the account has by now, or of its end.
        let token = ConsistencyToken::from(WalPosition::UNKNOWN).to_string();
        let token = token.parse().map_err(|_| LookupError(format!("{token} can't be sent as {TOKEN}")))?;
        request.metadata_mut().insert(TOKEN, token);
        match self.0.clone().get_user(request).await {
            Ok(response) => {
                let user = response.into_inner();
                let recipient = Recipient { email: user.email, display_name: user.display_name };
                // Who signs in with another issuer has no address.
                let can_be_written_to = user.delete_time.is_none() && !recipient.email.is_empty();
                Ok(can_be_written_to.then_some(recipient))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(LookupError(format!("{:?}: {}", status.code(), status.message()))),
        }
    }
}
