//! The users service, called with a token of the service role.

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_api::meshwork::users::v1::GetUserRequest;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_chassis::auth::WithToken;
use meshwork_chassis::consistency::{ConsistencyToken, TOKEN, WalPosition};
use tonic::{Code, Request};

use crate::ports::{Customers, CustomersError};

/// The users service.
pub struct GrpcCustomers(UserServiceClient<WithToken>);

impl GrpcCustomers {
    /// The users service behind `channel`.
    pub fn new(channel: WithToken) -> Self {
        Self(UserServiceClient::new(channel))
    }
}

#[async_trait]
impl Customers for GrpcCustomers {
    async fn exists(&self, customer: &UserName) -> Result<bool, CustomersError> {
        let mut request = Request::new(GetUserRequest { name: customer.to_string() });
        // No replica answers: it may not have heard of a new account yet, or of the end of one.
        let token = ConsistencyToken::from(WalPosition::UNKNOWN).to_string();
        let token = token.parse().map_err(|_| CustomersError(format!("{token} can't be sent as {TOKEN}")))?;
        request.metadata_mut().insert(TOKEN, token);
        match self.0.clone().get_user(request).await {
            Ok(response) => Ok(response.into_inner().delete_time.is_none()),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(CustomersError(format!("{:?}: {}", status.code(), status.message()))),
        }
    }

    async fn is_deleted(&self, customer: &UserName) -> Result<bool, CustomersError> {
        // A cache or a replica may answer: most customers aren't.
        match self.0.clone().get_user(GetUserRequest { name: customer.to_string() }).await {
            Ok(response) => Ok(response.into_inner().delete_time.is_some()),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(CustomersError(format!("{:?}: {}", status.code(), status.message()))),
        }
    }
}
