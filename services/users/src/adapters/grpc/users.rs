//! `UserService`.

use std::sync::Arc;

use meshwork_aip::request::mark_replay;
use meshwork_aip::{Violations, etag, filter, mask, page};
use meshwork_api::UserName;
use meshwork_api::meshwork::users::v1 as proto;
use meshwork_api::meshwork::users::v1::user_service_server::UserService;
use meshwork_chassis::Principal;
use meshwork_chassis::auth::session_of;
use meshwork_chassis::config::{Reads, Secret};
use meshwork_chassis::consistency::ConsistencyToken;
use meshwork_chassis::request::RequestKey;
use tonic::{Request, Response, Status};

use crate::adapters::errors::{DOMAIN, status, status_of_write};
use crate::adapters::{access, convert, origin};
use crate::app::App;
use crate::app::commands::{CreateUser, DeleteUser, Reauthentication, UpdateUser};
use crate::app::queries::ListUsers;
use crate::domain::{
    Email, MAX_PASSWORD, User, check_password, is_foreign_email, is_foreign_id, is_reserved_email, is_reserved_id,
    normalize_password,
};
use crate::ports::{Origin, UserFilter, UserPage};

/// The paths of an update mask that callers may name and that change nothing (AIP-203).
const OUTPUT_ONLY: &[&str] = &["name", "create_time", "update_time", "delete_time", "etag"];

/// `UserService` over the use cases.
pub struct UserGrpc {
    app: Arc<App>,
    reads: Reads,
}

impl UserGrpc {
    /// Serves these use cases; `reads` is what an account may be read from whose reader doesn't say what they must see.
    pub fn new(app: Arc<App>, reads: Reads) -> Self {
        Self { app, reads }
    }

    /// An account that was written, with what its caller needs to read it so.
    async fn written(&self, user: &User) -> Response<proto::User> {
        let mut response = Response::new(convert::user(user));
        let token = ConsistencyToken { wal: self.app.position(&user.name).await, ..ConsistencyToken::default() };
        token.attach(&mut response);
        response
    }
}

#[tonic::async_trait]
impl UserService for UserGrpc {
    async fn create_user(&self, request: Request<proto::CreateUserRequest>) -> Result<Response<proto::User>, Status> {
        let principal = Principal::of(&request);
        let origin = origin::of(request.extensions());
        let command = create_command(&principal, origin, request.into_inner())?;
        let is_repeatable = command.request.is_some();
        let created = self.app.create_user(command).await;
        let answer = created.map_err(|error| status_of_write(error, is_repeatable))?;
        let mut response = self.written(&answer.value).await;
        if answer.replayed {
            mark_replay(&mut response);
        }
        Ok(response)
    }

    async fn get_user(&self, request: Request<proto::GetUserRequest>) -> Result<Response<proto::User>, Status> {
        let principal = Principal::of(&request);
        let name = only_name(&request.get_ref().name)?;
        access::may_see(&principal, &name)?;
        let mut violations = Violations::new();
        let token = ConsistencyToken::of(&request, &mut violations);
        violations.finish(DOMAIN)?;
        let freshness = ConsistencyToken::freshness_of_get(token, self.reads);
        // Who only owns the account sees it while it lives; their token may outlive it by a few minutes.
        let show_deleted = principal.role().is_some_and(|role| role != meshwork_chassis::Role::Customer);
        let user = self.app.get_user(name, show_deleted, freshness).await.map_err(status)?;
        Ok(Response::new(convert::user(&user)))
    }

    async fn list_users(
        &self,
        request: Request<proto::ListUsersRequest>,
    ) -> Result<Response<proto::ListUsersResponse>, Status> {
        let mut violations = Violations::new();
        let token = ConsistencyToken::of(&request, &mut violations);
        let proto::ListUsersRequest { page_size, page_token, filter, show_deleted } = request.into_inner();
        let arguments = [filter.as_str(), if show_deleted { "show_deleted" } else { "" }];
        let page = page::read(page_size, &page_token, &arguments, &mut violations);
        let after = page.after.as_deref().and_then(|cursor| violations.name(cursor, "page_token"));
        let filter = user_filter(&filter, show_deleted, &mut violations);
        violations.finish(DOMAIN)?;
        let freshness = ConsistencyToken::freshness_of_list(token);
        let query = ListUsers { filter, size: page.size, after, freshness };
        let UserPage { page, unreachable } = self.app.list_users(query).await.map_err(status)?;
        Ok(Response::new(proto::ListUsersResponse {
            users: page.items.iter().map(convert::user).collect(),
            next_page_token: page::token(page.next.as_deref(), &arguments),
            unreachable,
        }))
    }

