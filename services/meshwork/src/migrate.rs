//! `meshwork migrate`.

use meshwork_chassis::bus;

use crate::cli::SettingsArgs;
use crate::config::{Flags, load};
use crate::failure::Failure;
use crate::lock::DataLock;

/// Brings all databases to this release and lists what they hold.
///
/// # Errors
/// When a database can't be opened or migrated, or is in use.
pub async fn run(args: &SettingsArgs) -> Result<(), Failure> {
    let (settings, _) = load(args, &Flags::new())?;
    let _locks = DataLock::take_all(&settings)?;
    let mut all = vec![
        ("users", meshwork_users::migrate(&settings.users).await?),
        ("products", meshwork_products::migrate(&settings.products).await?),
        ("orders", meshwork_orders::migrate(&settings.orders).await?),
        ("notifications", meshwork_notifications::migrate(&settings.notifications).await?),
    ];
    let mut buses = Vec::new();
    for bus in settings.buses() {
        if !buses.contains(&bus) {
            buses.push(bus);
        }
    }
    for (folder, nats) in buses {
        all.push(("bus", bus::migrate(folder, nats).await?));
    }
    for (database, migrations) in &all {
        for migration in migrations {
            println!("{database:<14} {:<8} {:>4}  {}", migration.component, migration.version, migration.description);
        }
    }
    println!("all databases in {} are up to date", settings.data.display());
    Ok(())
}
