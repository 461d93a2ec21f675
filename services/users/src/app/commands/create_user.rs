//! Signing up, and creating accounts for others.

use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use meshwork_chassis::consistency::Freshness;
use meshwork_chassis::request::RequestKey;

use crate::app::{Answer, App, AppError};
use crate::domain::{DisplayName, Email, NewUser, Role, User};
use crate::ports::{Account, Creation, Lane, Origin, StoreError};

/// Creates an account.
#[derive(Clone, Debug)]
pub struct CreateUser {
    /// Its name; made when there is none.
    pub name: Option<UserName>,
    /// Its address.
    pub email: Email,
    /// How the person is addressed.
    pub display_name: DisplayName,
    /// What it is for. Whether the caller may give this role is decided before.
    pub role: Role,
    /// Its password.
    pub password: Secret,
    /// The request that may come again. The password is not in its hash, since a quick hash of a password must not be
    /// stored: it is held against the first one's slow hash instead.
    pub request: Option<RequestKey>,
    /// Where the call comes from.
    pub origin: Origin,
    /// Whether it counts as a sign-up. What staff do doesn't.
    pub is_sign_up: bool,
}

impl App {
    /// Creates an account, or gives the first answer to a request that has come before.
    ///
    /// # Errors
    /// When the address or the id is taken, or the request's id came with another body or password. That an address is taken is
    /// told at once, and who it is that has it is not: how many addresses can be tried is bounded by the limit of sign-ups
    /// ([`AppError::TooManyAttempts`]), which counts those that fail too.
    pub async fn create_user(&self, command: CreateUser) -> Result<Answer<User>, AppError> {
        let CreateUser { name, email, display_name, role, password, request, origin, is_sign_up } = command;
        if is_sign_up && !origin.is_internal {
            self.limits.sign_up(&origin.address).await?;
        }
        let lane = origin.lane();
        // Looked up before the request is: an account that the same request makes meanwhile is then seen as its answer.
        let taken = self.taken(name.as_ref(), &email).await?;
        if let Some(request) = &request
            && let Some(creation) = self.users.find_creation(request).await?
        {
            return self.answer(creation, name, &password, &lane).await;
        }
        if let Some(error) = taken {
            // Known now, before a hash was spent on it.
            return Err(error);
        }
        let hash = self.hasher.hash(&password, &lane).await?;
        let name = match name {
            Some(name) => name,
            None => self.users.new_name()?,
        };
        let user = User::register(NewUser { name: name.clone(), email, display_name, role }, self.clock.now());
        let creation = self.users.create(Account { user, password: hash }, request).await?;
        self.answer(creation, Some(name), &password, &lane).await
    }

    /// The error for an id or an address in use.
    async fn taken(&self, name: Option<&UserName>, email: &Email) -> Result<Option<AppError>, AppError> {
        if let Some(name) = name
            && self.users.get(name, Freshness::Latest).await?.is_some()
        {
            return Ok(Some(AppError::IdTaken(name.clone())));
        }
        let is_taken = self.users.find_by_email(email).await?.is_some() || self.was_erased(email).await?;
        Ok(is_taken.then_some(AppError::EmailTaken))
    }

    async fn answer(
        &self,
        creation: Creation,
        name: Option<UserName>,
        password: &Secret,
        lane: &Lane,
    ) -> Result<Answer<User>, AppError> {
        match (creation, name) {
            (Creation::Created(user), _) => Ok(Answer { value: user, replayed: false }),
            (Creation::Replayed(account), _) => {
                if self.hasher.verify(password, Some(&account.password), lane).await? {
                    Ok(Answer { value: account.user, replayed: true })
                } else {
                    Err(AppError::RequestReused)
                }
            }
            (Creation::RequestReused, _) => Err(AppError::RequestReused),
            (Creation::IdTaken, Some(name)) => Err(AppError::IdTaken(name)),
            (Creation::EmailTaken, _) => Err(AppError::EmailTaken),
            (Creation::IdTaken, None) => {
                Err(StoreError::damaged("a lookup of a request has answered that an id is taken which it doesn't name")
                    .into())
            }
        }
    }
}