    async fn update_user(&self, request: Request<proto::UpdateUserRequest>) -> Result<Response<proto::User>, Status> {
        let principal = Principal::of(&request);
        let session = session_of(&request).map(str::to_owned);
        let origin = origin::of(request.extensions());
        let command = update_command(&principal, session, origin, request.into_inner())?;
        let is_repeatable = command.expected.is_some();
        let updated = self.app.update_user(command).await;
        let user = updated.map_err(|error| status_of_write(error, is_repeatable))?;
        Ok(self.written(&user).await)
    }

    async fn delete_user(&self, request: Request<proto::DeleteUserRequest>) -> Result<Response<proto::User>, Status> {
        let principal = access::without_key(&request)?;
        let proto::DeleteUserRequest { name, etag } = request.into_inner();
        let name = only_name(&name)?;
        access::may_change(&principal, &name)?;
        let mut violations = Violations::new();
        let expected = version(&etag, "etag", &mut violations);
        violations.finish(DOMAIN)?;
        let deleted = self.app.delete_user(DeleteUser { name, expected }).await;
        let user = deleted.map_err(|error| status_of_write(error, expected.is_some()))?;
        Ok(self.written(&user).await)
    }
}

fn create_command(
    principal: &Principal,
    origin: Origin,
    mut request: proto::CreateUserRequest,
) -> Result<CreateUser, Status> {
    let mut violations = Violations::new();
    let Some(user) = request.user.as_mut() else {
        violations.add("user", "is required");
        return Err(finished(violations));
    };
    let role = match convert::role_of_request(user.role) {
        Ok(role) => {
            // Before anything else is looked at (AIP-211).
            access::may_give(principal, role)?;
            Some(role)
        }
        Err(problem) => {
            violations.add("user.role", problem);
            None
        }
    };
    let password = Secret::new(std::mem::take(&mut user.password));
    let email = new_email(&user.email, &mut violations);
    let display_name = violations.name(&user.display_name, "user.display_name");
    if let Err(problem) = check_password(password.expose()) {
        violations.add("user.password", problem);
    }
    if !request.user_id.is_empty() {
        violations.chosen_id(&request.user_id, "user_id");
    }
    // As they make no such account by a key, they take no id and no address of one.
    let may_reserve = principal.is_staff() && !principal.is_key();
    let is_reserved = is_foreign_id(&request.user_id) || (!may_reserve && is_reserved_id(&request.user_id));
    violations.check(!is_reserved, "user_id", "is reserved; choose another");
    if !may_reserve {
        let reserved = email.as_ref().is_some_and(|email| is_reserved_email(&email.key()));
        violations.check(!reserved, "user.email", "is reserved; choose another");
    }
    let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
    let name = UserName::new(&*request.user_id).ok();
    match (email, display_name, role) {
        (Some(email), Some(display_name), Some(role)) => {
            violations.finish(DOMAIN)?;
            let request = RequestKey::of(principal, "CreateUser", request_id, &request);
            let is_sign_up = !principal.is_staff();
            Ok(CreateUser { name, email, display_name, role, password, request, origin, is_sign_up })
        }
        _ => Err(finished(violations)),
    }
}

