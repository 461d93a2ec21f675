//! `meshwork demo`: an order from sign-up to e-mail.

mod report;
mod shop;

use std::time::Duration;

use meshwork_chassis::connect;
use report::Report;
use shop::Shop;
use tonic::Status;

use crate::cli::{DemoArgs, Output};
use crate::failure::Failure;
use crate::state::staff_credentials;

/// How long a step may take.
const STEP: Duration = Duration::from_secs(30);

/// Signs up, stocks a product, places an order, and follows it until it is confirmed and its mail is sent.
///
/// # Errors
/// When a step fails, or the order ends otherwise.
pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    let wrong_target = |error| Failure::new(format!("{error}"), "correct --target");
    let target = args.target.trim_end_matches('/');
    let channel = connect(target).map_err(wrong_target)?;
    let port = target.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
    let staff = staff_credentials(args.staff_credentials.as_deref(), port)?;
    let mut shop = Shop::new(channel);
    let mut report = Report::new(args.output == Output::Text);

    let customer = step(&mut report, "sign up", shop.sign_up()).await?;
    report.note(&customer.name);
    step(&mut report, "sign in", shop.sign_in(&customer)).await?;
    step(&mut report, "sign in as staff", shop.sign_in_as_staff(&staff)).await?;
    let product = step(&mut report, "create a product", shop.create_product()).await?;
    report.note(&product);
    step(&mut report, "receive 10 pieces", shop.receive_stock(&product)).await?;
    let order = step(&mut report, "place an order", shop.place_order(&product)).await?;
    report.note(&order);
    let state = step(&mut report, "wait for its confirmation", shop.follow(&order)).await?;
    report.end_of_order(&order, state);
    if state != meshwork_api::meshwork::orders::v1::order::State::Confirmed {
        report.print();
        let sentence = format!("the order {order} is {}", state.as_str_name());
        return Err(Failure::new(sentence, "look into the logs of the orders and products services"));
    }
    let mail = step(&mut report, "wait for its e-mail", shop.wait_for_mail(&order)).await?;
    report.note(&mail);
    report.print();
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
