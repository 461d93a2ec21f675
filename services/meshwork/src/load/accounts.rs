//! The accounts that a load needs: signed in, and made where they aren't there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use meshwork::Channel;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{CreateUserRequest, GetUserRequest, Role, User};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use uuid::Uuid;

use super::kept::Account;
use super::session::{Session, Sessions};
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
    /// Where they are kept alive once they are signed in: to prepare many takes longer than a token lives.
    pub sessions: &'a Sessions,
}

impl Accounts<'_> {
    /// Signs in those accounts that an earlier run has made. One that there is none of any more is planned anew, in the place
    /// of the one given: whoever carries that out keeps the plan before.
    ///
    /// # Errors
    /// When the back end refuses one, or doesn't answer.
    pub async fn known(&self, accounts: &mut [Account]) -> Result<Vec<Option<Arc<Session>>>, Failure> {
        let known = stream::iter(accounts.iter_mut().map(|account| self.known_one(account)));
        known.buffered(AT_ONCE).try_collect().await
    }

    async fn known_one(&self, account: &mut Account) -> Result<Option<Arc<Session>>, Failure> {
        if !account.made {
            return Ok(None);
        }
        match self.sign_in(account).await {
            Ok(session) => Ok(Some(session)),
            // It was deleted, or the target has begun anew.
            Err(status) if status.code() == Code::Unauthenticated => {
                *account = Account::planned();
                Ok(None)
            }
            Err(status) => Err(told(&status)),
        }
    }

    /// Makes the accounts that have no session among the `known` ones, and signs them in.
    ///
    /// # Errors
    /// When the back end refuses one, or doesn't answer.
    pub async fn open(
        &self,
        accounts: &mut [Account],
        known: Vec<Option<Arc<Session>>>,
        role: Role,
    ) -> Result<Vec<Arc<Session>>, Failure> {
        let accounts = accounts.iter_mut().zip(known);
        let opened = stream::iter(accounts.map(|(account, session)| self.open_one(account, session, role)));
        opened.buffered(AT_ONCE).try_collect().await
    }

    async fn open_one(
        &self,
        account: &mut Account,
        session: Option<Arc<Session>>,
        role: Role,
    ) -> Result<Arc<Session>, Failure> {
        if let Some(session) = session {
            return Ok(session);
        }
        self.make(account, role).await.map_err(|status| told(&status))?;
        account.made = true;
        self.sign_in(account).await.map_err(|status| match status.code() {
            Code::Unauthenticated => {
                Failure::new("a new account of the load can't sign in", "look into the log of the users service")
            }
            _ => told(&status),
        })
    }

    async fn sign_in(&self, account: &Account) -> Result<Arc<Session>, Status> {
        let (email, password) = (account.email.as_str(), account.password.as_str());
        patiently(|| self.sessions.sign_in(self.channel, email, password)).await
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

/// Sees that an account is of the staff. One of a service could sign in, and get along where all accounts are known already.
///
/// # Errors
/// When it is another's, or the back end doesn't answer.
pub async fn check_staff(channel: &Channel, session: &Session, email: &str) -> Result<(), Failure> {
    let user = patiently(|| {
        let mut client = UserServiceClient::new(channel.clone());
        let request = session.with(GetUserRequest { name: session.user().to_owned() });
        async move { client.get_user(request).await }
    });
    let user = user.await.map_err(|status| told(&status))?.into_inner();
    of_staff(user.role(), email)
}

fn of_staff(role: Role, email: &str) -> Result<(), Failure> {
    if role == Role::Staff {
        return Ok(());
    }
    let role = role.as_str_name().trim_start_matches("ROLE_");
    Err(Failure::new(
        format!("the account {email} is not of the staff: its role is {role}"),
        "name the file of a staff account with --staff-credentials; `meshwork up` prints where it is",
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_staff_make_a_load() {
        of_staff(Role::Staff, "staff@example.com").unwrap();
        for role in [Role::Customer, Role::Service, Role::Unspecified] {
            let refused = of_staff(role, "orders@example.com").unwrap_err();
            assert!(refused.sentence().contains("orders@example.com is not of the staff"), "{refused}");
        }
    }
}
