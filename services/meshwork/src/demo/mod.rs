//! `meshwork demo`: an order from sign-up to e-mail.

mod report;
mod shop;

use std::time::Duration;

use meshwork_api::meshwork::orders::v1::order::State;
use meshwork_chassis::ClientConfig;
use report::Report;
use shop::Shop;
use tonic::Status;

use crate::cli::{DemoArgs, Output};
use crate::failure::Failure;
use crate::state::{local_port, staff_credentials};

/// How long a step may take.
const STEP: Duration = Duration::from_secs(30);

/// Signs up, stocks a product, places an order, and follows it until it is confirmed and its mail is sent.
///
/// # Errors
/// When a step fails, or the order ends otherwise.
pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    let mut report = Report::new(args.output == Output::Text);
    let result = order(&args, &mut report).await;
    report.print();
    result
}

/// The steps.
async fn order(args: &DemoArgs, report: &mut Report) -> Result<(), Failure> {
    let target = args.target.trim_end_matches('/');
    let channel = ClientConfig::default().channel("--target", target)?;
    let staff = staff_credentials(args.staff_credentials.as_deref(), local_port(target))?;
    let mut shop = Shop::new(channel);

    let customer = step(report, "sign up", shop.sign_up()).await?;
    report.note(&customer.name);
    step(report, "sign in", shop.sign_in(&customer)).await?;
    step(report, "sign in as staff", shop.sign_in_as_staff(&staff)).await?;
    let product = step(report, "create a product", shop.create_product()).await?;
    report.note(&product);
    step(report, "receive 10 pieces", shop.receive_stock(&product)).await?;
    let order = step(report, "place an order", shop.place_order(&product)).await?;
    report.note(&order);
    report.order(&order, State::Pending);
    let state = step(report, "wait for its confirmation", shop.follow(&order)).await?;
    report.order(&order, state);
    if state != State::Confirmed {
        let sentence = format!("the order {order} is {}", state.as_str_name());
        return Err(Failure::new(sentence, "look into the logs of the orders and products services"));
    }
    let mail = step(report, "wait for its e-mail", shop.wait_for_mail(&order)).await?;
    report.note(&mail);
    Ok(())
}

/// Runs a step within its time and reports it.
async fn step<T>(
    report: &mut Report,
    name: &'static str,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Failure> {
    report.begin(name);
    match tokio::time::timeout(STEP, work).await {
        Ok(Ok(value)) => {
            report.done();
            Ok(value)
        }
        Ok(Err(status)) => Err(Failure::new(
            format!("could not {name}: {} ({})", status.message(), status.code()),
            "look whether `meshwork up` runs at the target, and into its log",
        )),
        Err(_) => Err(Failure::new(
            format!("could not {name} within {} s", STEP.as_secs()),
            "look into the log of `meshwork up`",
        )),
    }
}
