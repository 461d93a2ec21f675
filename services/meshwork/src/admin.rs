//! Staff at the gateway: what the commands have in common that administer the back end.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshwork::Channel;
use meshwork_api::meshwork::users::v1::SignInRequest;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_chassis::ClientConfig;
use serde_json::Value;
use tokio::time::sleep;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};

use crate::cli::{AdminArgs, Output};
use crate::failure::Failure;
use crate::state::{local_port, staff_credentials};

/// How long one call may take that is no stream.
const CALL: Duration = Duration::from_secs(30);
/// What to do when the back end doesn't know the account, or doesn't let it do this.
const ACCOUNT: &str =
    "sign in by an account of the staff: --staff-credentials names a file with its `email` and `password`";
/// What to do else.
const BACK_END: &str = "look whether `meshwork up` runs at the target, and into its log; `meshwork projections status` and \
                        `meshwork deadletters list` show what is";

/// Why something wasn't answered.
#[derive(Debug)]
pub struct Unanswered {
    /// What people are told.
    pub failure: Failure,
    /// Whether another try would end as this one has, whatever is up by then.
    pub is_final: bool,
}

impl From<Status> for Unanswered {
    fn from(status: Status) -> Self {
        let is_final = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied);
        Self { failure: told(&status), is_final }
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.failure
    }
}

/// Somebody of the staff, signed in.
pub struct Admin {
    channel: Channel,
    token: Mutex<MetadataValue<Ascii>>,
}

impl Admin {
    /// Signs in at the gateway that the flags name.
    ///
    /// # Errors
    /// When there is no staff account, or the gateway refuses it or doesn't answer.
    pub async fn sign_in(args: &AdminArgs) -> Result<Self, Unanswered> {
        let target = args.target.trim_end_matches('/');
        let channel = ClientConfig::default().channel("--target", target);
        let channel = channel.map_err(|error| Unanswered { failure: error.into(), is_final: true })?;
        let staff = staff_credentials(args.staff_credentials.as_deref(), local_port(target));
        // A local `up` that starts again has left none for a moment.
        let staff = staff.map_err(|failure| Unanswered { failure, is_final: false })?;
        let request = SignInRequest { email: staff.email, password: staff.password.expose().to_owned() };
        let answer = tokio::time::timeout(CALL, AuthServiceClient::new(channel.clone()).sign_in(request)).await;
        let session = answer.map_err(|_| Unanswered { failure: late(), is_final: false })??.into_inner();
        let token = format!("Bearer {}", session.access_token).parse();
        let token = token.map_err(|_| Status::internal("the access token can't be sent as a header"))?;
        Ok(Self { channel, token: Mutex::new(token) })
    }

    /// Signs in again now and then, for as long as it is waited for: what takes longer than a token lives begins its later calls
    /// by later ones. Where that fails, the one before goes on.
    pub async fn renew(&self, args: &AdminArgs, every: Duration) -> Infallible {
        loop {
            sleep(every).await;
            if let Ok(Self { token, .. }) = Self::sign_in(args).await {
                *self.token() = token.into_inner().unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn token(&self) -> MutexGuard<'_, MetadataValue<Ascii>> {
        // It is replaced whole.
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signed in by a token that no gateway has given.
    #[cfg(test)]
    pub fn signed_in(target: &str) -> Self {
        let channel = ClientConfig::default().channel("--target", target).unwrap();
        Self { channel, token: Mutex::new(MetadataValue::from_static("Bearer token")) }
    }

    /// A channel to the gateway.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A request with the token.
    pub fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token().clone());
        request
    }
}

/// An error of the back end, for people: in its own words, if it has any.
pub fn told(status: &Status) -> Failure {
    let sentence = match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    };
    let hint = if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) { ACCOUNT } else { BACK_END };
    Failure::new(sentence, hint)
}

/// The answer to a call that is no stream.
///
/// # Errors
/// When the call fails or takes too long.
pub async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
    answered(call).await?.map_err(|status| told(&status))
}

/// As [`within`], for who looks at the status of a call that fails.
///
/// # Errors
/// When the call takes too long.
pub async fn answered<T>(call: impl Future<Output = Result<T, Status>>) -> Result<Result<T, Status>, Failure> {
    tokio::time::timeout(CALL, call).await.map_err(|_| late())
}

fn late() -> Failure {
    Failure::new(format!("no answer within {} s", CALL.as_secs()), "look into the log of the target")
}

/// Prints what there is in the way that was asked for.
pub fn print(output: Output, json: &Value, text: &str) {
    match output {
        Output::Json => println!("{json}"),
        Output::Text => print!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_auth::OpenAuth;

    #[tokio::test]
    async fn what_takes_longer_than_a_token_lives_goes_on_by_the_next() {
        let target = OpenAuth { life: CALL }.serve();
        let (folder, admin) = (tempfile::tempdir().unwrap(), Admin::signed_in(&target));
        let file = folder.path().join("staff.json");
        std::fs::write(&file, r#"{"email": "staff@example.com", "password": "a good password"}"#).unwrap();
        let args = AdminArgs { target, staff_credentials: Some(file), output: Output::Text };
        let renewed = async {
            while admin.with(()).metadata().get("authorization").unwrap() != "Bearer signed-in" {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            never = admin.renew(&args, Duration::from_millis(5)) => match never {},
            renewed = tokio::time::timeout(CALL, renewed) => renewed.expect("a new token"),
        }
    }

    #[test]
    fn an_error_is_told_in_its_own_words_with_a_hint_about_what_it_is_about() {
        for code in [Code::Unauthenticated, Code::PermissionDenied] {
            let failure = told(&Status::new(code, "this is not for customers"));
            assert_eq!(failure.sentence(), "this is not for customers");
            assert!(
                failure.hint().contains("--staff-credentials") && !failure.hint().contains("meshwork up"),
                "{failure}"
            );
        }
        let failure = told(&Status::invalid_argument("what: no kind is named pets"));
        assert_eq!(failure.sentence(), "what: no kind is named pets");
        assert!(failure.hint().contains("meshwork up"), "{failure}");
        assert!(!told(&Status::unavailable("")).sentence().is_empty());
    }
}