fn update_command(
    principal: &Principal,
    session: Option<String>,
    origin: Origin,
    request: proto::UpdateUserRequest,
) -> Result<UpdateUser, Status> {
    let mut violations = Violations::new();
    let Some(user) = request.user else {
        violations.add("user", "is required");
        return Err(finished(violations));
    };
    let name: Option<UserName> = violations.name(&user.name, "user.name");
    if let Some(name) = &name {
        access::may_change(principal, name)?;
    }
    let mask = request.update_mask.as_ref();
    let fields = [
        ("email", !user.email.is_empty()),
        ("display_name", !user.display_name.is_empty()),
        ("password", !user.password.is_empty()),
    ];
    let mut fields = mask::resolve(mask, &fields, OUTPUT_ONLY, &mut violations);
    if mask.is_some_and(|mask| mask.paths == ["*"]) {
        // `*` replaces the account by one that was read, and what is read has no password, nor an address if it has none.
        let has_no_address = name.as_ref().is_some_and(|name| is_foreign_id(name.id()));
        fields.retain(|field| match *field {
            "password" => !user.password.is_empty(),
            "email" => !(has_no_address && user.email.is_empty()),
            _ => true,
        });
    }
    if fields.contains(&"email") || fields.contains(&"password") {
        access::refuse_key(principal)?;
    }
    let email = if fields.contains(&"email") { new_email(&user.email, &mut violations) } else { None };
    if !principal.is_staff() {
        // A first account has such an address, and may keep it.
        let reserved = email.as_ref().is_some_and(|email| is_reserved_email(&email.key()));
        let own = principal.user().is_some_and(|user| is_reserved_id(user.id()));
        violations.check(!reserved || own, "user.email", "is reserved; choose another");
    }
    let display_name =
        if fields.contains(&"display_name") { violations.name(&user.display_name, "user.display_name") } else { None };
    let password = if fields.contains(&"password") {
        if let Err(problem) = check_password(&user.password) {
            violations.add("user.password", problem);
        }
        Some(Secret::new(user.password))
    } else {
        None
    };
    let expected = version(&user.etag, "user.etag", &mut violations);
    let current = request.current_password;
    // As at a sign-in: one that is too short is only wrong.
    let short = current.len() <= 4 * MAX_PASSWORD && normalize_password(&current).chars().count() <= MAX_PASSWORD;
    violations.check(short, "current_password", format_args!("must have at most {MAX_PASSWORD} characters"));
    match name {
        Some(name) => {
            violations.finish(DOMAIN)?;
            let owner = (principal.user() == Some(&name)).then(|| Reauthentication {
                current_password: (!current.is_empty()).then(|| Secret::new(current)),
                session,
            });
            let is_sign_up = !principal.is_staff();
            Ok(UpdateUser { name, expected, email, display_name, password, owner, origin, is_sign_up })
        }
        None => Err(finished(violations)),
    }
}

/// An address that an account is to have.
fn new_email(text: &str, violations: &mut Violations) -> Option<Email> {
    let email: Email = violations.name(text, "user.email")?;
    if is_foreign_email(&email.key()) {
        violations.add("user.email", "is reserved; choose another");
        return None;
    }
    if email.is_sound() {
        return Some(email);
    }
    violations.add("user.email", "must have a domain that can be found, and no characters that can't be seen");
    None
}

fn user_filter(text: &str, show_deleted: bool, violations: &mut Violations) -> UserFilter {
    let terms = filter::parse(text, &["email", "role"], violations);
    let mut filter = UserFilter { show_deleted, ..UserFilter::default() };
    if let Some(email) = terms.get("email") {
        match email.parse() {
            Ok(email) => filter.email = Some(email),
            Err(_) => violations.add("filter", "must compare email with an e-mail address like \"anna@example.com\""),
        }
    }
    if let Some(role) = terms.get("role") {
        match convert::role_of_filter(role) {
            Ok(role) => filter.role = Some(role),
            Err(problem) => violations.add("filter", problem),
        }
    }
    filter
}

/// The name of a request whose other fields don't matter to who may send it.
fn only_name(name: &str) -> Result<UserName, Status> {
    let mut violations = Violations::new();
    violations.name(name, "name").ok_or_else(|| finished(violations))
}

/// The version that an etag names.
fn version(etag: &str, field: &str, violations: &mut Violations) -> Option<i64> {
    etag::parse(etag).unwrap_or_else(|problem| {
        violations.add(field, problem);
        None
    })
}

/// The status of violations of which there is at least one.
fn finished(violations: Violations) -> Status {
    match violations.finish(DOMAIN) {
        Err(status) => status,
        Ok(()) => meshwork_chassis::errors::internal(DOMAIN, &"a request was refused without a violation"),
    }
}
