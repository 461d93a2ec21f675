//! Asking a shop for all that its invariants are judged by, through its gateway.
//!
//! What the calls carry is reduced as it comes, so that a hundred thousand orders fit in memory.

mod calls;
mod events;
mod names;
mod shop;

use time::OffsetDateTime;
use tonic::Status;

use self::calls::Calls;
use self::names::Names;
use super::evidence::{Evidence, Refused};
use crate::admin::Admin;
use crate::cli::Parking;

/// Gathers the evidence.
///
/// # Errors
/// When a service doesn't answer, or refuses.
pub async fn gather(admin: &Admin) -> Result<Evidence, Status> {
    let (calls, names) = (Calls::new(admin), Names::default());
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let of_orders = async {
        let listed = shop::orders(&calls, &names).await?;
        let (asked, mut refused) = shop::asked(&calls, &names, &listed).await?;
        let (lists, unlisted) = shop::lists(&calls, &names, &listed).await?;
        refused.extend(unlisted);
        Ok::<_, Status>((listed, asked, lists, refused))
    };
    // A service tells its audit two things at a time: its events, and this.
    let of_effects = async {
        let consumers = events::consumers(&calls, &names).await?;
        let stocks = shop::stocks(&calls, &names).await?;
        Ok::<_, Status>((consumers, stocks))
    };
    let source = |service| events::source(&calls, &names, service);
    let sources =
        async { tokio::try_join!(source(Parking::Users), source(Parking::Products), source(Parking::Orders)) };
    let gathered = tokio::try_join!(
        of_orders,
        of_effects,
        sources,
        or_refused(shop::reservations(&calls, &names)),
        or_refused(shop::letters(&calls, &names)),
        shop::parked(&calls),
    )?;
    let ((listed, asked, lists, refused), (consumers, stocks), told, reservations, letters, parked) = gathered;
    let mut unlisted = Vec::new();
    let reservations = or_none("reservations", reservations, &mut unlisted);
    let letters = or_none("notifications", letters, &mut unlisted);
    let mut sources = Vec::new();
    let mut folded = Vec::new();
    for told in [told.0, told.1, told.2].into_iter().flatten() {
        sources.push(told.source);
        folded.extend(told.folded);
    }
    Ok(Evidence {
        now,
        stocks,
        reservations,
        folded,
        listed,
        asked,
        lists,
        refused,
        unlisted,
        sources,
        consumers,
        letters,
        parked,
    })
}

/// What is listed, or what was answered where it definitely can't be.
async fn or_refused<T>(listed: impl Future<Output = Result<T, Status>>) -> Result<Result<T, String>, Status> {
    match listed.await {
        Ok(listed) => Ok(Ok(listed)),
        Err(status) => calls::definite(status).map(Err),
    }
}

/// What is listed; nothing where it can't be, which is noted.
fn or_none<T>(subject: &str, listed: Result<Vec<T>, String>, unlisted: &mut Vec<Refused>) -> Vec<T> {
    listed.unwrap_or_else(|answer| {
        unlisted.push(Refused { subject: subject.into(), answer });
        Vec::new()
    })
}
