//! A random name of a database, for what is kept of it elsewhere, such as in a cache that several share: all who have the database
//! open know it, and other databases have others. It is made once, and goes along with dumps and restored copies.

use uuid::Uuid;

/// The first 12 hexadecimal digits of something random.
pub(crate) fn digits(random: Uuid) -> String {
    format!("{:012x}", random.as_u128() >> 80)
}

/// In SQLite.
#[path = "."]
pub mod sqlite {
    crate::dialect!(sqlite);
    mod row;

    pub use row::identity;

    use crate::Component;

    static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("migrations/identity");

    /// The table of the name.
    pub const COMPONENT: Component = Component { name: "identity", migrator: &MIGRATOR };
}

/// In PostgreSQL.
#[path = "."]
pub mod postgres {
    crate::dialect!(postgres);
    mod row;

    pub use row::identity;

    use crate::Component;

    static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("migrations/identity-postgres");

    /// The table of the name.
    pub const COMPONENT: Component = Component { name: "identity", migrator: &MIGRATOR };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_twelve_digits() {
        assert_eq!(digits(Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef)), "0123456789ab");
        assert_eq!(digits(Uuid::nil()), "000000000000");
    }
}
