//! A shop behind its gateway, however its services run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{CreateUserRequest, SignInRequest, User};
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

/// The password of the customers that tests make.
const PASSWORD: &str = "a password of ten or more";

/// A token, as the value of the header `authorization`.
pub type Token = MetadataValue<Ascii>;

/// A request with a token.
pub fn with<T>(token: &Token, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", token.clone());
    request
}

/// A shop behind its gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    address: SocketAddr,
    data: PathBuf,
}

impl Gateway {
    /// The shop at an address; `data` is the folder of its data, where its first credentials are.
    pub fn new(address: SocketAddr, data: &Path) -> Self {
        Self { address, data: data.to_owned() }
    }

    /// A channel of its own to the gateway.
    ///
    /// # Panics
    /// Never: an address makes a target.
    pub fn channel(&self) -> Channel {
        let target = format!("http://{}", self.address);
        Endpoint::from_shared(target).unwrap().timeout(Duration::from_secs(30)).connect_lazy()
    }

    /// A token of the staff account that the first start has made.
    ///
    /// # Panics
    /// When it can't sign in.
    pub async fn staff(&self) -> Token {
        let file = std::fs::read_to_string(self.data.join("credentials/staff.json")).unwrap();
        let credentials: serde_json::Value = serde_json::from_str(&file).unwrap();
        let text = |key: &str| credentials[key].as_str().unwrap().to_owned();
        self.sign_in(&text("email"), &text("password")).await
    }

    /// A token for an e-mail address and its password.
    ///
    /// # Panics
    /// When it can't sign in.
    pub async fn sign_in(&self, email: &str, password: &str) -> Token {
        let request = SignInRequest { email: email.to_owned(), password: password.to_owned() };
        let session = AuthServiceClient::new(self.channel()).sign_in(request).await.unwrap().into_inner();
        format!("Bearer {}", session.access_token).parse().unwrap()
    }

    /// Makes a customer's account; returns its name.
    ///
    /// # Panics
    /// When it can't sign up.
    pub async fn sign_up(&self, id: &str) -> String {
        let user = User {
            email: format!("{id}@example.com"),
            display_name: format!("Customer {id}"),
            password: PASSWORD.to_owned(),
            ..User::default()
        };
        let request = CreateUserRequest { user: Some(user), user_id: id.to_owned(), ..CreateUserRequest::default() };
        UserServiceClient::new(self.channel()).create_user(request).await.unwrap().into_inner().name
    }

    /// A new customer: the account's name, and a token.
    ///
    /// # Panics
    /// When it can't sign up or sign in.
    pub async fn customer(&self, id: &str) -> (String, Token) {
        let name = self.sign_up(id).await;
        (name, self.sign_in(&format!("{id}@example.com"), PASSWORD).await)
    }
}
