//! `meshwork deadletters`: the events that services couldn't apply, applied again or given up.

mod print;

use meshwork::Channel;
use meshwork_api::meshwork::admin::v1::dead_letter_service_client::DeadLetterServiceClient;
use meshwork_api::meshwork::admin::v1::{
    DeadLetter, DiscardDeadLetterRequest, GetDeadLetterRequest, ListDeadLettersRequest, RedriveDeadLetterRequest,
    RedriveDeadLettersRequest,
};
use meshwork_gateway::domain::SERVICE;
use print::Listed;
use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::admin::{self, Admin, within};
use crate::cli::{DeadLettersArgs, DeadLettersCommand, Output, Parking};
use crate::failure::Failure;
use crate::{event, terminal};

/// How many letters of a service are listed at most.
const MOST: usize = 1000;
/// How many are asked for at once: as many as a page may have.
const PAGE: i32 = 200;

/// Carries out a command of `meshwork deadletters`.
///
/// # Errors
/// When the call fails, or a redrive leaves something parked.
pub async fn run(args: DeadLettersArgs) -> Result<(), Failure> {
    let admin = Admin::sign_in(&args.admin).await?;
    carry_out(&admin, args.command, args.admin.output).await
}

async fn carry_out(admin: &Admin, command: DeadLettersCommand, output: Output) -> Result<(), Failure> {
    match command {
        DeadLettersCommand::List { service, subject } => {
            list(admin, service, &filter(subject.as_deref())?, output).await
        }
        DeadLettersCommand::Show { name, service } => {
            let letters = Letters::of(admin, service);
            let request = letters.request(GetDeadLetterRequest { name: full(&name) });
            let letter = within(letters.client().get_dead_letter(request)).await?.into_inner();
            let event = event::decoded(&letter.event_type, &letter.data);
            let (json, text) = (print::shown_json(&letter, event.as_ref()), print::shown_text(&letter, event.as_ref()));
            admin::print(output, &json, &text);
            Ok(())
        }
        DeadLettersCommand::Redrive { name: Some(name), service, .. } => {
            let letters = Letters::of(admin, service);
            let request = letters.request(RedriveDeadLetterRequest { name: full(&name) });
            let done = within(letters.client().redrive_dead_letter(request)).await?.into_inner();
            let left = done.left.as_ref();
            let text = print::handled_text(done.handled_events, left);
            admin::print(output, &print::handled_json(done.handled_events, left), &text);
            left.map_or(Ok(()), |left| Err(still_parked(left, service)))
        }
        DeadLettersCommand::Redrive { name: None, service, .. } => {
            let letters = Letters::of(admin, service);
            let request = letters.request(RedriveDeadLettersRequest {});
            let done = within(letters.client().redrive_dead_letters(request)).await?.into_inner();
            let (handled, left) = (done.handled_events, done.left_aggregates);
            admin::print(output, &print::all_handled_json(handled, left), &print::all_handled_text(handled, left));
            if left == 0 {
                return Ok(());
            }
            let sentence = format!("not everything of {} could be applied", service.as_str());
            let hint = format!("`meshwork deadletters list --service {}` shows what is left", service.as_str());
            Err(Failure::new(sentence, hint))
        }
        DeadLettersCommand::Discard { name, service } => {
            let letters = Letters::of(admin, service);
            let request = letters.request(DiscardDeadLetterRequest { name: full(&name) });
            let done = within(letters.client().discard_dead_letter(request)).await?.into_inner();
            let left = done.left.as_ref();
            let text = format!("{} is given up\n{}", full(&name), print::handled_text(done.handled_events, left));
            admin::print(output, &print::handled_json(done.handled_events, left), &text);
            Ok(())
        }
    }
}

/// Prints the dead letters of a service, or of all.
async fn list(admin: &Admin, service: Option<Parking>, filter: &str, output: Output) -> Result<(), Failure> {
    let (listed, failed) = gathered(admin, service, filter).await;
    if !listed.is_empty() {
        let unasked: Vec<_> = failed.iter().map(|(service, failure)| (*service, failure.sentence())).collect();
        let text = print::listed_text(&listed, terminal::width());
        admin::print(output, &print::listed_json(&listed, &unasked), &text);
    }
    // The list lacks something, which a script must notice too.
    unasked(&failed)
}

/// The dead letters of a service, or of all, and the services that could not be asked.
async fn gathered(admin: &Admin, service: Option<Parking>, filter: &str) -> (Vec<Listed>, Vec<(Parking, Failure)>) {
    let services = service.map_or_else(|| Parking::ALL.to_vec(), |service| vec![service]);
    let (mut listed, mut failed) = (Vec::new(), Vec::new());
    for service in services {
        match Letters::of(admin, service).list(filter).await {
            Ok(of_service) => listed.push(of_service),
            Err(failure) => failed.push((service, failure)),
        }
    }
    (listed, failed)
}

fn unasked(failed: &[(Parking, Failure)]) -> Result<(), Failure> {
    let Some((_, first)) = failed.first() else { return Ok(()) };
    let sentences =
        failed.iter().map(|(service, failure)| format!("{} can't be asked: {}", service.as_str(), failure.sentence()));
    let sentence = sentences.collect::<Vec<_>>().join("; ");
    Err(Failure::new(sentence, first.hint()))
}

fn still_parked(left: &DeadLetter, service: Parking) -> Failure {
    let sentence = format!("version {} of {} still can't be applied", left.version, terminal::line(&left.subject));
    let name = terminal::line(&left.name);
    let command = |verb| format!("`meshwork deadletters {verb} {name} --service {}`", service.as_str());
    let hint = format!(
        "{} shows it; once its cause is gone, try again, or {} gives it up",
        command("show"),
        command("discard")
    );
    Failure::new(sentence, hint)
}

/// The dead letters of one service.
struct Letters<'a> {
    admin: &'a Admin,
    service: Parking,
}

impl<'a> Letters<'a> {
    fn of(admin: &'a Admin, service: Parking) -> Self {
        Self { admin, service }
    }

    fn client(&self) -> DeadLetterServiceClient<Channel> {
        DeadLetterServiceClient::new(self.admin.channel())
    }

    /// A request that the gateway passes on to the service.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.admin.with(message);
        request.metadata_mut().insert(SERVICE, MetadataValue::from_static(self.service.as_str()));
        request
    }

    /// Follows the pages, up to a bound.
    async fn list(&self, filter: &str) -> Result<Listed, Failure> {
        let mut listed = Listed { service: self.service, letters: Vec::new(), more: false };
        let mut page_token = String::new();
        loop {
            let request = ListDeadLettersRequest { page_size: PAGE, page_token, filter: filter.to_owned() };
            let page = within(self.client().list_dead_letters(self.request(request))).await?.into_inner();
            listed.letters.extend(page.dead_letters);
            page_token = page.next_page_token;
            let is_last = page_token.is_empty();
            if is_last || listed.letters.len() >= MOST {
                listed.more = !is_last || listed.letters.len() > MOST;
                listed.letters.truncate(MOST);
                return Ok(listed);
            }
        }
    }
}

/// The resource name of a dead letter, given with or without its collection.
fn full(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("deadLetters/{name}") }
}

/// The filter of a list: the letters of `subject`, or all.
fn filter(subject: Option<&str>) -> Result<String, Failure> {
    match subject {
        None => Ok(String::new()),
        Some(subject) if subject.is_empty() || subject.contains('"') => {
            Err(Failure::new("the value of --subject is no aggregate", "write one such as orders/42"))
        }
        Some(subject) => Ok(format!("subject = \"{subject}\"")),
    }
}

#[cfg(test)]
mod tests;
