//! `meshwork migrate`.

use meshwork_events::SqliteBus;

use crate::cli::SettingsArgs;
use crate::config::{Flags, load};
use crate::failure::Failure;
use crate::lock::{DataLock, Share};

/// Brings all databases to this release and lists what they hold.
///
/// # Errors
/// When a database can't be opened or migrated, or is in use.
pub async fn run(args: &SettingsArgs) -> Result<(), Failure> {
    let (settings, _) = load(args, &Flags::new())?;
    let _lock = DataLock::take(&settings.data, Share::Alone)?;
    let bus = SqliteBus::migrate(&settings.orders.bus).await.map_err(|error| {
        Failure::new(error.to_string(), "look whether the data folder can be written and the disk has room")
    })?;
    let all = [
        ("users", meshwork_users::migrate(&settings.users).await?),
        ("products", meshwork_products::migrate(&settings.products).await?),
        ("orders", meshwork_orders::migrate(&settings.orders).await?),
        ("notifications", meshwork_notifications::migrate(&settings.notifications).await?),
        ("bus", bus),
    ];
    for (database, migrations) in &all {
        for migration in migrations {
            println!("{database:<14} {:<8} {:>4}  {}", migration.component, migration.version, migration.description);
        }
    }
    println!("all databases in {} are up to date", settings.data.display());
    Ok(())
}
