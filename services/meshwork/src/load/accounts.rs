//! The accounts that a load needs: signed in, and made where they aren't there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use meshwork::Channel;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{CreateUserRequest, Role, User};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use uuid::Uuid;

use super::kept::Account;
use super::session::Session;
use crate::admin::told;
use crate::failure::Failure;

/// How many accounts sign in at once: a users service hashes two passwords at a time.
const AT_ONCE: usize = 2;
/// For how long a call of the preparation is made again that was refused for the moment only.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before.
const PAUSE: Duration = Duration::from_millis(300);

/// Makes accounts in the name of staff, and signs them in.
pub struct Accounts<'a> {
    /// The gateway.
    pub channel: &'a Channel,
    /// By whom accounts are made.
    pub staff: &'a Session,
}

impl Accounts<'_> {
    /// Signs accounts in; those that there are none of are made, and stand in the place of the ones given.
    ///
    /// # Errors
    /// When the back end refuses one, or doesn't answer.
    pub async fn open(&self, accounts: &mut [Account], role: Role) -> Result<Vec<Arc<Session>>, Failure> {
        let opened = stream::iter(accounts.iter_mut().map(|account| self.open_one(account, role)));
        opened.buffered(AT_ONCE).try_collect().await
    }

    async fn open_one(&self, account: &mut Account, role: Role) -> Result<Arc<Session>, Failure> {
        for _ in 0..2 {
            if !account.made {
                self.make(account, role).await.map_err(|status| told(&status))?;
                account.made = true;
            }
            let (email, password) = (account.email.as_str(), account.password.as_str());
            let session = patiently(|| Session::sign_in(self.channel, email, password)).await;
            match session {
                Ok(session) => return Ok(Arc::new(session)),
                // It was deleted, or the target has begun anew.
                Err(status) if status.code() == Code::Unauthenticated => *account = Account::planned(),
                Err(status) => return Err(told(&status)),
            }
        }
        Err(Failure::new("a new account of the load can't sign in", "look into the log of the users service"))
    }

    async fn make(&self, account: &Account, role: Role) -> Result<(), Status> {
        let user = User {
            email: account.email.clone(),
            display_name: "Load".to_owned(),
            role: role.into(),
            password: account.password.clone(),
            ..User::default()
        };
        let request_id = Uuid::new_v4().to_string();
        let request = CreateUserRequest { user: Some(user), request_id, ..CreateUserRequest::default() };
        let made = patiently(|| {
            let mut client = UserServiceClient::new(self.channel.clone());
            let request = self.staff.with(request.clone());
            async move { client.create_user(request).await.map(drop) }
        });
        match made.await {
            // By an earlier run, which was ended before it could note so.
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            made => made,
        }
    }
}

/// Makes a call again while it is refused for the moment only: too many calls, or a service that isn't there yet.
///
/// # Errors
/// As the last call.
pub async fn patiently<T, Sent>(call: impl Fn() -> Sent) -> Result<T, Status>
where
    Sent: Future<Output = Result<T, Status>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = call().await;
        let passes = |status: &Status| {
            matches!(status.code(), Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded)
        };
        if Instant::now() >= until || !answer.as_ref().is_err_and(passes) {
            return answer;
        }
        sleep(PAUSE).await;
    }
}
